"""A phone that comes from an address of its own and says what a case wants. Runs where it is (attacker.there)."""

import contextlib
import re
import select
import time

from sipstack.agent.message import Message, token
from tests.lab.deskphone import DeskPhone
from tests.lab.wire import DOMAIN

URI = f"sip:{DOMAIN}"
# RFC 3261 §17.1.2.2: a request over UDP is sent again after T1 (0.5 s), then after twice as long each time.
T1 = 0.5


def register(
    proxy: str, number: int, password: str, transport: str = "udp", agents: tuple[str, ...] = ("",),
    patience: float = 8.0,
) -> list[int]:  # fmt: skip
    """Register once with each User-Agent; the final answers, 0 where none came in `patience` seconds.

    Over UDP requests are sent again as RFC 3261 says.
    """
    with DeskPhone(proxy, number, password, transport) as phone:
        return [_register(phone, agent, patience) for agent in agents]


def keep_registering(proxy: str, number: int, password: str, times: int, port: int = 0) -> list[int]:
    """Register that often from one source, without ever sending a request again; the answers."""
    with DeskPhone(proxy, number, password, source_port=port) as phone:
        return [_register(phone, "", 2.0, again=False) for _ in range(times)]


def guess_beside(proxy: str, number: int, password: str, other: int, guesses: int, transport: str) -> list[int]:
    """A phone with two accounts, one of which has a wrong password, on one socket: the answers to the right one, and
    after each of them a try of the other. On TCP the connection must stay open."""
    with DeskPhone(proxy, number, password, transport) as phone:
        codes = []
        for _ in range(guesses):
            phone.user, phone.password = f"slot_{other}", "wrong"
            with contextlib.suppress(TimeoutError):
                _register(phone, "", 0.7, again=False)
            phone.user, phone.password = f"slot_{number}", password
            codes.append(_register(phone, "", 2.0, again=False))
        return codes


def one_wrong_answer(proxy: str, user: str, times: int, realm: str = DOMAIN) -> list[int]:
    """Ask for a challenge and send one wrong answer to it that often, to the octet; the codes. realm: of the answer."""
    from tests.lab.wire import Wire, digest

    with Wire(proxy) as wire:
        _, headers = wire.ask(wire.message("REGISTER", URI, user=user))
        challenge = re.sub(r'realm="[^"]*"', f'realm="{realm}"', headers["www-authenticate"])
        answer = f"Authorization: {digest(challenge, user, 'wrong', 'REGISTER', URI)}"
        message = wire.message("REGISTER", URI, user=user, cseq=2, headers=(answer,))
        # One that comes while the last is still being worked at is taken for sent again, and dropped: it is repeated.
        return [wire.ask(message, 1.0)[0] or wire.ask(message, 8.0)[0] for _ in range(times)]


def _register(phone: DeskPhone, agent: str, patience: float, *, again: bool = True) -> int:
    call_id, authorization, deadline = token(), "", time.monotonic() + patience
    for cseq in (1, 2):
        me = f"<sip:{phone.user}@{DOMAIN}>"
        lines = [
            phone.via(), "Max-Forwards: 70", f"From: {me};tag={token()}", f"To: {me}", f"Call-ID: {call_id}",
            f"CSeq: {cseq} REGISTER", f"Contact: {phone.contact}", "Expires: 120",
            f"User-Agent: {agent}" if agent else "", authorization,
        ]  # fmt: skip
        answer, wait = None, T1
        while answer is None and (left := deadline - time.monotonic()) > 0:
            phone.send(f"REGISTER {URI} SIP/2.0", lines)
            patient = min(left, wait) if again and phone.transport == "udp" else left
            answer, wait = _answer(phone, cseq, call_id, patient), 2 * wait
        if answer is None or answer.code != 401 or authorization:
            return answer.code if answer else 0
        authorization = phone.credentials(answer, "REGISTER", URI)
    raise AssertionError("unreachable")


def _answer(phone: DeskPhone, cseq: int, call_id: str, timeout: float) -> Message | None:
    """None also if the proxy closes the connection."""
    with contextlib.suppress(AssertionError, ConnectionError):
        return phone.reply("REGISTER", cseq, call_id, timeout)
    select.select([], [], [], 0.05)
    return None
