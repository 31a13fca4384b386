"""A rolling change under load: nobody notices."""

import re
from typing import Any

import pytest

from tests.lab.fleet import PROXIES, Fleet
from tests.lab.fleet_calls import agree, forget_bindings, held_call

SILENT_S = 3.0
ROW = re.compile(
    r"^  (?P<host>\S+): (?P<old>\w+) -> (?P<new>\w+), SIP silent (?P<silent>[\d.]+) s,"
    r" bindings (?P<before>\d+) -> (?P<after>\d+), calls carried over (?P<carried>\d+) of (?P<calls>\d+), proved$",
    re.MULTILINE,
)


def roll(fleet: Fleet, **data: Any) -> None:
    """Change the fleet while calls are set up, held and hung up through all proxies."""
    forget_bindings(fleet)
    started = fleet.started_at()
    with fleet.load() as load, held_call(fleet):
        run = fleet.deploy(**data)
    load.assert_unharmed()
    agree(fleet, set())
    changed = {name for name, at in fleet.started_at().items() if at != started.get(name)}
    print(run.report)
    rows = {row["host"]: row for row in ROW.finditer(run.report)}
    assert set(rows) == set(PROXIES), run.report
    assert {host for host, container in changed if container == "vss-kamailio"} == set(PROXIES)
    for row in rows.values():
        assert float(row["silent"]) < SILENT_S, run.report
        assert int(row["after"]) == int(row["before"]) > 0, run.report
        assert 0 < int(row["carried"]) <= int(row["calls"]), "some hang up meanwhile; the load tells if one was cut"
    assert len({(row["old"], row["new"]) for row in rows.values()}) == 1, "one release for all"


def changes_nothing(fleet: Fleet) -> None:
    before = fleet.started_at()
    fleet.deploy().assert_changed_nothing()
    assert fleet.started_at() == before


def test_a_change_of_configuration(fleet: Fleet) -> None:
    wanted = 61 if fleet.settings.get("register_min_seconds") != 61 else 62
    roll(fleet, register_min_seconds=wanted)
    with fleet.phone(6001, "sip3") as phone:
        phone.register(expires=10, check=True)
        assert phone.expires == wanted
    changes_nothing(fleet)


@pytest.mark.slow
def test_a_change_of_the_image(fleet: Fleet) -> None:
    roll(fleet, packages_as_of="2026-11-24", register_min_seconds=60)
    changes_nothing(fleet)
