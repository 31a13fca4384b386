"""G.711: 16-bit samples to and from a byte each (ITU-T G.711, A-law and mu-law)."""

from array import array
from bisect import bisect_right
from collections.abc import Sequence

PCMU, PCMA = 0, 8  # RTP payload types (RFC 3551 table 4)


def _from_mu(code: int) -> int:
    code = ~code & 0xFF
    magnitude = (((code & 0x0F) << 3) + 0x84 << (code >> 4 & 7)) - 0x84
    return -magnitude if code & 0x80 else magnitude


def _from_a(code: int) -> int:
    code ^= 0x55
    segment, step = code >> 4 & 7, (code & 0x0F) << 4
    magnitude = step + 8 if segment == 0 else step + 0x108 << segment - 1
    return magnitude if code & 0x80 else -magnitude


_LINEAR = {PCMU: [_from_mu(code) for code in range(256)], PCMA: [_from_a(code) for code in range(256)]}


def decode(payload: bytes, kind: int) -> bytes:
    """16-bit samples in the machine's byte order; `kind` is PCMU or PCMA."""
    table = _LINEAR[kind]
    return array("h", (table[code] for code in payload)).tobytes()


def encode(samples: Sequence[int], kind: int) -> bytes:
    """The code of the next lower step for each sample."""
    known = sorted((value, code) for code, value in enumerate(_LINEAR[kind]))
    return bytes(known[max(0, bisect_right(known, (sample, 256)) - 1)][1] for sample in samples)
