"""A phone that can say anything and sees every octet, over UDP or TCP: to play what real phones do, however odd."""

from __future__ import annotations

import contextlib
import re
import select
import socket
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Self

from sipstack.agent.digest import credentials
from sipstack.agent.message import Message, parse, token
from tests.lab.wire import DOMAIN

if TYPE_CHECKING:
    from tests.lab.deskcall import DeskCall

ARRIVES = 4.0  # seconds within which what the proxy sends is here, on a machine that has much to do


class DeskPhone:
    """A slot's phone; a context manager.

    Args:
        proxy: address of the proxy; `port` its SIP port.
        number: the slot's number; its user is slot_<number>.
        transport: udp or tcp.
        says: the address that it writes into Via, Contact and SDP; empty: its own.
        source_port: its own port; 0: any.

    Attributes:
        contact: the value of its Contact header.
        rtp: a UDP socket at `rtp_port`, the port of its SDP.
        heard: all messages that came in, as octets.
    """

    def __init__(
        self, proxy: str, number: int, password: str, transport: str = "udp", *, port: int = 5060, says: str = "",
        source_port: int = 0,
    ) -> None:  # fmt: skip
        self.number, self.user, self.password, self.transport = number, f"slot_{number}", password, transport
        self.proxy = (proxy, port)
        kind = socket.SOCK_STREAM if transport == "tcp" else socket.SOCK_DGRAM
        self.socket = socket.socket(socket.AF_INET, kind)
        self.socket.bind(("", source_port))
        self.socket.connect(self.proxy)  # datagrams of others are not received
        self.address, self.port = self.socket.getsockname()
        self.says = says or self.address
        self.rtp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.rtp.bind((self.address, 0))
        self.rtp_port: int = self.rtp.getsockname()[1]
        self.contact = f"<sip:{self.user}@{self.says}:{self.port}{';transport=tcp' if transport == 'tcp' else ''}>"
        self.heard: list[bytes] = []
        self._waiting: list[Message] = []
        self._stream = b""
        self._register_id, self._register_cseq = token(), 0
        self._tags: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()
        self.rtp.close()

    # --- messages ------------------------------------------------------------------------------------------------

    def via(self, branch: str = "", rport: bool = True) -> str:
        """A Via header of its own."""
        made = branch or f"z9hG4bK{token()}"
        return f"Via: SIP/2.0/{self.transport.upper()} {self.says}:{self.port};branch={made}{';rport' if rport else ''}"

    def sdp(self, *, port: int | None = None, direction: str = "", extra: str = "") -> str:
        """A body with one audio stream (PCMU, PCMA, telephone-event). `extra`: more lines at its end."""
        lines = ["v=0", f"o=desk {int(time.time())} 1 IN IP4 {self.says}", "s=-", f"c=IN IP4 {self.says}", "t=0 0"]
        lines += [f"m=audio {self.rtp_port if port is None else port} RTP/AVP 0 8 101", "a=rtpmap:0 PCMU/8000"]
        lines += ["a=rtpmap:8 PCMA/8000", "a=rtpmap:101 telephone-event/8000"]
        lines += [f"a={direction}"] if direction else []
        return "\r\n".join(lines) + "\r\n" + extra

    def send(
        self, first: str, headers: Sequence[str], body: str = "", *, content_type: str = "application/sdp",
        length: bool | str = True,
    ) -> None:  # fmt: skip
        """Send a message. length: True the true Content-Length, False none, or the header as it shall be."""
        lines = [first, *(header for header in headers if header)]
        if body and content_type:
            lines.append(f"Content-Type: {content_type}")
        if length is True:
            lines.append(f"Content-Length: {len(body.encode())}")
        elif length:
            lines.append(length)
        self.send_raw("\r\n".join(lines).encode() + b"\r\n\r\n" + body.encode())

    def send_raw(self, octets: bytes) -> None:
        self.socket.sendall(octets)

    def receive(self, want: Callable[[Message], bool], timeout: float = ARRIVES) -> Message | None:
        """The first message that is wanted, None if none comes in time. Others wait; keepalives are answered."""
        deadline = time.monotonic() + timeout
        while True:
            for place, message in enumerate(self._waiting):
                if want(message):
                    return self._waiting.pop(place)
            came = self._read(deadline)
            if came is None:
                return None
            if came.method == "OPTIONS" and not came.code and "tag=" not in came.get("To"):
                self.answer(came, 200)
            else:
                self._waiting.append(came)

    def reply(
        self, method: str, cseq: int, call_id: str, timeout: float = ARRIVES, *, least: int = 200
    ) -> Message | None:
        """The next reply to that request with a code of `least` or more."""
        return self.receive(
            lambda m: m.code >= least and (m.method, m.cseq, m.get("Call-ID")) == (method, cseq, call_id), timeout
        )

    def request(self, method: str, timeout: float = ARRIVES, *, call_id: str = "") -> Message | None:
        """The next request with that method."""
        return self.receive(lambda m: not m.code and m.method == method and call_id in m.get("Call-ID"), timeout)

    def expect(self, method: str, *, call_id: str = "") -> Message:
        """The same; fails if none comes."""
        message = self.request(method, call_id=call_id)
        assert message is not None, f"no {method} came to {self.user}"
        return message

    def answer(
        self, request: Message, code: int, reason: str = "Said", body: str = "", *, tag: str = "",
        extra: Sequence[str] = (), contact: bool = True, length: bool | str = True,
        content_type: str = "application/sdp",
    ) -> None:  # fmt: skip
        """Answer a request that came in. tag: of To; empty: one that is kept for the call."""
        to = self.to(request, tag) if code > 100 else request.get("To")
        copied = [
            f"{name}: {value}"
            for name, value in request.headers
            if name.lower() in ("via", "v", "record-route", "from", "f", "call-id", "i", "cseq")
        ]
        more = [f"To: {to}", f"Contact: {self.contact}" if contact else "", *extra]
        self.send(f"SIP/2.0 {code} {reason}", [*copied, *more], body, length=length, content_type=content_type)

    def tag_of(self, call_id: str) -> str:
        """Its tag in a call that came in."""
        return self._tags.setdefault(call_id, token())

    def to(self, request: Message, tag: str = "") -> str:
        """To of an answer to that request. tag: empty: one that is kept for the call."""
        to = request.get("To")
        return to if "tag=" in to else f"{to};tag={tag or self.tag_of(request.get('Call-ID'))}"

    # --- what a phone does ---------------------------------------------------------------------------------------

    def register(
        self, expires: int = 300, *, contacts: Sequence[str] | None = None, extra: Sequence[str] = (),
        call_id: str = "", cseq: int | None = None, to_tag: str = "", rport: bool = True,
    ) -> Message:  # fmt: skip
        """Register and return the final answer. contacts: values of Contact; [] only asks."""
        lines = [f"Contact: {value}" for value in ([self.contact] if contacts is None else contacts)]
        me, call_id = f"<sip:{self.user}@{DOMAIN}>", call_id or self._register_id
        tag, authorization, uri = token(), "", f"sip:{DOMAIN}"
        while True:
            self._register_cseq += 1
            cseq = self._register_cseq if cseq is None else cseq
            self.send(f"REGISTER {uri} SIP/2.0", [
                self.via(rport=rport), "Max-Forwards: 70", f"From: {me};tag={tag}", f"To: {me}{to_tag}",
                f"Call-ID: {call_id}", f"CSeq: {cseq} REGISTER", *lines, f"Expires: {expires}", *extra, authorization,
            ])  # fmt: skip
            answer = self.reply("REGISTER", cseq, call_id)
            assert answer is not None, f"no answer to the REGISTER of {self.user}"
            if answer.code != 401 or authorization:
                return answer
            authorization, cseq = self.credentials(answer, "REGISTER", uri), cseq + 1

    def unregister(self) -> Message:
        """Remove all bindings of the slot."""
        return self.register(0, contacts=["*"])

    def ask(
        self, method: str, target: str | int, body: str = "", *, uri: str = "", from_: str = "", to: str = "",
        call_id: str = "", cseq: int = 1, extra: Sequence[str] = (), content_type: str = "text/plain",
        proves: bool = True, timeout: float = ARRIVES,
    ) -> Message | None:  # fmt: skip
        """Send a request outside a call and return its final answer; a challenge is answered if it `proves` itself.

        target: a number; uri: the Request-URI, if that shall be another one. from_, to: those headers with their tags.
        """
        uri, call_id = uri or f"sip:{target}@{DOMAIN}", call_id or token()
        me = from_ or f"<sip:{self.user}@{DOMAIN}>;tag={token()}"
        authorization = ""
        while True:
            self.send(f"{method} {uri} SIP/2.0", [
                self.via(), "Max-Forwards: 70", f"From: {me}", f"To: {to or f'<sip:{target}@{DOMAIN}>'}",
                f"Call-ID: {call_id}", f"CSeq: {cseq} {method}", f"Contact: {self.contact}", *extra, authorization,
            ], body, content_type=content_type)  # fmt: skip
            answer = self.reply(method, cseq, call_id, timeout)
            if answer is None or answer.code not in (401, 407) or authorization or not proves:
                return answer
            authorization, cseq = self.credentials(answer, method, uri), cseq + 1

    def credentials(self, challenge: Message, method: str, uri: str) -> str:
        """The header that answers a 401 or 407."""
        asked = "WWW-Authenticate" if challenge.code == 401 else "Proxy-Authenticate"
        name = "Authorization" if challenge.code == 401 else "Proxy-Authorization"
        return f"{name}: {credentials(challenge.get(asked), self.user, self.password, method, uri)}"

    def call(self, target: str | int, **options: object) -> DeskCall:
        """Place a call; see DeskCall.place for `options`."""
        from tests.lab.deskcall import DeskCall

        return DeskCall.place(self, target, **options)  # type: ignore[arg-type]

    # --- the wire ------------------------------------------------------------------------------------------------

    def _read(self, deadline: float) -> Message | None:
        """The next message, None if none has come by then. Keepalives and junk are passed over."""
        while True:
            if self.transport == "tcp" and (octets := self._cut()):
                self.heard.append(octets)
                return parse(octets)
            left = max(0.0, deadline - time.monotonic())
            if not select.select([self.socket], [], [], left)[0]:
                return None
            try:
                octets = self.socket.recv(65_536)
            except ConnectionRefusedError:  # what was sent to a proxy that restarts
                continue
            if self.transport == "tcp":
                assert octets, "the proxy has closed the connection"
                self._stream += octets
                continue
            self.heard.append(octets)
            with contextlib.suppress(ValueError):
                return parse(octets)

    def _cut(self) -> bytes:
        """The first whole message of the stream; empty if there is none yet."""
        self._stream = self._stream.lstrip(b"\r\n")
        head, end, rest = self._stream.partition(b"\r\n\r\n")
        if not end:
            return b""
        found = re.search(rb"^(?:content-length|l)[ \t]*:[ \t]*(\d+)", head, re.IGNORECASE | re.MULTILINE)
        assert found, f"a message without Content-Length on a stream: {head!r}"
        length = int(found[1])
        if len(rest) < length:
            return b""
        self._stream = rest[length:]
        return head + end + rest[:length]
