"""Requests on their way: to one proxy after the other, with credentials once they are asked for."""

import asyncio
import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .digest import credentials, parse_challenge
from .errors import NoAnswerError
from .link import Link
from .message import Address, Message, parameter
from .transaction import LIFETIME, Client


@dataclass(frozen=True)
class Account:
    """A slot as its phone knows it: number, SIP user, password, domain."""

    number: str
    user: str
    password: str
    domain: str


class Exchange:
    """The asking half of a phone.

    Attributes:
        account: whose phone it is.
        link: its socket.
        failovers: requests that went to another proxy because one did not answer or said 503.
        proxy: the one that gave the last final answer.
    """

    link: Link

    def __init__(self, account: Account, proxies: Sequence[Address], give_up: float) -> None:
        self.account = account
        self.proxies = list(proxies)
        self.failovers = 0
        self.proxy = proxies[0]
        self._give_up = give_up
        self._clients: dict[tuple[str, str], Client] = {}

    async def converse(
        self, request: Message, hop: Address | None = None, *, patience: float = 0.0, ring: float = LIFETIME,
        heard: Callable[[Message], None] = lambda _: None, sent: Callable[[Client], None] = lambda _: None,
        answer_challenge: bool = True,
    ) -> Message:  # fmt: skip
        """Send a request and return its final reply, whatever its code.

        Args:
            request: gets the Via, the number and the credentials that it was last sent with.
            hop: where it goes; None: to the proxies, one after the other.
            patience, ring: as `Client.run` has them; patience 0: what the phone was opened with.
            heard, sent: told of each provisional reply, and of each transaction that is begun.
            answer_challenge: whether 401 and 407 are answered with credentials (once, and again if stale).

        Raises:
            NoAnswerError: from the last place that was tried.
        """
        hops = [self._reachable(hop)] if hop else self.proxies[: 1 if self.link.reliable else None]
        for number, place in enumerate(hops):
            last = number == len(hops) - 1
            try:
                reply = await self._at(place, request, patience or self._give_up, ring, heard, sent, answer_challenge)
            except NoAnswerError as error:
                # RFC 3263 section 4.3: a place that was heard of in this transaction is not dead.
                if last or error.alive:
                    raise
            else:
                if last or reply.code != 503:
                    self.proxy = place
                    return reply
            self.failovers += 1
        raise AssertionError("the last place either answers or raises")

    async def _at(
        self, place: Address, request: Message, patience: float, ring: float,
        heard: Callable[[Message], None], sent: Callable[[Client], None], answer_challenge: bool,
    ) -> Message:  # fmt: skip
        for attempt in range(3):
            client = Client(self.link, request, place, heard)
            key = (client.branch, request.method)
            self._clients[key] = client
            # Kept for as long as what was sent again on the way may come in (Timers D and K).
            asyncio.get_running_loop().call_later(ring + LIFETIME, self._clients.pop, key, None)
            sent(client)
            reply = await client.run(patience, ring)
            if not answer_challenge or not self._authorize(request, reply, first=attempt == 0):
                break
        return reply

    def _authorize(self, request: Message, reply: Message, first: bool) -> bool:
        """Put the credentials into the request that the reply asks for (RFC 3261 section 22.2)."""
        names = {401: ("WWW-Authenticate", "Authorization"), 407: ("Proxy-Authenticate", "Proxy-Authorization")}
        asks, gives = names.get(reply.code, ("", ""))
        challenge = reply.get(asks) if asks else ""
        # Asked once more with a new nonce, the password was wrong, unless the old nonce was.
        if not challenge or (not first and parse_challenge(challenge).get("stale", "").lower() != "true"):
            return False
        account, method = self.account, request.method
        request.set(gives, credentials(challenge, account.user, account.password, method, request.uri))
        request.set("CSeq", f"{request.cseq + 1} {method}")
        return True

    def send(self, message: Message, hop: Address) -> None:
        """Send what has no answer: ACK, or a CANCEL that need not arrive."""
        self.link.send(message.encode(), self._reachable(hop))

    def _reachable(self, hop: Address) -> Address:
        try:
            ipaddress.ip_address(hop[0])
        except ValueError:
            return self.proxy
        return hop

    def take(self, reply: Message) -> bool:
        """Give a reply to its transaction; False if it is of none, or an answer to an INVITE that came again."""
        client = self._clients.get((parameter(reply.all("Via")[0], "branch"), reply.method))
        return client is not None and client.receive(reply)
