"""The proxy or its host goes down and comes back: by itself, soon, and with everything that it knew."""

import time

import pytest

from tests.lab.load import Load
from tests.lab.outage import Pulse, await_that, serves, takes_questions
from tests.lab.system import System
from tests.lab.test_calls import phones, talk
from tests.lab.wire import Wire, forget_bindings

BACK_SECONDS = 3.0
HEALTHY_SECONDS = 30.0
HELD = 20
MAIN = "kill -9 $(docker inspect -f '{{.State.Pid}}' vss-kamailio)"
# A worker of UDP: what it is called is `core.psx`'s word.
WORKER = (
    'docker exec vss-kamailio bash -c \'kill -9 $(kamcmd core.psx | grep -B 3 "udp receiver child=1"'
    ' | sed -n "s/.*PID: //p" | head -n 1)\''
)
CONTAINERS = ("vss-postgres", "vss-rtpengine", "vss-asterisk", "vss-kamailio")


@pytest.fixture(autouse=True)
def nobody_registered(system: System) -> None:
    """And the database is used: what it has not heard of yet is lost with the proxy."""
    await_that(lambda: takes_questions(system), 20, "PostgreSQL is not up")
    await_that(lambda: serves(system), 20, "the database is not used")
    forget_bindings(system)


def bindings(system: System) -> set[str]:
    """Contacts in the proxy's memory."""
    return {line.split()[-1] for line in system.kamcmd("ul.dump").splitlines() if "Address:" in line}


@pytest.mark.parametrize("crash", [WORKER, MAIN], ids=["worker", "main"])
def test_a_crash_is_over_within_seconds(system: System, crash: str) -> None:
    wires = [Wire(system.address) for _ in range(6)]
    for number, wire in enumerate(wires, 6001):
        assert wire.register(f"slot_{number}", system.password(number)) == 200
    before = bindings(system)
    assert len(before) == len(wires)
    with Pulse(system.address) as pulse:
        begin = time.monotonic()
        system.host.exec("sh", "-c", crash)
        await_that(lambda: pulse.longest(begin) > 0.5, 10, "it goes on as if nothing were")
        dead = time.monotonic()
        await_that(lambda: pulse.answers(dead), 60, "it does not answer")
        silent = pulse.longest(begin)
    print(f"silent for {silent:.2f} s")
    assert silent < BACK_SECONDS
    assert bindings(system) == before
    for wire in wires:
        wire.socket.close()


def test_calls_that_are_held_end_well_after_a_restart(system: System) -> None:
    """20 of 20 BYE are delivered, and there are 20 records with a duration."""
    phones_of_all = [(n, system.password(n)) for n in (*range(6001, 6011), *range(7001, 7021), *range(8001, 8011))]
    count = "SELECT count(*) FROM acc_cdrs WHERE duration > 0"
    ((before,),) = system.sql(count)
    with Load([system.address], phones_of_all, calls=HELD, hold=(600, 600)) as load:
        system.host.exec("docker", "restart", "vss-kamailio")
    load.assert_unharmed()
    assert load.report["answered"] == HELD
    ((after,),) = system.sql(count)
    assert int(after) - int(before) == HELD


@pytest.mark.parametrize("seconds", [0, pytest.param(60, marks=pytest.mark.slow)])
def test_a_proxy_that_starts_before_its_database_waits_for_it(system: System, seconds: int) -> None:
    system.host.exec("docker", "stop", "vss-postgres")
    try:
        system.host.exec("docker", "restart", "vss-kamailio")
        said = "waiting for PostgreSQL"
        await_that(lambda: said in system.logs(lines=5), 20, "it does not say that it waits")
        time.sleep(seconds)  # as long as it has to wait
    finally:
        system.host.exec("docker", "start", "vss-postgres")
    assert healthy_after(system) < HEALTHY_SECONDS
    with phones(system, 6001, 6002) as (anna, bert):
        talk(anna, bert, "6002")[0].hangup()


def test_a_host_that_is_rebooted_serves_without_a_hand(system: System) -> None:
    with Wire(system.address) as wire:
        assert wire.register("slot_6003", system.password(6003)) == 200
        before = bindings(system)
        system.host.kill()
        system.host.start()
        assert healthy_after(system) < HEALTHY_SECONDS
        assert bindings(system) == before
    with phones(system, 6001, 6002) as (anna, bert):
        talk(anna, bert, "6002")[0].hangup()
        anna.call("9002", timeout=5).hangup()


def healthy_after(system: System) -> float:
    """Seconds from when PostgreSQL takes questions until all that runs here is healthy."""
    await_that(lambda: takes_questions(system), 60, "PostgreSQL is not up")
    shown = ("docker", "inspect", "-f", "{{.State.Health.Status}}", *CONTAINERS)
    states = ["healthy"] * len(CONTAINERS)
    return await_that(
        lambda: system.host.exec(*shown, check=False).stdout.split() == states, 60, "not everything is healthy"
    )
