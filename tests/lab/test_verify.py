"""Verification passes on a system that works, and on no other: each part is taken away, and found missing."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from sipstack.paths import ROOT
from tests.lab.fleet import on_this_machine
from tests.lab.system import System

PARTS = ("kamailio", "asterisk", "rtpengine", "postgres")
# After a part has come back, others find it again at their own pace.
HEALED_SECONDS = 240
MINUTE = 60


def verify(system: System, inventory: str = "inventories/lab.py", *arguments: str) -> subprocess.CompletedProcess[str]:
    """`sipstack verify`, as an operator runs it; a minute is all that it may take, whatever is broken."""
    return subprocess.run(
        [sys.executable, "-m", "sipstack", "verify", inventory, *arguments],
        cwd=ROOT,
        env={**os.environ, "SIPSTACK_LAB": system.lab.name, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=on_this_machine(MINUTE),
    )


@contextmanager
def broken(system: System, part: str, fault: str, remedy: str) -> Iterator[None]:
    """The part is stopped or frozen for as long as this lasts; afterwards the system verifies again."""
    system.host.exec("docker", fault, f"vss-{part}")
    try:
        yield
    finally:
        system.host.exec("docker", remedy, f"vss-{part}")
        deadline = time.monotonic() + HEALED_SECONDS
        while (done := verify(system)).returncode and time.monotonic() < deadline:
            pass
    assert done.returncode == 0, done.stdout + done.stderr


def assert_names(done: subprocess.CompletedProcess[str], part: str, state: str) -> None:
    assert done.returncode == 1, done.stdout + done.stderr
    last = done.stdout.rstrip().splitlines()[-1]
    assert last.startswith("NOT verified:"), last
    assert f"vss-{part} on sip1 is {state}" in last, last
    assert sum(f"vss-{other} on" in last for other in PARTS) == 1, f"only {part} is to blame: {last}"
    heading = f"last 20 log lines of vss-{part} on sip1"
    assert done.stdout.count(heading) == 1, done.stdout
    after = done.stdout.partition(heading)[2].splitlines()
    assert len(after) > 2 and after[1].strip(), "its log is shown"


def test_passes(system: System) -> None:
    done = verify(system)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.rstrip().splitlines()[-1].startswith("verified: ")
    assert done.stdout.rstrip().endswith("checks on 1 host")


def test_leaves_no_binding(system: System) -> None:
    bindings = "SELECT ruid FROM location WHERE username IN ('slot_6000', 'slot_7000')"
    before = system.sql(bindings)
    assert verify(system).returncode == 0
    assert [ruid for ruid in system.sql(bindings) if ruid not in before] == []


def test_restarts_nothing(system: System) -> None:
    before = system.started_at()
    assert verify(system).returncode == 0
    assert system.started_at() == before


@pytest.mark.parametrize("part", PARTS)
def test_stopped_part(system: System, part: str) -> None:
    with broken(system, part, "stop", "start"):
        assert_names(verify(system), part, "exited")


@pytest.mark.parametrize("part", ["kamailio", "postgres"])
def test_frozen_part(system: System, part: str) -> None:
    with broken(system, part, "pause", "unpause"):
        assert_names(verify(system), part, "paused")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("inventories/labb.py",), "no such inventory"),
        (("inventories/lab.py", "--limit", "nothing"), "matches no host"),
    ],
)
def test_nothing_to_verify(system: System, arguments: tuple[str, ...], reason: str) -> None:
    done = verify(system, *arguments)
    assert done.returncode != 0
    lines = (done.stdout + done.stderr).strip().splitlines()
    assert len(lines) == 1 and reason in lines[0], lines
