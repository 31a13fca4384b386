"""`sipstack status` names what is wrong, and its exit code tells a cron job; each fault is made on the host."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.lab.operate import status
from tests.lab.outage import await_that
from tests.lab.system import System

SECONDS = 40


@pytest.fixture(autouse=True, scope="module")
def deployed(system: System) -> Iterator[None]:
    system.deploy()
    yield
    system.deploy()


def names(system: System, fault: str) -> None:
    """A line says it, and the exit code is 1."""
    deadline = time.monotonic() + SECONDS
    while True:
        done = status(system)
        if done.returncode == 1 and any(fault in line for line in done.stdout.splitlines()):
            return
        assert time.monotonic() < deadline, done.stdout + done.stderr


@contextmanager
def done_to(system: System, do: str, undo: str) -> Iterator[None]:
    try:
        system.host.exec("sh", "-euc", do)
        yield
    finally:
        system.host.exec("sh", "-c", undo)


def test_a_healthy_host_is_well(system: System) -> None:
    done = status(system)
    assert done.returncode == 0, done.stdout + done.stderr
    header, line = done.stdout.splitlines()
    assert header.split()[:3] == ["HOST", "RELEASE", "HEALTH"]
    assert line.split()[0] == "sip1" and " healthy " in line


CUT = (
    "nft add table inet cut; nft add chain inet cut output '{ type filter hook output priority 10; }';"
    " nft add rule inet cut output meta skuid 5060 tcp dport 5432 drop"
)
FAULTS = {
    "the firewall": ("nft flush ruleset", "systemctl restart vss-firewall vss-database-watch vss-media-forget",
                     "the firewall is not in force"),
    "the watch": ("systemctl stop vss-database-watch", "systemctl start vss-database-watch",
                  "vss-database-watch.service does not run"),
    "what brings containers back": ("systemctl disable vss-revive", "systemctl enable vss-revive",
                                    "vss-revive.service does not run"),
    "a gateway": ("docker stop -t 1 vss-asterisk", "docker start vss-asterisk", "asterisk is exited"),
    "the database, for the proxy alone": (
        f"systemctl stop vss-database-watch; {CUT}",
        "nft delete table inet cut; systemctl start vss-database-watch", "the proxy cannot ask PostgreSQL"),
    "the database": ("docker pause vss-postgres", "docker unpause vss-postgres", "the watch keeps the proxy from it"),
    "a container": ("docker stop vss-rtpengine", "docker start vss-rtpengine", "rtpengine is exited"),
}  # fmt: skip


# The others are like these.
QUICK = ("the firewall", "the database, for the proxy alone", "the database")


@pytest.mark.parametrize(
    "what", [what if what in QUICK else pytest.param(what, marks=pytest.mark.slow) for what in FAULTS]
)
def test_what_is_wrong_is_named(system: System, what: str) -> None:
    do, undo, said = FAULTS[what]
    with done_to(system, do, undo):
        names(system, said)
    await_that(lambda: status(system).returncode == 0, SECONDS, "it is not well again")


def test_a_deploy_that_runs_is_no_fault(system: System) -> None:
    hold = "exec 9>>/run/vss-deploy.lock; flock 9; echo root@ops1 since now >/run/vss-deploy.lock; sleep 30"
    with done_to(system, f"setsid sh -c '{hold}' >/dev/null 2>&1 & sleep 0.5", "pkill -f 'sleep 3[0]'"):
        done = status(system)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "sip1: a deploy runs: root@ops1 since now" in done.stdout
