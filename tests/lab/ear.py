"""A phone at a private address that remembers, to the byte, all that it is told."""

import re
import socket
from typing import Any, cast

from tests.lab.system import System
from tests.lab.wire import Wire

SOFTWARE = "Fone/1.2.3"
# What a phone may say of its media, and each time where it is.
MEDIA = (
    "v=0\r\no=fone 1 1 IN IP4 {0}\r\ns=-\r\nc=IN IP4 {0}\r\nt=0 0\r\nm=audio 45000 RTP/AVP 8\r\nc=IN IP4 {0}\r\n"
    "a=rtcp:45001 IN IP4 {0}\r\na=candidate:1 1 UDP 2130706431 {0} 45000 typ host\r\na=ice-ufrag:abcd\r\n"
    "a=ice-pwd:0123456789012345678901\r\na=rtpmap:8 PCMA/8000\r\n"
)


class Ear(Wire):
    """A Wire that says a private address in Via, Contact and SDP, and the name and version of its software.

    Attributes: `heard`, all messages that came in; `home`, other addresses that are its own.
    """

    def __init__(self, system: System, private: str, transport: str = "udp") -> None:
        super().__init__(system.address)
        self.socket.close()
        self.heard: list[str] = []
        self.home: set[str] = set()
        plain = socket.socket(socket.AF_INET, socket.SOCK_STREAM if transport == "tcp" else socket.SOCK_DGRAM)
        plain.connect(self.proxy)
        self.public, self.port = plain.getsockname()
        self.address = private
        self.socket = cast(socket.socket, Recorder(plain, self.heard))

    @property
    def media(self) -> str:
        return MEDIA.format(self.address)

    @property
    def software(self) -> tuple[str, ...]:
        """Headers that tell who made this phone, and where it is."""
        return (f"User-Agent: {SOFTWARE}", f"Server: {SOFTWARE}", f'Warning: 399 {self.address} "none"')

    def knows(self, *, but: str) -> set[str]:
        """What it has heard of addresses that are neither its own nor `but`, of software, and of versions."""
        text = "\n".join(self.heard)
        found = set(re.findall(r"\b\d+\.\d+\.\d+\.\d+\b", text)) - {self.address, self.public, but, *self.home}
        return found | set(re.findall(r"Fone\S*|[Aa]sterisk\S*|[Kk]amailio\S*|(?i:user-agent|server):.*/.*", text))


class Recorder:
    """A connected socket, used as one for datagrams: over TCP, too, a message is read each time."""

    def __init__(self, plain: socket.socket, heard: list[str]) -> None:
        self.plain, self.heard, self.read = plain, heard, b""
        self.stream = plain.type == socket.SOCK_STREAM

    def __getattr__(self, name: str) -> Any:
        return getattr(self.plain, name)

    def send(self, message: bytes) -> None:
        self.plain.sendall(message.replace(b"SIP/2.0/UDP", b"SIP/2.0/TCP") if self.stream else message)

    def recv(self, size: int) -> bytes:
        message = self._next(size) if self.stream else self.plain.recv(size)
        self.heard.append(message.decode("utf-8", "replace"))
        return message

    def _next(self, size: int) -> bytes:
        while True:
            head, end, rest = self.read.lstrip(b"\r\n").partition(b"\r\n\r\n")
            length = re.search(rb"(?im)^content-length: *(\d+)", head)
            if end and length and len(rest) >= int(length[1]):
                self.read = rest[int(length[1]) :]
                return head + end + rest[: int(length[1])]
            more = self.plain.recv(size)
            assert more, "the proxy has closed the connection"
            self.read += more
