"""`gateway`: a call straight to a gateway, as a proxy would send it. One that answers OPTIONS may take no call."""

from .agent import Agent
from .errors import SipError
from .exchange import Account
from .message import Address

_PATIENCE = 5.0  # seconds for the answer; a gateway may ask its database or its provider first
_HANGUP_SECONDS = 2.0


async def call_gateway(gateway: Address, number: str, domain: str, local: str = "") -> str:
    """Call a number, hang up, and return what was wrong; "" if it was answered.

    Args:
        local: address to call from, for gateways that hear their proxies only; empty: the one that leads there.
    """
    try:
        agent = await Agent.open(Account("", "probe", "", domain), [gateway], local=local, give_up=_PATIENCE)
        try:
            call = agent.place(number)
            await call.dial(_PATIENCE)
            await call.hangup(_HANGUP_SECONDS)
        finally:
            agent.close()
    except (SipError, OSError) as error:
        return str(error)
    return ""
