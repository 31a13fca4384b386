"""A phone at a private address that remembers, to the byte, all that it is told."""

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from tests.lab.rawcall import RawCall, acknowledged, begin, uri_of
from tests.lab.system import System
from tests.lab.wire import Wire

SOFTWARE = "Fone/1.2.3"
# What a phone may say of its media, and each time where it is.
MEDIA = (
    "v=0\r\no=fone 1 1 IN IP4 {0}\r\ns=-\r\nc=IN IP4 {0}\r\nt=0 0\r\nm=audio 45000 RTP/AVP 8\r\nc=IN IP4 {0}\r\n"
    "a=rtcp:45001 IN IP4 {0}\r\na=candidate:1 1 UDP 2130706431 {0} 45000 typ host\r\na=ice-ufrag:abcd\r\n"
    "a=ice-pwd:0123456789012345678901\r\na=rtpmap:8 PCMA/8000\r\n"
)

# What a request has on its way to the caller's phone, as from a proxy at his home.
BEHIND = "SIP/2.0/UDP 192.168.9.9;branch=z9hG4bKdeep, SIP/2.0/UDP 192.168.9.10:5070;branch=z9hG4bKdeeper"


class Ear(Wire):
    """A Wire that says a private address in Via, Contact and SDP, and the name and version of its software.

    Attributes: `heard`, all messages that came in; `home`, other addresses that are its own.
    """

    def __init__(self, proxy: str, private: str, transport: str = "udp") -> None:
        super().__init__(proxy)
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

    def names_port(self, port: int) -> bool:
        """Whether it has heard of a port; not as a part of something that was drawn by lot."""
        return re.search(rf"(?<![0-9a-f]){port}(?![0-9a-f])", "\n".join(self.heard)) is not None

    def wait_rings(self, phones: int) -> None:
        """Until so many phones ring at the other side."""
        self.socket.settimeout(5)
        while sum(text.startswith("SIP/2.0 180 ") for text in self.heard) < phones:
            self.socket.recv(65_536)

    def knows(self, *public: str) -> set[str]:
        """What it has heard of addresses that are neither its own nor `public`, of software, and of versions."""
        text = "\n".join(self.heard)
        found = set(re.findall(r"\b\d+\.\d+\.\d+\.\d+\b", text)) - {self.address, self.public, *self.home, *public}
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


@contextmanager
def two_phones(system: System, transports: tuple[str, str] = ("udp", "udp")) -> Iterator[tuple[Ear, Ear]]:
    """Slots 6001 and 6003, each behind its NAT. At the end, neither knows anything of the other."""
    with (
        Ear(system.address, "192.168.1.20", transports[0]) as caller,
        Ear(system.address, "192.168.7.7", transports[1]) as callee,
    ):
        assert callee.register("slot_6003", system.password(6003)) == 200
        yield caller, callee
        for ear, other in ((caller, callee), (callee, caller)):
            assert not ear.knows(system.address)
            assert not ear.names_port(other.port)


def ring(system: System, caller: Ear, callee: Ear, status: bytes = b"180 Ringing") -> dict[str, str]:
    """Call, and let it ring; the INVITE as it came in."""
    caller.home = {"192.168.9.9", "192.168.9.10"}
    begin(system, caller, 6001, "6003", headers=(*caller.software, f"v: {BEHIND}"))
    first, invite = callee.next_request()
    assert first == f"INVITE sip:slot_6003@{callee.contact} SIP/2.0"
    callee.answer(invite, status, tag=b"here", headers=callee.software)
    return invite


def connect(system: System, caller: Ear, callee: Ear) -> RawCall:
    """The same call, answered."""
    invite = ring(system, caller, callee)
    callee.answer(invite, b"200 OK", tag=b"here", headers=callee.software, body=callee.media)
    call = acknowledged(caller, "6003", contact=uri_of(invite["contact"]))
    assert callee.next_request()[0] == f"ACK sip:{callee.contact} SIP/2.0"
    return call


def say(wire: Ear, other: Ear, request: bytes, uri: str, body: str = "") -> None:
    """A request that arrives at `uri`, and whose answer comes back."""
    wire.send(request)
    first, headers = other.next_request()
    assert first.split()[1] == uri
    other.answer(headers, b"200 OK", headers=other.software, body=body)
    assert wire.reply()["code"] == "200"
