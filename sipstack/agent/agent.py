"""A phone: one socket, one account. It registers, calls, is called, and answers what any phone is asked.

What it does not do: a second branch that answers a forked call is hung up; names in Route headers are not looked
up, the phone's own proxy is asked instead.
"""

import asyncio
from collections.abc import Sequence

from .call import Call
from .errors import RefusedError
from .exchange import Account, Exchange
from .link import open_link
from .message import Address, Message, parameter, place_of, token, uri_in
from .transaction import LIFETIME, Server

_ALLOW = ("Allow", "INVITE, ACK, CANCEL, BYE, OPTIONS")


class Agent(Exchange):
    """Made by `Agent.open`.

    Attributes:
        incoming: calls that have come in and were not looked at yet, neither ringing nor answered.
        packet_seconds: from one RTP packet to the next.
        media_address: own address, where RTP is sent from and taken.
    """

    media_address: str

    def __init__(self, account: Account, proxies: Sequence[Address], give_up: float, packet_seconds: float) -> None:
        super().__init__(account, proxies, give_up)
        self.incoming: asyncio.Queue[Call] = asyncio.Queue()
        self.packet_seconds = packet_seconds
        self.calls: dict[tuple[str, str], Call] = {}
        self._servers: dict[tuple[str, str], Server] = {}
        self._register_id, self._register_cseq, self._tag = token(), 0, token()

    @classmethod
    async def open(
        cls, account: Account, proxies: Sequence[Address], kind: str = "UDP", *,
        local: str = "", media: str = "", give_up: float = LIFETIME, packet_seconds: float = 0.02,
    ) -> "Agent":  # fmt: skip
        """A phone with its socket open, not registered.

        Args:
            proxies: in the order in which a new request tries them (RFC 3263 section 4.3); TCP has the first only.
            kind: "UDP" or "TCP".
            local: own address; empty: the one that leads to the first proxy.
            media: own address for RTP; empty: the same.
            give_up: seconds without any answer after which a proxy is taken for dead (Timers B and F).

        Raises:
            NoAnswerError, OSError: as `open_link` has them.
        """
        agent = cls(account, proxies, give_up, packet_seconds)
        agent.link = await open_link(kind, proxies[0], local, agent._receive)
        agent.media_address = media or agent.link.local[0]
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
        request = self.request("OPTIONS", f"sip:{self.proxies[0][0]}:{self.proxies[0][1]}", self.account.user)
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

    def _receive(self, message: Message, source: Address) -> None:
        if message.code:
            if not self.take(message):
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
