"""A rolling change under load: nobody notices."""

import re
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import pytest

from tests.lab.fleet import PROXIES, Fleet, on_this_machine
from tests.lab.fleet_calls import agree, forget_bindings, held_call
from tests.lab.load import Load

SILENT_S = 3.0
ROW = re.compile(
    r"^  (?P<host>\S+): (?P<old>\w+) -> (?P<new>\w+), SIP silent (?P<silent>[\d.]+) s,"
    r" bindings (?P<before>\d+) -> (?P<after>\d+), calls in progress (?P<calls>\d+),"
    r" (?P<carried>\d+) of them after the switch, proved$",
    re.MULTILINE,
)


def roll(fleet: Fleet, load: Load, *meanwhile: AbstractContextManager[Any], **data: Any) -> None:
    """Change the fleet while calls are set up, held and hung up through all proxies."""
    forget_bindings(fleet)
    started = fleet.started_at()
    with load, ExitStack() as stack:
        for manager in meanwhile:
            stack.enter_context(manager)
        run = fleet.deploy(**data)
    print(run.report)  # what was measured: pytest -s shows it
    load.assert_unharmed()
    agree(fleet, set())
    changed = {name for name, at in fleet.started_at().items() if at != started.get(name)}
    rows = {row["host"]: row for row in ROW.finditer(run.report)}
    assert set(rows) == set(PROXIES), run.report
    assert {host for host, container in changed if container == "vss-kamailio"} == set(PROXIES)
    for row in rows.values():
        assert float(row["silent"]) < on_this_machine(SILENT_S), run.report
        assert int(row["after"]) == int(row["before"]) > 0, run.report
        assert 0 < int(row["carried"]) <= int(row["calls"]), "some hang up meanwhile; the load tells if one was cut"
    assert len({(row["old"], row["new"]) for row in rows.values()}) == 1, "one release for all"


def changes_nothing(fleet: Fleet) -> None:
    before = fleet.started_at()
    fleet.deploy().assert_changed_nothing()
    assert fleet.started_at() == before


def test_a_change_of_configuration(fleet: Fleet) -> None:
    wanted = 61 if fleet.settings.get("register_min_seconds") != 61 else 62
    roll(fleet, fleet.load(), held_call(fleet), register_min_seconds=wanted)
    with fleet.phone(6001, "sip3") as phone:
        phone.register(expires=10, check=True)
        assert phone.expires == wanted
    changes_nothing(fleet)


@pytest.mark.slow
def test_a_change_of_the_image(fleet: Fleet) -> None:
    """All images: the rtpengines and Asterisks restart too, when their calls have ended, and PostgreSQL."""
    before = fleet.settings.get("packages_as_of")
    wanted = "2026-11-24" if before != "2026-11-24" else "2026-11-25"
    started = fleet.started_at()
    roll(fleet, fleet.load(hold=(20, 60)), packages_as_of=wanted, register_min_seconds=60)
    assert all(at != started[name] for name, at in fleet.started_at().items())
    changes_nothing(fleet)


@pytest.mark.slow
def test_media_ports_are_moved(fleet: Fleet) -> None:
    """There and back: calls at the old ones go on until their rtpengine restarts."""
    for low, high, seconds in ((40_000, 49_999, 63), (30_000, 39_999, 60)):
        load = fleet.load(hold=(20, 60))
        roll(fleet, load, rtp_port_min=low, rtp_port_max=high, register_min_seconds=seconds)
    changes_nothing(fleet)
