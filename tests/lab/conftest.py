"""One deployed host for all lab tests. SIPSTACK_TEST_LAB names a lab that is kept, to work on one test quickly."""

import os
from collections.abc import Iterator

import pytest

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


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """A failed test shows what the host logged: that is where the reason is."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    system = getattr(item, "funcargs", {}).get("system")
    if report.when == "call" and report.failed and system is not None:
        for container in ("vss-kamailio", "vss-asterisk", "vss-rtpengine", "vss-postgres"):
            report.sections.append((f"log of {container}", system.logs(container)))
