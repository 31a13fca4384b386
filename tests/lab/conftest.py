"""What all lab tests share: one deployed host, and one deployed fleet.

SIPSTACK_TEST_LAB and SIPSTACK_TEST_FLEET name labs that are kept, to work on one test quickly.
"""

import os
from collections.abc import Iterator

import pytest

from tests.lab.fleet import CONTAINERS, GROUPS, Fleet
from tests.lab.lend import lend
from tests.lab.system import System


@pytest.fixture(scope="session")
def system() -> Iterator[System]:
    kept = os.environ.get("SIPSTACK_TEST_LAB")
    system = System(kept or "test")
    try:
        system.deploy()
        yield system
    finally:
        if not kept:
            system.down()


@pytest.fixture(scope="session")
def fleet(request: pytest.FixtureRequest) -> Iterator[Fleet]:
    """From nothing when everything is tested; else with the images of the one host, which is half the time."""
    kept = os.environ.get("SIPSTACK_TEST_FLEET")
    fleet = Fleet(kept or "testfleet")
    try:
        if not kept and request.config.option.markexpr:
            lend(request.getfixturevalue("system").host, fleet.hosts.values(), GROUPS)
        fleet.deploy()
        yield fleet
    finally:
        if not kept:
            fleet.down()


@pytest.fixture(autouse=True)
def no_run_goes_on(request: pytest.FixtureRequest) -> Iterator[None]:
    """Else it would be in the way of the next test's."""
    yield
    # Other tests have fixtures of that name that are something else.
    if isinstance(fleet := (getattr(request.node, "funcargs", None) or {}).get("fleet"), Fleet):
        fleet.end_runs()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The fleet comes last: what fails on one host needs not be looked for on six."""
    items.sort(key=lambda item: item.path.name.startswith("test_fleet_"))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """A failed test shows what the hosts logged: that is where the reason is."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.when != "call" or not report.failed:
        return
    arguments = getattr(item, "funcargs", {})
    if (system := arguments.get("system")) is not None:
        for container in ("vss-kamailio", "vss-asterisk", "vss-rtpengine", "vss-postgres"):
            report.sections.append((f"log of {container}", system.logs(container)))
    if isinstance(fleet := arguments.get("fleet"), Fleet):
        for host, containers in CONTAINERS.items():
            for container in containers:
                report.sections.append((f"log of {container} on {host}", fleet.logs(host, container)))
