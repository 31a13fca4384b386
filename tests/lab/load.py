"""Steady load on a fleet: phones that register, call each other and hang up all the time, and say what failed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from sipstack.paths import ROOT

# Until the phones have registered and the wanted number of calls is up.
UP_SECONDS = 60
END_SECONDS = 60


class Load:
    """`python -m sipstack.agent load`, a context manager. `report` is there after the block."""

    def __init__(
        self, proxies: Sequence[str], phones: Sequence[tuple[int, str]], calls: int, hold: tuple[float, float]
    ) -> None:
        self._order: dict[str, Any] = {
            "proxies": [proxy if ":" in proxy else f"{proxy}:5060" for proxy in proxies],
            "domain": "vss.internal",
            "phones": [[str(number), f"slot_{number}", password] for number, password in phones],
            "calls": calls,
            "hold_s": hold,
        }
        self._calls = calls
        self.report: dict[str, Any] = {}

    def __enter__(self) -> "Load":
        self._process = subprocess.Popen(
            [sys.executable, "-m", "sipstack.agent", "load"],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(self._order) + "\n")
        self._process.stdin.flush()
        assert self._process.stdout is not None
        assert self._process.stdout.readline()  # from now on it can be asked
        deadline = time.monotonic() + UP_SECONDS
        while (so_far := self.so_far())["carried_max"] < self._calls:
            assert time.monotonic() < deadline, so_far
            time.sleep(0.5)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        said = self._process.communicate(timeout=END_SECONDS)[0]
        self.report = json.loads(said.splitlines()[-1])

    def so_far(self) -> dict[str, Any]:
        """What it has seen until now."""
        assert self._process.stdout is not None
        assert self._process.poll() is None
        self._process.send_signal(signal.SIGUSR1)
        self.report = json.loads(self._process.stdout.readline())
        return self.report

    def assert_unharmed(self) -> None:
        """No call and no registration has failed."""
        assert self.report["failed"] == [], self.report
        assert self.report["registration_failures"] == [], self.report
        assert self.report["answered"] == self.report["calls"] >= self._calls, self.report
