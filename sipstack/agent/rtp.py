"""Media: PCMA packets (RFC 3550, RFC 3551) whose payload says whose they are, and the SDP that goes with them."""

import asyncio
import re
import secrets
import struct

from .message import Address

PCMA = 8
_SAMPLES = 160  # 20 ms at 8 kHz


class Rtp(asyncio.DatagramProtocol):
    """One stream to and fro, on a port of its own.

    Attributes:
        payload: the 160 bytes that every packet sent carries; random, so that nobody else sends them.
        received: packets that came in, whatever they carry.
        heard: loop time when the last of them came; when sending began, before the first.
        remote: where packets are sent to, as the other side's SDP has it; port 0 before there was one.
    """

    def __init__(self) -> None:
        self.payload = secrets.token_bytes(16) * (_SAMPLES // 16)
        self.received = 0
        self.heard = asyncio.get_running_loop().time()
        self._transport: asyncio.DatagramTransport | None = None
        self._sending: asyncio.Task[None] | None = None
        self.remote: Address = ("", 0)
        self._expected: bytes | None = None
        self._missing = 0
        self._matched = asyncio.Event()

    @classmethod
    async def open(cls, local: str) -> "Rtp":
        """Open a stream on a free port of this address."""
        loop = asyncio.get_running_loop()
        transport, stream = await loop.create_datagram_endpoint(cls, local_addr=(local, 0))
        stream._transport = transport
        return stream

    @property
    def local(self) -> Address:
        """The own socket; only while it is open."""
        assert self._transport is not None
        address, port = self._transport.get_extra_info("sockname")
        return address, port

    def describe(self) -> bytes:
        """The SDP of this side (RFC 4566): PCMA only, so that no side has reason to change the payload."""
        address, port = self.local
        lines = ("v=0", f"o=- {port} 1 IN IP4 {address}", "s=-", f"c=IN IP4 {address}", "t=0 0",
                 f"m=audio {port} RTP/AVP {PCMA}", f"a=rtpmap:{PCMA} PCMA/8000", "a=sendrecv")  # fmt: skip
        return ("\r\n".join(lines) + "\r\n").encode()

    def start(self, sdp: bytes, interval: float) -> None:
        """Send a packet every `interval` seconds to where this SDP says; again with another SDP: go there instead."""
        address = re.search(rb"^c=IN IP4 ([\d.]+)", sdp, re.MULTILINE)
        port = re.search(rb"^m=audio (\d+)", sdp, re.MULTILINE)
        if address is None or port is None:
            return
        self.remote = (address[1].decode(), int(port[1]))
        if self._sending is None:
            self.heard = asyncio.get_running_loop().time()
            self._sending = asyncio.create_task(self._send(interval))

    async def hear(self, payload: bytes | None, packets: int) -> None:
        """Wait for so many packets that carry this; None: any."""
        self._expected, self._missing = payload, packets
        self._matched.clear()
        await self._matched.wait()

    def close(self) -> None:
        if self._sending is not None:
            self._sending.cancel()
        if self._transport is not None:
            self._transport.close()

    def datagram_received(self, data: bytes, source: Address) -> None:
        if len(data) < 12 or data[0] >> 6 != 2 or data[1] & 0x7F != PCMA:
            return
        self.received += 1
        self.heard = asyncio.get_running_loop().time()
        if self._expected is None or data[12:] == self._expected:
            self._missing -= 1
            if self._missing <= 0:
                self._matched.set()

    async def _send(self, interval: float) -> None:
        assert self._transport is not None
        number, source = secrets.randbelow(1 << 15), secrets.randbits(32)
        stamp = 0
        while True:
            header = struct.pack("!BBHII", 0x80, PCMA, number & 0xFFFF, stamp & 0xFFFFFFFF, source)
            self._transport.sendto(header + self.payload, self.remote)
            number, stamp = number + 1, stamp + int(interval * 8000)
            await asyncio.sleep(interval)
