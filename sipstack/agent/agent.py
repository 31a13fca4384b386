"""A phone: one socket, one account. It registers, calls, is called, and answers what any phone is asked.

What it does not do: a second branch that answers a forked call is hung up; names in Route headers are not looked
up, the phone's own proxy is asked instead.
"""

import asyncio
import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .call import Call
from .digest import credentials, parse_challenge
from .errors import NoAnswerError, RefusedError
from .link import Link, open_link
from .message import Address, Message, parameter, place_of, token, uri_in
from .transaction import LIFETIME, Client, Server

_ALLOW = ("Allow", "INVITE, ACK, CANCEL, BYE, OPTIONS")


@dataclass(frozen=True)
class Account:
    """A slot as its phone knows it: number, SIP user, password, domain."""

    number: str
    user: str
    password: str
    domain: str


class Agent:
    """Made by `Agent.open`.

    Attributes:
        account: whose phone it is.
        incoming: calls that have come in and were not looked at yet, neither ringing nor answered.
        packet_seconds: from one RTP packet to the next.
        failovers: requests that went to another proxy because one did not answer or said 503.
        proxy: the one that gave the last final answer.
    """

    def __init__(self, account: Account, proxies: Sequence[Address], give_up: float, packet_seconds: float) -> None:
        self.account = account
        self.incoming: asyncio.Queue[Call] = asyncio.Queue()
        self.packet_seconds = packet_seconds
        self.failovers = 0
        self.proxy = proxies[0]
        self.calls: dict[tuple[str, str], Call] = {}
        self.link: Link
        self._proxies, self._give_up = list(proxies), give_up
        self._clients: dict[tuple[str, str], Client] = {}
        self._servers: dict[tuple[str, str], Server] = {}
        self._register_id, self._register_cseq, self._tag = token(), 0, token()

    @classmethod
    async def open(
        cls, account: Account, proxies: Sequence[Address], kind: str = "UDP", *,
        local: str = "", give_up: float = LIFETIME, packet_seconds: float = 0.02,
    ) -> "Agent":  # fmt: skip
        """A phone with its socket open, not registered.

        Args:
            proxies: in the order in which a new request tries them (RFC 3263 section 4.3); TCP has the first only.
            kind: "UDP" or "TCP".
            local: own address; empty: the one that leads to the first proxy.
            give_up: seconds without any answer after which a proxy is taken for dead (Timers B and F).

        Raises:
            NoAnswerError, OSError: as `open_link` has them.
        """
        agent = cls(account, proxies, give_up, packet_seconds)
        agent.link = await open_link(kind, proxies[0], local, agent._receive)
        return agent

    def close(self) -> None:
        """Stop at once, without BYE or un-REGISTER."""
        for call in self.calls.values():
            call.media_close()
        for server in self._servers.values():
            server.acknowledged()
        self.link.close()

    @property
    def contact(self) -> str:
        transport = ";transport=tcp" if self.link.reliable else ""
        return f"<sip:{self.account.user}@{self.link.address}{transport}>"

    async def register(self, seconds: int) -> int:
        """Bind this phone to its account, or take the binding away (0), and return the seconds granted.

        Raises:
            RefusedError: the final answer is not 200.
            NoAnswerError: no proxy answers.
        """
        reply = await self._register(self.contact, seconds)
        own = [value for value in reply.all("Contact") if place_of(uri_in(value)) == self.link.local]
        return int(parameter(own[0], "expires") or reply.get("Expires") or 0) if own else 0

    async def unregister_all(self) -> None:
        """Take away every binding of the account (RFC 3261 section 10.2.2). Errors as `register` has them."""
        await self._register("*", 0)

    async def options(self) -> Message:
        """The final reply to an OPTIONS to the proxy itself."""
        request = self.request("OPTIONS", f"sip:{self._proxies[0][0]}:{self._proxies[0][1]}", self.account.user)
        return await self.converse(request, answer_challenge=False)

    async def call_unknown(self, target: str) -> Message:
        """The final reply to a call without credentials."""
        request = self.request("INVITE", f"sip:{target}@{self.account.domain}", target)
        return await self.converse(request, answer_challenge=False)

    def place(self, target: str) -> Call:
        """A call to a number or user of the domain, to be dialled."""
        return Call(self, self.request("INVITE", f"sip:{target}@{self.account.domain}", target))

    def request(self, method: str, uri: str, to_user: str) -> Message:
        """A request outside of any dialog (RFC 3261 section 8.1.1)."""
        account = self.account
        return Message(
            f"{method} {uri} SIP/2.0",
            [
                ("Max-Forwards", "70"),
                ("From", f"<sip:{account.user}@{account.domain}>;tag={token()}"),
                ("To", f"<sip:{to_user}@{account.domain}>"),
                ("Call-ID", token()),
                ("CSeq", f"1 {method}"),
                ("Contact", self.contact),
            ],
        )

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
        hops = [self._reachable(hop)] if hop else self._proxies[: 1 if self.link.reliable else None]
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

    async def _register(self, contact: str, seconds: int) -> Message:
        account = self.account
        request = self.request("REGISTER", f"sip:{account.domain}", account.user)
        # One Call-ID and rising numbers, so that what is late is known to be late (section 10.2).
        request.set("Call-ID", self._register_id)
        request.set("CSeq", f"{self._register_cseq + 1} REGISTER")
        request.set("Contact", contact)
        request.set("Expires", str(seconds))
        try:
            reply = await self.converse(request)
        finally:
            self._register_cseq = request.cseq
        if reply.code != 200:
            raise RefusedError(f"REGISTER of {account.user}", reply.code, reply.reason)
        return reply

    def send(self, message: Message, hop: Address) -> None:
        """Send what has no answer: ACK, or a CANCEL that need not arrive."""
        self.link.send(message.encode(), self._reachable(hop))

    def _reachable(self, hop: Address) -> Address:
        try:
            ipaddress.ip_address(hop[0])
        except ValueError:
            return self.proxy
        return hop

    def _receive(self, message: Message, source: Address) -> None:
        if message.code:
            client = self._clients.get((parameter(message.all("Via")[0], "branch"), message.method))
            if client is None or not client.receive(message):
                call = self.calls.get((message.get("Call-ID"), parameter(message.get("From"), "tag")))
                if call is not None and message.method == "INVITE" and 200 <= message.code < 300:
                    call.answered_again(message)
            return
        method = message.method
        key = (parameter(message.all("Via")[0], "branch"), "INVITE" if method == "ACK" else method)
        known = self._servers.get(key)
        call = self.calls.get((message.get("Call-ID"), parameter(message.get("To"), "tag")))
        if method == "ACK":
            if known is not None:
                known.acknowledged()
            if call is not None:
                call.acknowledged(message.cseq)
        elif known is not None:
            known.again()
        else:
            self._servers[key] = server = Server(self.link, message, source)
            asyncio.get_running_loop().call_later(LIFETIME * 2, self._servers.pop, key, None)
            self._serve(server, call)

    def _serve(self, server: Server, call: Call | None) -> None:
        request, method = server.request, server.request.method
        if method == "OPTIONS":
            server.reply(200, "OK", _ALLOW, ("Accept", "application/sdp"))
        elif method == "CANCEL":
            self._cancel(server)
        elif method not in ("INVITE", "BYE"):
            server.reply(405, "Method Not Allowed", _ALLOW)
        elif call is not None:
            call.serve(server)
        elif method == "BYE" or parameter(request.get("To"), "tag"):
            server.reply(481, "Call/Transaction Does Not Exist")
        else:
            server.reply(100, "Trying")
            self.incoming.put_nowait(Call(self, request, server))

    def _cancel(self, server: Server) -> None:
        branch = parameter(server.request.all("Via")[0], "branch")
        invite = self._servers.get((branch, "INVITE"))
        if invite is None:
            server.reply(481, "Call/Transaction Does Not Exist")
            return
        server.reply(200, "OK")
        for call in list(self.calls.values()):
            if call.server is invite:
                call.cancelled()
