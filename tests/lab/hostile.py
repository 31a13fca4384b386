"""Sends octets as they are to a proxy, and watches whether it comes to harm."""

import re
import socket
import time
from contextlib import suppress
from dataclasses import dataclass, field

from tests.lab.system import System
from tests.lab.test_calls import phones, talk

# Lines of Kamailio's log that an operator would have to look at. Every part of it calls what it cannot read an error;
# that is a stranger's, and so is a connection that he leaves stalled, which tcp_main.c calls critical. Ours are errors
# of the database, of bindings, of our own routes, of memory, and of sending datagrams; not of media, for a worker may
# notice only here that a test before has stopped rtpengine. A NUL swallows the end of a line, so that another one may
# follow in the same.
REST = r"(?:(?!(?:DEBUG|INFO|NOTICE|WARNING|ERROR): ).)*?"
ALARMS = re.compile(
    rf"\d\) (?:CRITICAL|ALERT|EMERGENCY|BUG): (?!{REST}<core> \[core/(?:parser/|tcp_main\.c))"
    rf"|\d\) ERROR: {REST}(?:(?:db_\w+|sqlops|acc|usrloc|dispatcher|dmq|htable) \[\w+\.c:|<script>: "
    r"|\b(?:no more|out of|not enough|allocate) .*(?:mem|pkg|shm)|udp_send\(\))"
)
# RFC 3261 §20.35: what a proxy is must not be told to everybody.
TELLTALE = re.compile(rb"kamailio|openser|\b6\.0\.|^(?:server|user-agent) *:(?! *vss\r)", re.IGNORECASE | re.MULTILINE)


@dataclass
class Heard:
    """What came back: `messages`, each with its head only, and whether the proxy closed the connection."""

    messages: list[bytes] = field(default_factory=list)
    closed: bool = False

    @property
    def code(self) -> int:
        """That of the first final answer; 0: none."""
        return self.codes[0] if self.codes else 0

    @property
    def codes(self) -> list[int]:
        """Those of all final answers."""
        return [int(message[8:11]) for message in self.messages if re.match(rb"SIP/2\.0 [2-6]\d\d ", message)]


def header(message: bytes, name: str) -> str:
    """The value of a header of an answer; "" if it is not there."""
    found = re.search(rb"^%s: ([^\r]*)\r" % name.encode(), message, re.IGNORECASE | re.MULTILINE)
    return found[1].decode("utf-8", "replace") if found else ""


def over_udp(proxy: str, message: bytes, timeout: float = 0.7) -> Heard:
    """Send one datagram and wait for a final answer."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.connect((proxy, 5060))
        udp.send(message)
        heard = Heard()
        deadline = time.monotonic() + timeout
        while not heard.code and (left := deadline - time.monotonic()) > 0:
            udp.settimeout(left)
            with suppress(TimeoutError):
                heard.messages.append(udp.recv(65_536))
        return heard


def over_tcp(
    proxy: str, message: bytes, timeout: float = 0.7, *, answers: int = 1, size: int = 65_536, pause: float = 0.0
) -> Heard:
    """Send on one connection, in pieces of that size, and wait for that many final answers or for its end."""
    with socket.create_connection((proxy, 5060), timeout=5) as tcp:
        tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        heard = Heard()
        try:
            for start in range(0, len(message), size):
                if start:
                    time.sleep(pause)
                tcp.sendall(message[start : start + size])
        except (BrokenPipeError, ConnectionResetError):
            heard.closed = True
        return listen(tcp, timeout, answers, heard)


def listen(tcp: socket.socket, timeout: float, answers: int = 1, heard: Heard | None = None) -> Heard:
    """What comes in on a connection until that many final answers, its end, or the timeout."""
    heard = heard or Heard()
    stream = b""
    deadline = time.monotonic() + timeout
    while len(heard.codes) < answers and (left := deadline - time.monotonic()) > 0:
        tcp.settimeout(left)
        try:
            some = tcp.recv(65_536)
        except TimeoutError:
            break
        except ConnectionResetError:
            some = b""
        if not some:
            heard.closed = True
            break
        stream = (stream + some).lstrip(b"\r\n")  # the answer to a keep-alive (RFC 5626 §3.5.1) is an empty line
        while (end := stream.find(b"\r\n\r\n")) >= 0:
            size = end + 4 + int(header(stream[: end + 2], "Content-Length") or 0)
            heard.messages.append(stream[:size])
            stream = stream[size:]
    return heard


def answers_options(system: System, timeout: float = 2.0) -> float:
    """How long the proxy takes to answer somebody else's OPTIONS, seconds; fails if it does not."""
    options = (
        f"OPTIONS sip:vss.internal SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK{time.monotonic_ns()};rport\r\n"
        f"Max-Forwards: 70\r\nFrom: <sip:ping@vss.internal>;tag=1\r\nTo: <sip:vss.internal>\r\n"
        f"Call-ID: {time.monotonic_ns()}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    ).encode()
    start = time.monotonic()
    assert over_udp(system.address, options, timeout).code == 200, "the proxy does not serve others any more"
    return time.monotonic() - start


def phones_are_served(system: System) -> float:
    """Two phones register and talk; returns how long the two registrations and the set-up took, seconds."""
    start = time.monotonic()
    with phones(system, 6003, 6004) as (anna, bert):
        call = anna.call("6004")
        incoming = bert.expect_call()
        incoming.answer()
        call.wait_state("confirmed")
        took = time.monotonic() - start
        call.hangup()
    with phones(system, 6003, 6004, transport="tcp") as (anna, bert):
        talk(anna, bert, "6004")[0].hangup()
    return took


@dataclass(frozen=True)
class Memory:
    """Bytes in use: shared by all, and private to each worker by its process id."""

    shared: int
    private: dict[int, int]

    def growth(self, later: "Memory") -> tuple[float, float]:
        """By how many percent each kind has grown: shared, and that of the worker whose memory has grown most."""
        private = [(later.private[pid] / used - 1) * 100 for pid, used in self.private.items()]
        return (later.shared / self.shared - 1) * 100, max(private)


def memory(system: System) -> Memory:
    shared = int(re.findall(r"\breal_used: (\d+)", system.kamcmd("core.shmmem"))[0])
    rows = re.findall(r"pid: (\d+)\s+rank: \d+\s+used: \d+\s+free: \d+\s+real_used: (\d+)", system.kamcmd("pkg.stats"))
    return Memory(shared, {int(pid): int(used) for pid, used in rows})


class Watch:
    """What must not change while strangers do their worst: a context manager that fails if it has.

    The process that waits for all others ends with any of them, so its own number says little; the numbers of all
    workers do.
    """

    def __init__(self, system: System) -> None:
        self.system = system

    def __enter__(self) -> "Watch":
        self.started = self.system.started_at()["vss-kamailio"]
        self.workers = self._workers()
        self.since = self.system.host.exec("date", "+%Y-%m-%dT%H:%M:%S.%NZ", "-u").stdout.strip()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.unharmed()

    def unharmed(self) -> None:
        """The same processes, and nothing in the log that an operator would have to look at."""
        assert self.system.started_at()["vss-kamailio"] == self.started, "the container was started again"
        assert self._workers() == self.workers, "not the same worker processes any more"
        alarms = [line for line in self.log().split("\n") if ALARMS.search(line)]
        assert not alarms, "\n".join(alarms[:20])

    def log(self) -> str:
        """What Kamailio logged meanwhile."""
        done = self.system.host.exec("docker", "logs", "--since", self.since, "vss-kamailio")
        return done.stdout + done.stderr

    def _workers(self) -> list[str]:
        return re.findall(r"PID: (\d+)\s+DSC: (.*)", self.system.kamcmd("core.psx"))
