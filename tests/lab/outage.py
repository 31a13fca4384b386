"""What a proxy does for phones while something that it needs is away: answers counted and timed, all the time."""

import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import pairwise
from typing import Self

from tests.lab.system import System
from tests.lab.wire import DOMAIN, Wire

ASK_SECONDS = 0.05
REGISTER_SECONDS = 0.2


class Pulse:
    """Asks a proxy by OPTIONS every 50 ms and notes how long each answer took; a context manager."""

    def __init__(self, proxy: str) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.connect((proxy, 5060))
        self._socket.settimeout(0.2)
        self._sent: dict[int, float] = {}
        self._took: dict[int, float] = {}
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=run, daemon=True) for run in (self._ask, self._listen)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()
        self._socket.close()

    def percentile(self, share: float, since: float, until: float) -> float:
        """Seconds within which that share of the questions of a time (time.monotonic) were answered; inf: not."""
        asked = [one for one, at in list(self._sent.items()) if since <= at <= until]
        times = sorted(self._took.get(one, float("inf")) for one in asked)
        return times[min(len(times) - 1, int(len(times) * share))]

    def longest(self, since: float) -> float:
        """The longest time (seconds) without an answer from a time (time.monotonic) on, and until now."""
        answers = sorted(at + self._took[one] for one, at in list(self._sent.items()) if one in self._took)
        marks = [since, *(at for at in answers if at > since), time.monotonic()]
        return max(late - early for early, late in pairwise(marks))

    def answers(self, since: float) -> bool:
        """Whether something that was asked after a time (time.monotonic) has been answered."""
        return any(at > since and one in self._took for one, at in list(self._sent.items()))

    def _ask(self) -> None:
        me, call_id, number, due = self._socket.getsockname(), secrets.token_hex(8), 0, time.monotonic()
        while not self._ended.wait(max(0.0, due - time.monotonic())):
            number, due = number + 1, due + ASK_SECONDS
            self._sent[number] = time.monotonic()
            self._socket.send(
                f"OPTIONS sip:{DOMAIN} SIP/2.0\r\n"
                f"Via: SIP/2.0/UDP {me[0]}:{me[1]};branch=z9hG4bK{secrets.token_hex(8)};rport\r\n"
                f"Max-Forwards: 70\r\nFrom: <sip:pulse@{DOMAIN}>;tag=pulse\r\nTo: <sip:{DOMAIN}>\r\n"
                f"Call-ID: {call_id}\r\nCSeq: {number} OPTIONS\r\nContent-Length: 0\r\n\r\n".encode()
            )
        time.sleep(1.0)  # the last ones may be answered

    def _listen(self) -> None:
        while self._threads[0].is_alive():
            try:
                text = self._socket.recv(4096).decode()
            except (TimeoutError, ConnectionRefusedError):
                continue
            if text.startswith("SIP/2.0 200"):
                number = int(text.split("CSeq: ", 1)[1].split()[0])
                self._took[number] = time.monotonic() - self._sent[number]


class Registrations:
    """Slots that register five times a second each, and count the answers; a context manager.

    Attributes:
        codes: number of final answers by code; 0: none within five seconds.
        call_ids: of those that were granted, in the order of each slot.
    """

    def __init__(self, system: System, numbers: Sequence[int]) -> None:
        self.codes: dict[int, int] = {}
        self.call_ids: dict[int, list[str]] = {number: [] for number in numbers}
        self._system = system
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._register, args=(number,), daemon=True) for number in numbers]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        await_that(lambda: all(self.call_ids.values()), 10, "not every slot has registered")
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    @property
    def granted(self) -> int:
        return sum(map(len, self.call_ids.values()))

    def _register(self, number: int) -> None:
        password = self._system.password(number)
        with Wire(self._system.address) as wire:
            while not self._ended.wait(REGISTER_SECONDS):
                call_id = f"outage-{number}-{time.monotonic_ns()}"
                code = wire.register(f"slot_{number}", password, call_id=call_id)
                with self._lock:
                    self.codes[code] = self.codes.get(code, 0) + 1
                if code == 200:
                    self.call_ids[number].append(call_id)


def await_that(condition: Callable[[], bool], seconds: float, otherwise: str) -> float:
    """Wait until something is so, and return for how long, in seconds. Fails with `otherwise`."""
    begin = time.monotonic()
    while not condition():
        assert time.monotonic() - begin < seconds, f"after {seconds:g} s {otherwise}"
        time.sleep(0.1)
    return time.monotonic() - begin


def wait_for_proxy(system: System) -> None:
    """Until it is healthy again after a restart."""
    script = "until docker exec vss-kamailio healthcheck; do sleep 0.2; done"
    system.host.exec("sh", "-c", script, timeout=60)


def takes_questions(system: System) -> bool:
    """Whether PostgreSQL is up; the proxy may not use it again yet."""
    ready = ("docker", "exec", "vss-postgres", "pg_isready", "-q", "-h", "127.0.0.1")
    return system.host.exec(*ready, check=False).returncode == 0


def serves(system: System) -> bool:
    """Whether a REGISTER is in the database when it is answered."""
    with Wire(system.address) as wire:
        name = f"healed-{time.monotonic_ns()}"
        # One contact, however often it is asked: a slot may not have many.
        contact = ("Expires: 300", f"Contact: <sip:slot_6010@{wire.address}>")
        if wire.register("slot_6010", system.password(6010), call_id=name, headers=contact, contact=False) != 200:
            return False  # not known to the proxy, and the database does not tell it yet
        found = system.sql(f"SELECT 1 FROM acc, location l WHERE acc.callid = '{name}' AND l.callid = '{name}'")
        return found == [["1"]]


# What keeps a container from its work for the time of a block.
Outage = Callable[[System, str], AbstractContextManager[None]]


@contextmanager
def frozen(system: System, container: str) -> Iterator[None]:
    """A container whose processes all stand still for the time of the block; its connections stay."""
    system.host.exec("docker", "pause", container)
    try:
        yield
    finally:
        system.host.exec("docker", "unpause", container)


@contextmanager
def stopped(system: System, container: str) -> Iterator[None]:
    """A container that is not there for the time of the block."""
    system.host.exec("docker", "stop", "-t", "5", container)
    try:
        yield
    finally:
        system.host.exec("docker", "start", container)
