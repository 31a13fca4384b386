"""Tones to play and recordings to listen to while they grow: the ears of agents that only know files."""

import math
import time
import wave
from array import array
from collections.abc import Callable
from pathlib import Path

from sipstack.probe.tone import RATE, SILENCE_DBFS, WINDOW, Sound, measure

_AMPLITUDE = 12_000  # of 32768: a tone of about -12 dBFS
_SECONDS = 240
_FRESH_SECONDS = 3.0  # 200 ms of sound come in that time, however busy the machine is; else it is silent
_HEADER = 44


def write_tone(path: Path, hz: int, rate: int = RATE) -> None:
    """A WAV file, mono, 16 bits. baresip plays it once only, so it has to be as long as a call."""
    second = array("h", (round(_AMPLITUDE * math.sin(2 * math.pi * hz * step / rate)) for step in range(rate)))
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(second.tobytes() * _SECONDS)


def listen(newest: Callable[[], Path | None], rate: int = RATE) -> Sound:
    """Measure the next 200 ms of a WAV file that an agent is writing; silence if nothing is added for three seconds.

    newest: finds the file; an agent may begin a new one at any time. rate: its samples per second, in one channel.
    """
    silence = Sound(SILENCE_DBFS, 0, 0.0)
    deadline = time.monotonic() + _FRESH_SECONDS
    path = newest()
    start = path.stat().st_size if path else 0
    while time.monotonic() < deadline:
        found = newest()
        if found != path:
            path, start = found, _HEADER
        if path is not None and path.stat().st_size > _HEADER:
            wanted = 2 * WINDOW * rate // RATE
            start = max(_HEADER, start // 2 * 2)
            if path.stat().st_size >= start + wanted:
                with path.open("rb") as file:
                    file.seek(start)
                    return measure(_at_8000(file.read(wanted), rate))
        time.sleep(0.02)
    return silence


def _at_8000(pcm: bytes, rate: int) -> bytes:
    """At 8000 samples per second: taking every nth sample will do for a tone below 4 kHz."""
    return array("h", pcm)[:: rate // RATE].tobytes()
