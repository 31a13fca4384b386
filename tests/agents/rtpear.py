"""Hears what RTP brings to a port of this machine: for agents that do not write down what they hear."""

import contextlib
import socket
import struct
import time

from sipstack.probe.tone import SILENCE_DBFS, WINDOW, Sound, measure
from tests.agents import g711

_ALL_IP = 0x0800  # ETH_P_IP
_SECONDS = 3.0


def overhear(port: int, interface: str) -> Sound:
    """Measure 200 ms of G.711 that comes to this UDP port from now on; silence if there is none in 3 s."""
    pcm = b""
    deadline = time.monotonic() + _SECONDS
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ALL_IP)) as sock:
        sock.bind((interface, _ALL_IP))
        while (left := deadline - time.monotonic()) > 0 and len(pcm) < 2 * WINDOW:
            sock.settimeout(left)
            with contextlib.suppress(TimeoutError):
                pcm += heard_in(sock.recv(2048), port)
    return measure(pcm) if len(pcm) >= 2 * WINDOW else Sound(SILENCE_DBFS, 0, 0.0)


def heard_in(packet: bytes, port: int) -> bytes:
    """The samples in an IPv4 packet, if it is G.711 to that port."""
    header = (packet[0] & 15) * 4
    if packet[9] != socket.IPPROTO_UDP or struct.unpack_from("!H", packet, header + 2)[0] != port:
        return b""
    return samples(packet[header + 8 :])


def samples(rtp: bytes) -> bytes:
    """The samples in an RTP packet, if it is G.711."""
    if len(rtp) <= 12 or rtp[1] & 127 not in (g711.PCMU, g711.PCMA):
        return b""
    return g711.decode(rtp[12 + 4 * (rtp[0] & 15) :], rtp[1] & 127)
