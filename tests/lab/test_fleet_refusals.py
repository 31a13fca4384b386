"""A release that cannot work is refused or taken back by itself, and no call in progress is harmed."""

from pathlib import Path

import pytest

from tests.lab.faults import DEAF, LATE, MUTE, UNFIT, WRONG, Fault
from tests.lab.fleet import HOSTS, PROXIES, TONES, Fleet, eventually, on_this_machine
from tests.lab.fleet_calls import forget_bindings, held_call, talk
from tests.lab.run import Run

REFUSED_WITHIN_S = 30.0
WRITTEN = ("location", "location_attrs", "acc", "acc_cdrs", "missed_calls", "dialog", "dialog_vars")
QUICK = ("syntax", "to the gateway")
CASES = [
    pytest.param(fault, id=name, marks=[] if name in QUICK else [pytest.mark.slow])
    for name, fault in {**UNFIT, **WRONG}.items()
]


def written(fleet: Fleet) -> list[list[str]]:
    """How much there is in each table that a proxy writes, and which schemas there are."""
    counts = [fleet.sql(f"SELECT '{table}', count(*) FROM {table}") for table in WRITTEN]
    schemas = fleet.sql("SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' ORDER BY 1")
    return [*(row for rows in counts for row in rows), *schemas]


def containers(fleet: Fleet) -> dict[str, str]:
    """All containers of each host, running or not."""
    return {name: fleet.hosts[name].exec("docker", "ps", "-a", "--format", "{{.Names}}").stdout for name in HOSTS}


def run_faulty(fleet: Fleet, fault: Fault, folder: Path) -> Run:
    project = fleet.checkout(folder)
    fault.make(project)
    run = fleet.start(root=project)
    if run.end() == 0:
        fleet.deploy()  # the tests after this one need a fleet that works
        pytest.fail(f"it was rolled out:\n{run.report}")
    assert "Traceback" not in run.output
    return run


@pytest.mark.parametrize("fault", CASES)
def test_what_cannot_work_is_refused(fleet: Fleet, tmp_path: Path, fault: Fault) -> None:
    forget_bindings(fleet)  # of earlier tests: none may expire while this one counts
    before = fleet.started_at(), containers(fleet)
    with held_call(fleet):
        traces = written(fleet)
        run = run_faulty(fleet, fault, tmp_path)
        assert (fleet.started_at(), containers(fleet)) == before
        assert written(fleet) == traces
    assert "--> Rollout REFUSED" in run.report, run.output
    assert fault.says in run.report, run.report
    assert all(f"  {proxy}: release " in run.report for proxy in PROXIES), run.report
    assert run.seconds_since("operation: Trial") < on_this_machine(REFUSED_WITHIN_S)


def test_what_fails_only_where_it_counts_is_taken_back(fleet: Fleet, tmp_path: Path) -> None:
    """The first proxy goes back to its release by itself; the others are not touched."""
    before = fleet.started_at()
    with held_call(fleet, "sip1", "sip1"):
        run = run_faulty(fleet, LATE, tmp_path)
    after = fleet.started_at()
    assert {name for name in after if after[name] != before[name]} == {("sip1", "vss-kamailio")}
    assert "--> Rollout STOPPED at sip1" in run.report, run.output
    assert LATE.says in run.report
    assert "taken back to release " in run.report
    assert "not touched: sip2, sip3" in run.report
    assert run.seconds_since("operation: Proxy") < on_this_machine(REFUSED_WITHIN_S)
    with fleet.phones((6001, "sip1"), (7001, "sip2")) as (anna, bert):
        talk(anna, bert, 7001)[0].hangup()


@pytest.mark.parametrize(
    "fault", [pytest.param(DEAF, id="deaf", marks=pytest.mark.slow), pytest.param(MUTE, id="mute")]
)
def test_an_asterisk_that_serves_nobody_is_taken_back(fleet: Fleet, tmp_path: Path, fault: Fault) -> None:
    """Health is green; the proxies know better. The other one is not touched, and calls go there meanwhile."""
    before = fleet.started_at()
    run = run_faulty(fleet, fault, tmp_path)
    after = fleet.started_at()
    assert {name for name in after if after[name] != before[name]} == {("pbx1", "vss-asterisk")}
    assert "--> Rollout STOPPED at pbx1" in run.report, run.output
    assert fault.says in run.output, run.output[-3000:]
    assert "it is back at what ran before" in run.output
    uri = f"sip:{fleet.address['pbx1']}:5080"
    eventually(lambda: all(fleet.destinations(proxy).get(uri) == "AP" for proxy in PROXIES), 30, uri)


@pytest.mark.slow
def test_what_is_broken_already_is_no_fault_of_a_release(fleet: Fleet) -> None:
    """Both Asterisks are away, so every trial fails on a call outside: the release that brings them back must pass."""
    gateways = {f"sip:{fleet.address[host]}:5080" for host in ("pbx1", "pbx2")}
    for host in ("pbx1", "pbx2"):
        fleet.hosts[host].exec("docker", "stop", "vss-asterisk")
    eventually(lambda: all("A" not in away[uri] for away in map(fleet.destinations, PROXIES) for uri in gateways), 60)
    run = fleet.deploy(register_min_seconds=63)
    assert "so the trial says nothing" in run.output
    with fleet.phones((6001, "sip1")) as (anna,):
        call = anna.call("9002")
        call.wait_hears(TONES[0])
        call.hangup()


def test_afterwards_there_is_nothing_to_do(fleet: Fleet) -> None:
    fleet.deploy().assert_changed_nothing()
