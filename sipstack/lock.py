"""The deploy lock: of two that want to change the same hosts, one wins and the other says who holds it.

On each host a small script holds an flock for as long as we write to it. A run that is killed drops its connection;
one that is cut off, or asleep, falls silent: either way the script ends, and the lock with it. Nothing stays behind
that would have to be removed by hand.
"""

import getpass
import os
import shlex
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from threading import Event, Thread
from typing import Protocol

from sipstack.errors import OperatorError

# In a folder that only root writes to, so that nobody else can hold it; gone after a reboot, as any holder is.
LOCK_FILE = "/run/vss-deploy.lock"
BEAT_SECONDS = 10.0
# A holder that is silent for longer has lost the lock.
LEASE_SECONDS = 60.0
ANSWER_SECONDS = 15.0

# Bash, since dash's read has no time limit. Run as `bash -c SCRIPT lock LEASE HOLDER`; answers are marked, because
# what a login prints (~/.bashrc) comes the same way.
_SCRIPT = f"""
file={LOCK_FILE}
say() {{ echo "vss-lock $*"; }}
[ "$(id -u)" = 0 ] || {{ say refused not root: connect as root, or set _sudo = True for this host; exit 1; }}
umask 022
exec 9>>"$file" || exit 1
if ! flock -n 9; then
    # A holder that has just won writes its name in a moment.
    for _ in 1 2 3 4 5; do [ -s "$file" ] && break; sleep 0.1; done
    say held "$(cat "$file")"
    exit 1
fi
echo "$2 since $(date -u '+%F %T UTC')" > "$file"
say taken
while read -r -t "$1" line; do [ "$line" != '?' ] || say taken; done
: > "$file"
"""


class LockLostError(OperatorError):
    """The run that we are in has its hosts for itself no longer."""


class Wire(Protocol):
    """The way to the script on a host: a socket, or a paramiko channel."""

    def sendall(self, data: bytes, /) -> object: ...
    def recv(self, size: int, /) -> bytes: ...
    def settimeout(self, seconds: float, /) -> None: ...
    def shutdown(self, how: int, /) -> None: ...
    def close(self) -> None: ...


def operator() -> str:
    """Who we are, as others get to read it: root@ops1."""
    try:
        user = os.environ.get("SUDO_USER") or getpass.getuser()
    except (OSError, KeyError):  # an account without a name
        user = str(os.getuid())
    return _printable(f"{user}@{socket.gethostname()}")


def holder(inventory: str) -> str:
    """Who holds the lock: root@ops1 (pid 4711) with inventories/prod.py."""
    return _printable(f"{operator()} (pid {os.getpid()}) with {inventory}")


def command(who: str) -> str:
    """What a host has to run, as root, at the far end of a Wire. who: see `holder`."""
    return shlex.join(["bash", "-c", _SCRIPT, "lock", f"{LEASE_SECONDS:g}", who])


def local_wire(argv: Sequence[str]) -> Wire:
    """Start a command of this machine, such as ssh, and talk to it."""
    ours, theirs = socket.socketpair()
    # In a session of its own: Ctrl-C is for us, and the lock is given back when we have ended.
    end = theirs.fileno()
    subprocess.Popen(argv, stdin=end, stdout=end, stderr=end, start_new_session=True)
    theirs.close()
    return ours


class DeployLock:
    """The locks of all hosts of a run. Works in threads and in gevent's greenlets."""

    def __init__(self) -> None:
        self._held: dict[str, _Line] = {}
        self._released = Event()

    def take(self, name: str, wire: Wire, who: str) -> None:
        """Take the lock of a host, without waiting. wire: leads to `command` there, and is closed by `release`.

        who: what `command` was given.

        Raises OperatorError: somebody else holds it, or it cannot be taken at all.
        """
        line = self._held[name] = _Line(wire)
        verdict, said = line.answer()
        if verdict == "taken":
            if len(self._held) == 1:
                Thread(target=self._beat, daemon=True).start()
            return
        if verdict == "held" and said.startswith(f"{who} since "):
            raise OperatorError(f"{name}: this machine is in the inventory under another name too: list it once")
        if verdict == "held":
            raise OperatorError(f"{name}: another deploy runs: {said or 'just started'}: wait for its end")
        if verdict == "refused":
            raise OperatorError(f"{name}: {said}")
        raise OperatorError(
            f"{name}: the deploy lock cannot be taken: {said or 'no answer'}: look at {LOCK_FILE} there"
        )

    def confirm(self) -> None:
        """Make sure that all of it is still ours, if there is any. Raises LockLostError if not, in one line."""
        for line in self._held.values():
            line.send("?")
        lost = [name for name, line in self._held.items() if line.answer()[0] != "taken"]
        if lost:
            raise LockLostError(
                f"{', '.join(lost)}: the deploy lock is lost, this run was cut off or silent for too long"
                " and another one may have started: run again"
            )

    def release(self) -> None:
        """Give the locks back; they are free when this returns, unless a host does not answer."""
        self._released.set()
        for line in self._held.values():
            line.close()
        self._held.clear()

    def _beat(self) -> None:
        while not self._released.wait(min(BEAT_SECONDS, LEASE_SECONDS / 4)):
            for line in list(self._held.values()):
                line.send("")


# The locks of this run; none while it changes nothing.
LOCK = DeployLock()


class _Line:
    """One wire, read line by line. That it is broken shows when an answer is awaited."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._buffer = b""

    def send(self, text: str) -> None:
        with suppress(OSError, EOFError):
            self._wire.sendall(f"{text}\n".encode())

    def answer(self) -> tuple[str, str]:
        """The script's verdict and what it adds; no verdict, and the last words, when there is no answer."""
        deadline, last = time.monotonic() + ANSWER_SECONDS, ""
        with suppress(OSError, EOFError):  # a timeout is an OSError
            while True:
                line, found, self._buffer = self._buffer.partition(b"\n")
                if found:
                    last = _printable(line.decode(errors="replace"))
                    if last.startswith("vss-lock "):
                        _, verdict, *said = last.split(" ", 2)
                        return verdict, "".join(said)
                    continue
                self._buffer = line
                self._wire.settimeout(max(deadline - time.monotonic(), 0.001))
                if not (data := self._wire.recv(4096)):
                    break
                self._buffer += data
        return "", last

    def close(self) -> None:
        with suppress(OSError, EOFError):
            self._wire.shutdown(socket.SHUT_WR)
            self._wire.settimeout(5)
            while self._wire.recv(4096):
                pass  # until the script has ended
        self._wire.close()


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text.strip())
