"""The operator's side of a phone's worker process: starts it, asks it, hears its events."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import sipstack
from sipstack.probe.errors import ProbeError

Event = dict[str, Any]
_REPLY_TIMEOUT = 10.0  # seconds; a worker answers in milliseconds, a machine under load later
_LAST_LINES = 5


class Channel:
    """A worker process. Events are given to `on_event` in another thread, under this object's lock."""

    def __init__(
        self,
        name: str,
        exec_prefix: Sequence[str],
        log: Path,
        on_event: Callable[[Event], None],
        worker: str = "sipstack.probe.worker",
    ) -> None:
        self._name = name
        self._log = log
        self._on_event = on_event
        self._changed = threading.Condition()
        self._replies: dict[int, Event] = {}
        self._count = 0
        self._dead = False
        root = str(Path(sipstack.__file__).parent.parent)
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        try:
            # Its owner's only: the log holds whole SIP messages.
            with os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as errors:
                self._process = subprocess.Popen(
                    [*exec_prefix, sys.executable, "-m", worker],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    env={**os.environ, "PYTHONPATH": path},
                    start_new_session=True,  # an interrupt at the keyboard is for the operator's process
                )
        except OSError as error:
            raise ProbeError(f"{name}: the phone's process does not start: {error}") from None
        self._reader = threading.Thread(target=self._read, name=f"phone-{name}", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def request(self, do: str, patience: float = _REPLY_TIMEOUT, **arguments: Any) -> Event:
        """Send a command and return its reply; ProbeError when it is refused or the worker is gone."""
        with self._changed:
            self._count += 1
            number = self._count
            line = json.dumps({"id": number, "do": do, **arguments}).encode() + b"\n"
            try:
                assert self._process.stdin is not None
                self._process.stdin.write(line)
                self._process.stdin.flush()
            except (OSError, ValueError):
                self._changed.wait_for(lambda: self._dead, 1)
                raise self._death() from None
            if not self.wait(lambda: number in self._replies, patience):
                last = self._last_lines()
                raise ProbeError(f"{self._name}: the phone's process does not answer {do}{last}")
            reply = self._replies.pop(number)
        if "error" in reply:
            raise ProbeError(f"{self._name}: {do}: {reply['error']}")
        return reply

    def wait(self, condition: Callable[[], bool], timeout: float) -> bool:
        """Wait until an event makes the condition true; False after `timeout` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: condition() or self._dead, timeout)
            if condition():
                return True
            if self._dead:
                raise self._death()
            return False

    def close(self) -> None:
        """End the worker with its goodbyes; by force when it takes too long."""
        assert self._process.stdin is not None
        with suppress(OSError, ValueError):  # it is gone already
            self._process.stdin.write(b'{"do": "quit"}\n')
            self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._finish()

    def kill(self) -> None:
        """End the worker without a goodbye, like a phone that loses its power."""
        self._process.kill()
        self._finish()

    def _finish(self) -> None:
        self._process.wait()
        self._reader.join()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(OSError):  # what could not be written any more
                    stream.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            message = json.loads(line)
            with self._changed:
                if "reply" in message:
                    self._replies[message["reply"]] = message
                else:
                    self._on_event(message)
                self._changed.notify_all()
        with self._changed:
            self._dead = True
            self._changed.notify_all()

    def _death(self) -> ProbeError:
        code = self._process.wait()
        return ProbeError(f"{self._name}: the phone's process has ended ({code}){self._last_lines()}")

    def _last_lines(self) -> str:
        if not self._log.exists():  # it went away with a phone that had no log_dir
            return ""
        lines = [line.strip() for line in self._log.read_text(errors="replace").splitlines() if line.strip()]
        return "; its last words: " + " | ".join(lines[-_LAST_LINES:]) if lines else ""
