"""Back to releases of before, step by step, and what is told of each."""

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.operate import sipstack
from tests.lab.system import System

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True, scope="module")
def back_to_the_defaults(system: System) -> Iterator[None]:
    yield
    system.deploy()


def in_force(system: System) -> str:
    return system.host.exec("sh", "-c", "readlink /opt/vss/*.yml | cut -d/ -f2").stdout.strip()


def deployed(system: System, **data: Any) -> str:
    system.deploy(**data)
    return in_force(system)


def test_each_rollback_goes_one_step_further_back(system: System) -> None:
    """After three bad releases in a row."""
    releases = [deployed(system, call_ring_seconds=seconds) for seconds in (120, 110, 100)]
    assert len(set(releases)) == 3
    for expected in (releases[1], releases[0]):
        done = sipstack(system, "rollback")
        assert done.returncode == 0, done.stdout + done.stderr
        assert in_force(system) == expected
    told = sipstack(system, "releases")
    assert told.returncode == 0, told.stderr
    lines = {line.split()[0]: line for line in told.stdout.splitlines()[1:]}
    assert lines[releases[0]].endswith("in force")
    assert lines[releases[2]].endswith("can come back")
    assert "kamailio" in lines[releases[1]] and f"@{os.uname().nodename}" in lines[releases[1]]
    # By name, also forward.
    assert sipstack(system, "rollback", "--to", releases[2][:6]).returncode == 0
    assert in_force(system) == releases[2]


def test_one_that_cannot_come_back_is_refused_before_anything_is_silent(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It knows another password of the database."""
    before = deployed(system)
    kept = json.loads((system.lab.state.folder / "secrets.json").read_text())["postgres_password"]
    monkeypatch.setenv("SIPSTACK_SECRET_POSTGRES_PASSWORD", "another-password-of-the-proxies")
    try:
        now = deployed(system)
        assert now != before
        started = system.started_at()
        done = sipstack(system, "rollback", "--to", before)
        assert done.returncode == 1
        assert f"release {before} cannot come back, postgres_password has changed since" in done.stderr
        assert (in_force(system), system.started_at()) == (now, started)
        assert f"{before} " in sipstack(system, "releases").stdout
    finally:
        monkeypatch.setenv("SIPSTACK_SECRET_POSTGRES_PASSWORD", kept)
        system.deploy()
