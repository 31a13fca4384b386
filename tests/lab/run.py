"""A run of pyinfra that a test can watch, interrupt, and ask how long a part of it took."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Condition, Thread
from typing import Any

from sipstack.paths import ROOT

RUN_SECONDS = 900


class Run:
    """Started when made. Each line that it prints is kept with the time (time.monotonic) at which it came.

    root: the project that is deployed, this one or a changed copy.
    """

    def __init__(self, lab: str, *arguments: str, root: Path = ROOT, env: dict[str, str] | None = None) -> None:
        command = [str(Path(sys.executable).parent / "pyinfra"), "inventories/lab.py", *arguments]
        self.process = subprocess.Popen(
            command,
            cwd=root,
            env={**os.environ, "SIPSTACK_LAB": lab, "PYTHONPATH": str(root), "PYTHONUNBUFFERED": "1", **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # so that it can be killed with all that it has started
        )
        self.lines: list[tuple[float, str]] = []
        self._news = Condition()
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._news:
                self.lines.append((time.monotonic(), line.rstrip("\n")))
                self._news.notify_all()
        with self._news:
            self._news.notify_all()

    @property
    def output(self) -> str:
        return "\n".join(line for _, line in self.lines)

    def came(self, pattern: str) -> float | None:
        """When a line that matches came; None if none did."""
        return next((at for at, line in list(self.lines) if re.search(pattern, line)), None)

    def await_line(self, pattern: str, timeout: float = RUN_SECONDS) -> float:
        """Wait for a line that matches, and return when it came. Fails if the run ends without it."""
        with self._news:
            seen = self._news.wait_for(lambda: self.came(pattern) or not self._reader.is_alive(), timeout)
        at = self.came(pattern)
        assert seen and at is not None, f"no line {pattern!r} in\n{self.output}"
        return at

    def end(self, timeout: float = RUN_SECONDS) -> int:
        """Wait for its end and return the exit code."""
        code = self.process.wait(timeout)
        self._reader.join(timeout=10)
        return code

    def end_well(self) -> "Run":
        """Wait for its end; fails with what it printed if that was not a good one."""
        assert self.end() == 0, self.output
        return self

    def kill(self) -> None:
        """kill -9, with its children."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.end()

    def seconds_since(self, pattern: str) -> float:
        """From the first line that matches to the end of the run, seconds."""
        at = self.came(pattern)
        assert at is not None, f"no line {pattern!r} in\n{self.output}"
        return self.lines[-1][0] - at

    def assert_changed_nothing(self) -> None:
        """No host has changed, and every operation says so."""
        assert not re.search(r"\] +Success", self.output), self.output
        assert re.search(r"\] +No changes", self.output), self.output
        assert self.report == ""

    @property
    def report(self) -> str:
        """What the run tells at its end of the rollout; empty if nothing was rolled out."""
        _, head, rest = self.output.partition("--> Rollout")
        return head + rest


def data_arguments(data: dict[str, Any]) -> list[str]:
    """Settings that differ from group_data, as arguments of pyinfra."""
    return [bit for key, value in data.items() for bit in ("--data", f"{key}={json.dumps(value)}")]
