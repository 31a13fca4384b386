"""The media of a sipp call: plays a tone in G.711, hears what comes, sends and receives digits; or sends back Opus."""

import contextlib
import math
import re
import socket
import struct
import threading
import time
from array import array
from collections.abc import Sequence

from sipstack.agent.message import Message
from sipstack.probe.tone import RATE, SILENCE_DBFS, WINDOW, Sound, measure
from tests.agents import g711
from tests.agents.rtpear import samples

_FRAME = 160  # samples of 20 ms
_AMPLITUDE = 8000
_EVENTS = "0123456789*#ABCD"  # RFC 4733 section 3.2


class Voice:
    """Sends to where the newest SDP says, for as long as that lets it, and listens at `sock`.

    echo: payload types other than G.711 are sent back as they come, so that the other side hears itself.
    """

    def __init__(self, sock: socket.socket, tone: int) -> None:
        self._socket = sock
        self._tone = tone
        self._codes: dict[int, list[bytes]] = {}
        self._remote: tuple[str, int] | None = None
        self._type, self._event_type = g711.PCMA, 101
        self._muted = True
        self._number = 0  # of the packet sent last
        self._pcm = bytearray()
        self._digits: list[tuple[int, str]] = []  # timestamp and digit
        self._queue: list[str] = []
        self._over = threading.Event()
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._speak, self._hear)]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def begin(self) -> None:
        """A new call: nothing was said yet."""
        self._remote, self._digits, self._queue, self._muted = None, [], [], True

    def follow(self, message: Message, preferred: Sequence[int] = ()) -> None:
        """Take over what an SDP that came in says of the audio stream.

        preferred: payload types in the order of our answer, if that is not the offer's.
        """
        text = message.body.decode(errors="replace")
        line = re.search(r"^m=audio (\d+) \S+ ([\d ]+)", text, re.MULTILINE)
        address = re.search(r"^c=IN IP4 (\S+)", text, re.MULTILINE)
        if line is None or address is None:
            return
        types = [int(kind) for kind in line[2].split()]
        known = [kind for kind in preferred or types if kind in types and kind in (g711.PCMU, g711.PCMA)]
        self._type = known[0] if known else -1
        event = re.search(r"^a=rtpmap:(\d+) telephone-event/8000", text, re.MULTILINE)
        self._event_type = int(event[1]) if event else 101
        self._remote = (address[1], int(line[1]))
        self._muted = re.search(r"^a=(sendonly|inactive)", text, re.MULTILINE) is not None or line[1] == "0"

    def hold(self, on: bool) -> None:
        self._muted = on

    def send_digits(self, digits: str) -> None:
        self._queue.extend(digits)

    def digits(self) -> str:
        return "".join(digit for _, digit in self._digits)

    def sound(self) -> Sound:
        """What it hears in 200 ms from now on; silence if that does not come within three seconds."""
        self._pcm.clear()
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline:
            if len(self._pcm) >= 2 * WINDOW:
                return measure(bytes(self._pcm[: 2 * WINDOW]))
            time.sleep(0.02)
        return Sound(SILENCE_DBFS, 0, 0.0)

    def _frames(self, kind: int) -> list[bytes]:
        """A second of the tone."""
        if kind not in self._codes:
            wave = [round(_AMPLITUDE * math.sin(2 * math.pi * self._tone * step / RATE)) for step in range(RATE)]
            codes = g711.encode(array("h", wave), kind)
            self._codes[kind] = [codes[start : start + _FRAME] for start in range(0, RATE, _FRAME)]
        return self._codes[kind]

    def _speak(self) -> None:
        """A packet each 20 ms, by the clock; a machine that is late sends what it owes."""
        begin, sent = time.monotonic(), 0
        while not self._over.wait(max(0.0, begin + sent * 0.02 - time.monotonic())):
            sent += 1
            if self._remote is None or self._muted or self._type < 0:
                continue
            frames = self._frames(self._type)
            if self._queue:
                self._send_digit(self._queue.pop(0), sent)
            self._send(self._type, sent * _FRAME, frames[sent % len(frames)])

    def _send_digit(self, digit: str, sent: int) -> None:
        """The event, and its end three times (RFC 4733 section 2.5.1.4)."""
        for ended, marker in ((0, 0x80), (0, 0), (0x80, 0), (0x80, 0), (0x80, 0)):
            payload = struct.pack("!BBH", _EVENTS.index(digit), 10 | ended, 800)
            self._send(self._event_type | marker, sent * _FRAME, payload)

    def _send(self, kind: int, stamp: int, payload: bytes) -> None:
        self._number = (self._number + 1) & 0xFFFF
        header = struct.pack("!BBHII", 0x80, kind, self._number, stamp & 0xFFFFFFFF, 0x51BB)
        with contextlib.suppress(OSError, TypeError):
            self._socket.sendto(header + payload, self._remote)  # type: ignore[arg-type]

    def _hear(self) -> None:
        self._socket.settimeout(0.2)
        while not self._over.is_set():
            with contextlib.suppress(TimeoutError, ConnectionError):
                packet, source = self._socket.recvfrom(2048)
                if len(packet) > 12:
                    self._take(packet, source)

    def _take(self, packet: bytes, source: tuple[str, int]) -> None:
        kind = packet[1] & 127
        if kind == self._event_type and len(packet) >= 16:
            stamp, event = struct.unpack_from("!I", packet, 4)[0], packet[12]
            if event < len(_EVENTS) and (not self._digits or self._digits[-1][0] != stamp):
                self._digits.append((stamp, _EVENTS[event]))
        elif pcm := samples(packet):
            self._pcm += pcm
        elif self._type < 0 and not self._muted:
            self._socket.sendto(packet, source)
