"""Runs that do not come to their end: the service stays up, and the next run finishes what was begun."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from sipstack.operations.tidy import leftovers
from tests.lab.fleet import HOSTS, PROXIES, Fleet, eventually, on_this_machine
from tests.lab.fleet_calls import agree, forget_bindings, talk
from tests.lab.run import Run

BEGIN = "--> Starting (serial )?operation: "
# What a run prints when an operation of each kind begins; the last one when the first proxy has changed.
MOMENTS = {
    "files": f"{BEGIN}Files",
    "trial": f"{BEGIN}Trial",
    "database": f"{BEGIN}Database",
    "proxy": f"{BEGIN}Proxy",
    "switching": f"{BEGIN}Proxy",
    "second proxy": f"{BEGIN}Proxy",
}
LOCK_FREE_S = 10.0


@contextmanager
def served_throughout(fleet: Fleet) -> Iterator[None]:
    """Short calls through all proxies, all the time; none fails, and no binding is left when all phones have left."""
    forget_bindings(fleet)
    with fleet.load(calls=4, hold=(1, 4)) as load:
        yield
    load.assert_unharmed()
    agree(fleet, set())


def kill_at(fleet: Fleet, run: Run, moment: str) -> None:
    """kill -9 of a run when it has come there."""
    before = fleet.started_at("sip1")
    run.await_line(MOMENTS[moment])
    if moment == "switching":
        eventually(lambda: fleet.started_at("sip1") != before, on_this_machine(60))
    elif moment == "second proxy":
        proved = "cat /opt/vss/proved"
        old = fleet.hosts["sip1"].exec("sh", "-c", proved).stdout
        eventually(lambda: fleet.hosts["sip1"].exec("sh", "-c", proved).stdout != old, on_this_machine(90))
    assert run.process.poll() is None, run.output
    run.kill()


# The worst of them is in the quick selection.
@pytest.mark.parametrize(
    "moment", [moment if moment == "switching" else pytest.param(moment, marks=pytest.mark.slow) for moment in MOMENTS]
)
def test_a_killed_run_is_finished_by_the_next(fleet: Fleet, moment: str) -> None:
    wanted: dict[str, Any] = {"register_min_seconds": 70 + list(MOMENTS).index(moment), "slots_ls": ["8001-8010", 8020]}
    if fleet.settings.get("slots_ls") == wanted["slots_ls"]:
        wanted["slots_ls"] = ["8001-8010"]  # so that the database, too, has something to change
    with served_throughout(fleet):
        kill_at(fleet, fleet.start(**wanted), moment)
        eventually(lambda: all(fleet.serves(proxy) for proxy in PROXIES), 30)
        fleet.deploy(**wanted)
        fleet.deploy().assert_changed_nothing()
    for proxy in PROXIES:
        names = fleet.hosts[proxy].exec("docker", "ps", "-a", "--format", "{{.Names}}").stdout.split()
        assert not leftovers(names), proxy
    with fleet.phone(6001, "sip2") as phone:
        phone.register(expires=10, check=True)
        assert phone.expires == wanted["register_min_seconds"]


def test_the_second_of_two_runs_is_refused(fleet: Fleet) -> None:
    first = fleet.start()
    first.await_line(BEGIN)
    second = fleet.start()
    assert second.end() == 1, second.output
    held = rf"another deploy runs: \w+@\S+ \(pid {first.process.pid}\) with \S+ since [\d-]+ [\d:]+ UTC"
    assert re.search(held, second.output), second.output
    assert second.came(BEGIN) is None, second.output
    first.end_well()


@pytest.mark.slow
def test_a_dead_host_stops_a_run_unless_the_operator_chose_otherwise(fleet: Fleet) -> None:
    """A proxy without power. Nothing changes by default; with --fail-percent the others finish."""
    wanted: dict[str, Any] = {"register_min_seconds": 80}
    before = fleet.started_at("sip1", "sip2")
    dead = fleet.hosts["sip3"]
    dead.kill()
    try:
        stopped = fleet.start(**wanted)
        assert stopped.end() == 1, stopped.output
        assert "--> Rollout NOT BEGUN" in stopped.report, stopped.output
        assert "sip3" in stopped.output.splitlines()[-1]
        assert fleet.started_at("sip1", "sip2") == before
        others = fleet.start("--fail-percent", "50", **wanted)
        assert others.end() == 1, others.output
        assert {name for name, at in fleet.started_at("sip1", "sip2").items() if at != before[name]} == set(before)
        assert "--> Rollout INCOMPLETE" in others.report, others.output
        assert "not reached: sip3" in others.report
        with fleet.phones((6001, "sip1"), (7001, "sip2")) as (anna, bert):
            talk(anna, bert, 7001)[0].hangup()
    finally:
        dead.start()
    finished = fleet.deploy(**wanted)
    assert "sip3" in finished.report
    assert "sip1" not in finished.report
    fleet.deploy().assert_changed_nothing()


@pytest.mark.slow
def test_a_proxy_that_is_lost_for_good(fleet: Fleet) -> None:
    """The fleet goes on without it, and bindings that it held are served, also by one that has restarted since."""
    wanted: dict[str, Any] = {"register_min_seconds": 81}
    gone = fleet.hosts["sip3"]
    with fleet.phones((6001, "sip1"), (7001, "sip3")) as (anna, bert):
        eventually(lambda: "slot_7001" in {user for user, _ in fleet.bindings("sip1")}, 3)
        gone.kill()
        try:
            fleet.deploy(*(bit for name in HOSTS if name != "sip3" for bit in ("--limit", name)), **wanted)
            for again in (False, True):
                if again:
                    fleet.hosts["sip1"].exec("docker", "restart", "vss-kamailio")
                    eventually(lambda: fleet.serves("sip1"), 30)
                anna.register(check=True)
                for _ in range(2):
                    talk(anna, bert, 7001)[0].hangup()
        finally:
            gone.start()
    fleet.deploy()
