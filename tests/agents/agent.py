"""What all user agents have in common: an account, a tone of their own, one call at a time, and ears."""

from __future__ import annotations

import contextlib
import random
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Condition
from typing import Self

from sipstack.probe.tone import Sound

PATIENCE = 30.0  # seconds within which an agent does what it is told, on a machine that has much to do
_AUDIBLE_DBFS = -50.0  # far above a line's noise, far below an agent's tone (about -12)
_TOLERANCE_HZ = 15  # two steps of the measurement, and what a resampler may shift
_TONE_PURITY = 0.5  # a tone through G.711 or Opus has more than 0.9


class AgentError(Exception):
    """An agent did not do, see or hear what it should have; the message says which agent, and what."""


@dataclass(frozen=True)
class Account:
    """Whose phone this is, and where its proxy is.

    Attributes:
        proxy: address of the proxy, whose SIP port is 5060.
        number: the slot's number; its SIP user is slot_<number>.
        password: for digest challenges.
        transport: "udp" or "tcp".
    """

    proxy: str
    number: int
    password: str
    transport: str = "udp"

    @property
    def user(self) -> str:
        return f"slot_{self.number}"

    @property
    def local(self) -> str:
        """This machine's address on the way to the proxy."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.connect((self.proxy, 5060))
            return str(sock.getsockname()[0])


@dataclass(frozen=True)
class Settings:
    """How an agent is set up, where that is not done call by call.

    Attributes:
        codecs: what it offers and takes, by preference: names of RTP encodings.
        video: it offers video, and takes it.
        early: as a called phone, it lets itself be heard before it answers (183 with SDP).
        prack: it asks for reliable provisional answers (RFC 3262).
        late: its INVITE has no offer (RFC 3261 section 13.2.1).
        timer: session interval in seconds that it asks for (RFC 4028); 0: it asks for none.
    """

    codecs: tuple[str, ...] = ("PCMA", "PCMU")
    video: bool = False
    early: bool = False
    prack: bool = False
    late: bool = False
    timer: int = 0


class Agent(ABC):
    """A user agent with one account; a context manager, registered between enter and exit.

    Attributes:
        kind: which software it is.
        can: the features that it has, by their names in `features`.
        tone: frequency in Hz that it plays in its calls.
        folder: where its settings, its log with all SIP messages, and its sound files are.
    """

    kind = ""
    can: frozenset[str] = frozenset()

    def __init__(self, account: Account, tone: int, folder: Path, settings: Settings | None = None) -> None:
        self.account, self.tone, self.folder = account, tone, folder
        self.settings = settings or Settings()
        self.number = account.number
        self._news = Condition()

    def __str__(self) -> str:
        return f"{self.kind} {self.number}/{self.account.transport}"

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # --- what each software does in its own way --------------------------------------------------------------------

    @abstractmethod
    def start(self) -> None:
        """Start it and wait until it is registered."""

    @abstractmethod
    def stop(self) -> None:
        """End it, with its goodbyes."""

    @abstractmethod
    def call(self, number: int) -> None:
        """Call a number; returns at once."""

    @abstractmethod
    def await_call(self) -> None:
        """Wait for a call that comes in. With `early` it can be heard from then on, else it rings."""

    def await_ringing(self) -> None:  # noqa: B027
        """Wait until it knows that the other phone rings, if it would be in its way to be answered before."""

    @abstractmethod
    def answer(self) -> None:
        """Answer the call that came in."""

    @abstractmethod
    def await_up(self) -> None:
        """Wait until its newest call is answered."""

    @abstractmethod
    def hang_up(self) -> None:
        """End its newest call."""

    @abstractmethod
    def await_over(self, timeout: float = PATIENCE) -> None:
        """Wait until it has no call any more."""

    @abstractmethod
    def sound(self) -> Sound:
        """What it hears in 200 ms from now on; silence if nothing comes."""

    def hold(self) -> None:
        """Hold the other side, by a re-INVITE."""
        raise self._cannot("hold")

    def resume(self) -> None:
        """End the hold."""
        raise self._cannot("resume")

    def reinvite(self) -> None:
        """Send a re-INVITE that changes nothing."""
        raise self._cannot("re-INVITE")

    def refresh(self) -> None:  # noqa: B027
        """Refresh the session it has asked a timer for; most do so by themselves, at half of the interval."""

    def send_digits(self, digits: str) -> None:
        """Send DTMF (RFC 4733)."""
        raise self._cannot("send DTMF")

    def digits(self) -> str:
        """The DTMF digits that it has received in this call."""
        raise self._cannot("receive DTMF")

    def transfer(self, number: int) -> None:
        """Ask the other side to call that number instead (REFER)."""
        raise self._cannot("transfer")

    def consult(self, number: int) -> None:
        """Hold the other side and call that number."""
        raise self._cannot("consult")

    def connect(self) -> None:
        """Connect the side on hold with the one that was consulted (REFER with Replaces)."""
        raise self._cannot("connect")

    # --- what is the same for all ----------------------------------------------------------------------------------

    def await_hears(self, hz: int, timeout: float = PATIENCE) -> None:
        """Wait until it hears a tone of that frequency.

        Raises:
            AgentError: it does not within `timeout` seconds; the message says what it hears instead.
        """
        last = self._listen(lambda sound: hears(sound, hz), timeout)
        if last is not None:
            raise AgentError(f"{self} hears {describe(last)}, not {hz} Hz")

    def await_silence(self, timeout: float = PATIENCE) -> None:
        """Wait until it hears nothing."""
        last = self._listen(lambda sound: sound.level < _AUDIBLE_DBFS, timeout)
        if last is not None:
            raise AgentError(f"{self} hears {describe(last)}, not silence")

    def await_digits(self, digits: str) -> None:
        self.await_true(lambda: digits in self.digits(), f"the digits {digits}")

    def await_true(self, condition: Callable[[], bool], what: str, timeout: float = PATIENCE) -> None:
        """Wait for what `condition` tests; news of the agent wake it, and a look ten times a second."""
        deadline = time.monotonic() + timeout
        with self._news:
            while not condition():
                if time.monotonic() >= deadline:
                    raise AgentError(f"{self}: {what} did not come within {timeout:g} s ({self.state()})")
                self._news.wait(0.1)

    def has_said(self, text: str) -> bool:
        """Whether its logs, which hold all its messages, have this text."""
        logs = [path for path in self.folder.iterdir() if path.is_file() and path.suffix not in (".wav", ".xml")]
        return any(text in path.read_text(errors="replace") for path in logs)

    def state(self) -> str:
        """One line on what it does, for messages of errors."""
        return f"log in {self.folder}"

    def _listen(self, enough: Callable[[Sound], bool], timeout: float) -> Sound | None:
        deadline = time.monotonic() + timeout
        while not enough(sound := self.sound()):
            if time.monotonic() >= deadline:
                return sound
        return None

    def _cannot(self, what: str) -> AgentError:
        return AgentError(f"{self.kind} cannot {what}")


def hears(sound: Sound, hz: int) -> bool:
    """Is this a tone of that frequency?"""
    near = abs(sound.frequency - hz) <= _TOLERANCE_HZ
    return near and sound.purity >= _TONE_PURITY and sound.level >= _AUDIBLE_DBFS


def describe(sound: Sound) -> str:
    if sound.level < _AUDIBLE_DBFS:
        return "silence"
    kind = f"{sound.frequency} Hz" if sound.purity >= _TONE_PURITY else "a mixture of sounds"
    return f"{kind} at {sound.level:.0f} dBFS"


def free_port(address: str) -> int:
    """A port of that address that nobody uses now, over UDP or TCP; not one that the kernel gives away by itself."""
    while True:
        port = random.randrange(15_000, 25_000)
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
            socket.socket(socket.AF_INET, socket.SOCK_STREAM) as streams,
            contextlib.suppress(OSError),
        ):
            datagrams.bind((address, port))
            streams.bind((address, port))
            return port
