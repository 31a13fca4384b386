"""What a phone hears: the level of a piece of audio and its strongest frequency, in plain Python."""

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

RATE = 8000  # samples per second of PCMU and PCMA
WINDOW = 1600  # samples of one measurement, 200 ms: frequencies 5 Hz apart are told apart
SILENCE_DBFS = -96.0  # what 16 bits can express; the level of nothing at all
_COARSE = 160  # samples of the first look, 20 ms: a tone is seen from 25 Hz away


@dataclass(frozen=True)
class Sound:
    """One measurement.

    Attributes:
        level: mean power in dB below full scale (a full-scale square wave is 0); silence is -96.
        frequency: the strongest frequency between 100 and 3600 Hz, in Hz to about 5; 0 for silence.
        purity: that frequency's share of all power, 0 to 1 (a tone is near 1, speech and noise far below).
    """

    level: float
    frequency: int
    purity: float


def measure(pcm: bytes) -> Sound:
    """Measure mono 16-bit audio of 8000 samples per second in the machine's byte order."""
    samples = array("h", pcm[: len(pcm) // 2 * 2])
    energy = float(sum(sample * sample for sample in samples))
    if len(samples) < _COARSE or energy == 0:
        return Sound(SILENCE_DBFS, 0, 0.0)
    level = 10 * math.log10(energy / len(samples) / 32768**2)
    # Two looks cost a tenth of one at full resolution: dozens of phones share a machine.
    middle = (len(samples) - _COARSE) // 2
    short = samples[middle : middle + _COARSE]
    near = max(range(100, 3601, 25), key=lambda hz: _power(short, hz))
    step = RATE / len(samples)
    first, last = math.floor((near - 30) / step), math.ceil((near + 30) / step)
    powers = {number: _power(samples, number * step) for number in range(first, last + 1)}
    peak = max(powers, key=lambda number: powers[number])
    # A tone between two steps is spread over both, so the neighbours count.
    around = sum(powers.get(number, 0.0) for number in (peak - 1, peak, peak + 1))
    return Sound(level, round(peak * step), min(1.0, 2 * around / (len(samples) * energy)))


def _power(samples: Sequence[int], hz: float) -> float:
    """Squared magnitude of the samples at one frequency (Goertzel's algorithm)."""
    coefficient = 2 * math.cos(2 * math.pi * hz / RATE)
    before = last = 0.0
    for sample in samples:
        before, last = last, sample + coefficient * last - before
    return last * last + before * before - coefficient * last * before
