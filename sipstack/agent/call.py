"""A call of a phone, from either side, until it is over."""

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from .dialog import Dialog
from .errors import NoAnswerError, RefusedError
from .message import Message, parameter, token, uri_in, user_of
from .rtp import Rtp
from .transaction import LIFETIME, Client, Server, put_via

if TYPE_CHECKING:
    from .agent import Agent

_SDP = ("Content-Type", "application/sdp")


class Call:
    """Made by `Agent.place`, or taken from `Agent.incoming`.

    Attributes:
        call_id: its Call-ID.
        caller: user in the From.
        server: an incoming call's INVITE, else None.
        provisionals: codes of the provisional answers that came to ours.
        media: its RTP, once it is dialled or answered.
        confirmed: an incoming call that was answered had its ACK.
        ended: it is over.
        ended_by: "" while it goes on, then "us" or "peer".
    """

    def __init__(self, agent: "Agent", invite: Message, server: Server | None = None) -> None:
        self.call_id = invite.get("Call-ID")
        self.caller = user_of(uri_in(invite.get("From")))
        self.server = server
        self.provisionals: list[int] = []
        self.media: Rtp | None = None
        self.confirmed = asyncio.Event()
        self.ended = asyncio.Event()
        self.ended_by = ""
        self._agent, self._invite = agent, invite
        self._dialog: Dialog | None = None
        self._client: Client | None = None
        self._acks: dict[int, Message] = {}
        self._served: dict[int, Server] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._tag = token() if server else parameter(invite.get("From"), "tag")
        agent.calls[self.call_id, self._tag] = self

    async def dial(self, ring: float) -> None:
        """Call, and return when it is answered and RTP is on its way.

        Args:
            ring: seconds it may ring; then it is cancelled.

        Raises:
            RefusedError: it is not answered with 200.
            NoAnswerError: no proxy answers, or nobody picks up.
        """
        agent = self._agent
        self.media = await Rtp.open(agent.media_address)
        self._invite.set(*_SDP)
        self._invite.body = self.media.describe()
        try:
            reply = await agent.converse(self._invite, ring=ring, heard=self._hear, sent=self._sent)
        except BaseException:
            # Also when the caller loses its patience: a phone must not ring on for nobody.
            if self._client is not None and self._client.provisional:
                agent.send(self._client.cancel(), self._client.hop)
            self.over("us")
            raise
        if reply.code >= 300:
            self.over("peer")
            raise RefusedError(f"the call to {user_of(self._invite.uri)}", reply.code, reply.reason)
        self._dialog = Dialog.of_caller(self._invite, reply)
        self._acknowledge(self._dialog, reply)
        self.media.start(reply.body, agent.packet_seconds)

    def ring(self) -> None:
        """Say 180 to an incoming call."""
        assert self.server is not None
        self.server.reply(180, "Ringing", ("Contact", self._agent.contact), tag=self._tag)

    async def answer(self) -> None:
        """Take an incoming call; RTP is sent from here on. Nothing is done if it was cancelled meanwhile."""
        assert self.server is not None
        self.media = await Rtp.open(self._agent.media_address)
        if self.ended.is_set():
            self.media.close()
            return
        self._dialog = Dialog.of_called(self._invite, self._tag)
        self.media.start(self._invite.body, self._agent.packet_seconds)
        self._accept(self.server)

    def refuse(self, code: int, reason: str) -> None:
        """Decline an incoming call."""
        assert self.server is not None
        self.server.reply(code, reason, tag=self._tag)
        self.over("us")

    async def reinvite(self) -> None:
        """Offer the same media once more inside the dialog (RFC 3261 section 14.1).

        Raises:
            RefusedError, NoAnswerError: it is not answered with 200.
        """
        assert self._dialog is not None and self.media is not None
        headers = (("Contact", self._agent.contact), _SDP)
        request = self._dialog.request("INVITE", *headers, body=self.media.describe())
        reply = await self._converse(self._dialog, request, LIFETIME)
        if reply.code != 200:
            raise RefusedError("a re-INVITE", reply.code, reply.reason)
        self._acknowledge(self._dialog, reply)
        self.media.start(reply.body, self._agent.packet_seconds)

    async def hangup(self, patience: float = LIFETIME) -> None:
        """Send BYE and wait for its 200; when the other side was faster, nothing is left to do.

        Args:
            patience: seconds until it is given up (Timer F).

        Raises:
            RefusedError, NoAnswerError: the BYE is not answered with 200. The call is over all the same.
        """
        if self.ended.is_set() or self._dialog is None:
            return
        if self.server is not None:
            # The called side must not hang up before the ACK (RFC 3261 section 15).
            with suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await self.confirmed.wait()
        if self.ended.is_set():
            return
        self.over("us")
        reply = await self._converse(self._dialog, self._dialog.request("BYE"), patience)
        if reply.code != 200:
            raise RefusedError("BYE", reply.code, reply.reason)

    def over(self, by: str) -> None:
        """The call has ended; late messages of it are answered for a while."""
        if self.ended.is_set():
            return
        self.ended_by = by
        self.ended.set()
        self.media_close()
        asyncio.get_running_loop().call_later(LIFETIME, self._agent.calls.pop, (self.call_id, self._tag), None)

    def media_close(self) -> None:
        if self.media is not None:
            self.media.close()

    def serve(self, server: Server) -> None:
        """Answer the other side's BYE or re-INVITE."""
        if self._dialog is None or (server.request.method == "INVITE" and self.ended.is_set()):
            server.reply(481, "Call/Transaction Does Not Exist")
        elif server.request.method == "BYE":
            server.reply(200, "OK")
            self._stop_repeating()
            self.over("peer")
        else:
            if self.media is not None:
                self.media.start(server.request.body, self._agent.packet_seconds)
            self._accept(server)

    def acknowledged(self, cseq: int) -> None:
        """The ACK of an answer of ours came."""
        if cseq in self._served:
            self._served[cseq].acknowledged()
            self.confirmed.set()

    def cancelled(self) -> None:
        """The caller gave up before we answered (RFC 3261 section 9.2)."""
        if self._dialog is None and self.server is not None and not self.ended.is_set():
            self.server.reply(487, "Request Terminated", tag=self._tag)
            self.over("peer")

    def answered_again(self, reply: Message) -> None:
        """A 2xx to our INVITE came again, from another branch, or after we gave up (section 13.2.2.4)."""
        own = self._dialog is not None and self._dialog.remote_tag == parameter(reply.get("To"), "tag")
        if own and reply.cseq in self._acks:
            assert self._dialog is not None
            self._agent.send(self._acks[reply.cseq], self._dialog.hop)
        elif not own and (self._dialog is not None or self.ended.is_set()):
            stranger = Dialog.of_caller(self._invite, reply)
            self._acknowledge(stranger, reply)
            self._later(stranger)

    def _later(self, stranger: Dialog) -> None:
        async def bye() -> None:
            with suppress(NoAnswerError):
                await self._converse(stranger, stranger.request("BYE"), LIFETIME)

        task = asyncio.create_task(bye())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _accept(self, server: Server) -> None:
        assert self.media is not None
        self._served[server.request.cseq] = server
        headers = (("Contact", self._agent.contact), _SDP)
        server.reply(200, "OK", *headers, tag=self._tag, body=self.media.describe())

    def _stop_repeating(self) -> None:
        for server in self._served.values():
            server.acknowledged()

    def _acknowledge(self, dialog: Dialog, reply: Message) -> None:
        """Send the ACK of a 2xx: a request of its own by the route set, with the INVITE's credentials (22.1)."""
        named = ("Authorization", "Proxy-Authorization")
        given = [entry for entry in self._invite.headers if entry[0] in named]
        ack = dialog.request("ACK", *given)
        put_via(ack, self._agent.link)
        if dialog is self._dialog:
            self._acks[reply.cseq] = ack
        self._agent.send(ack, dialog.hop)

    async def _converse(self, dialog: Dialog, request: Message, patience: float) -> Message:
        try:
            return await self._agent.converse(request, dialog.hop, patience=patience)
        finally:
            dialog.cseq = request.cseq  # credentials take a number of their own

    def _hear(self, reply: Message) -> None:
        self.provisionals.append(reply.code)

    def _sent(self, client: Client) -> None:
        self._client = client
