"""Transactions: what is sent again, and until when (RFC 3261 section 17). Times are seconds."""

import asyncio
from collections.abc import Callable

from .errors import NoAnswerError
from .link import Link
from .message import Address, Message, parameter, token

T1, T2 = 0.5, 4.0
LIFETIME = 64 * T1  # of Timers B, D, F, H and J: after this nobody sends it any more


def put_via(request: Message, link: Link) -> str:
    """Give a request of ours its Via with a branch of its own (section 8.1.1.7), and return the branch."""
    branch = "z9hG4bK" + token()
    request.set("Via", f"SIP/2.0/{link.kind} {link.address};branch={branch};rport")
    return branch


class Client:
    """A request of ours on its way to one place (section 17.1).

    Attributes:
        request: with the Via of this transaction on top.
        provisional: whether a 1xx came.
    """

    def __init__(self, link: Link, request: Message, hop: Address, heard: Callable[[Message], None]) -> None:
        self.request, self.hop = request, hop
        self.provisional = False
        self._final: Message | None = None
        self._link, self._heard = link, heard
        self._news = asyncio.Event()
        self.branch = put_via(request, link)

    async def run(self, patience: float, ring: float) -> Message:
        """Send until it is answered, and return the final reply.

        Args:
            patience: seconds for a first answer (to an INVITE), or for the final one.
            ring: seconds that an INVITE may take once there was a provisional answer.

        Raises:
            NoAnswerError: the time is up.
        """
        clock = asyncio.get_running_loop().time
        start, interval = clock(), T1
        deadline, resend = start + patience, start + interval
        invite = self.request.method == "INVITE"
        self._send()
        while self._final is None:
            if invite and self.provisional:
                deadline, resend = start + ring, start + ring
            if clock() >= deadline:
                self._give_up(clock() - start)
            if clock() >= resend and not self._link.reliable:
                self._send()
                # Timer A doubles for ever; Timer E stays at T2, and goes there at once after a 1xx.
                interval = interval * 2 if invite else T2 if self.provisional else min(interval * 2, T2)
                resend = clock() + interval
            await self._wait(min(deadline, deadline if self._link.reliable else resend) - clock())
        return self._final

    def receive(self, reply: Message) -> bool:
        """Take a reply to this request; False if it is a 2xx to an INVITE that came once more, or too late."""
        if self.request.method == "INVITE" and reply.code >= 300:
            self._acknowledge(reply)
        if reply.code < 200:
            self.provisional = True
            self._heard(reply)
        elif self._final is None:
            self._final = reply
        else:
            return not (self.request.method == "INVITE" and reply.code < 300)
        self._news.set()
        return True

    def cancel(self) -> Message:
        """The CANCEL of this INVITE (section 9.1): same branch, same number."""
        return self._beside("CANCEL", self.request.get("To"))

    def _acknowledge(self, reply: Message) -> None:
        """The ACK of a refusal belongs to the transaction (section 17.1.1.3)."""
        self._link.send(self._beside("ACK", reply.get("To")).encode(), self.hop)

    def _beside(self, method: str, to: str) -> Message:
        copied = ("Via", "Max-Forwards", "Route", "From", "Call-ID")
        headers = [(name, value) for name, value in self.request.headers if name in copied]
        headers += [("To", to), ("CSeq", f"{self.request.cseq} {method}")]
        return Message(f"{method} {self.request.uri} SIP/2.0", headers)

    def _send(self) -> None:
        self._link.send(self.request.encode(), self.hop)

    def _give_up(self, seconds: float) -> None:
        seen = "only a provisional answer" if self.provisional else "no answer"
        where = f"{self.hop[0]}:{self.hop[1]}"
        raise NoAnswerError(f"{seen} to {self.request.method} from {where} in {seconds:.1f} s", self.provisional)

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await self._news.wait()
        except TimeoutError:
            return
        self._news.clear()


class Server:
    """A request that came in, and what we answer it (section 17.2).

    Attributes: request: with what we know of its sender in its Via.
    """

    def __init__(self, link: Link, request: Message, source: Address) -> None:
        self.request = request
        self._link, self._source = link, source
        self._reply: bytes | None = None
        self._repeating: asyncio.Task[None] | None = None
        via = request.all("Via")
        if "rport" in via[0].lower():  # RFC 3581 section 4
            via[0] = ";".join(part for part in via[0].split(";") if not part.lower().startswith("rport"))
            via[0] += f";received={source[0]};rport={source[1]}"
            request.set("Via", *via)

    def reply(self, code: int, reason: str, *headers: tuple[str, str], tag: str = "", body: bytes = b"") -> None:
        """Answer; a final answer to an INVITE is repeated until it is acknowledged (sections 13.3.1.4, 17.2.1)."""
        copied = ("via", "from", "call-id", "cseq", "record-route", "v", "f", "i")
        kept = [entry for entry in self.request.headers if entry[0].lower() in copied]
        to = self.request.get("To")
        if code > 100 and not parameter(to, "tag"):
            to += f";tag={tag or token()}"
        reply = Message(f"SIP/2.0 {code} {reason}", [*kept, ("To", to), *headers], body)
        self._reply = reply.encode()
        self.again()
        if self.request.method == "INVITE" and code >= 200 and (code < 300 or not self._link.reliable):
            self._repeating = asyncio.create_task(self._repeat())

    def again(self) -> None:
        """The request came once more: so does the answer."""
        if self._reply is not None:
            self._link.send(self._reply, self._source)

    def acknowledged(self) -> None:
        if self._repeating is not None:
            self._repeating.cancel()

    async def _repeat(self) -> None:
        interval, passed = T1, 0.0
        while passed < LIFETIME:
            await asyncio.sleep(interval)
            self.again()
            passed, interval = passed + interval, min(interval * 2, T2)
