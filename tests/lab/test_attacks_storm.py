"""A flood from many addresses takes no memory that does not come back, and phones are served in it."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from sipstack.lab.namespaces import Namespace
from tests.lab.attacker import stranger, there
from tests.lab.hostile import Watch, memory, phones_are_served
from tests.lab.outage import await_that
from tests.lab.storm import NETWORK, storm
from tests.lab.system import System

# Octets of shared memory, of 256 MB. What strangers leave is counters, of which there is a fixed number.
GROWTH = 10_000_000
LEFT = 1_000_000


@contextmanager
def many_addresses(system: System) -> Iterator[Namespace]:
    """A stranger to whom a whole network leads."""
    with stranger(system) as place:
        system.host.exec("ip", "route", "replace", f"{NETWORK}.0/24", "via", place.address)
        try:
            yield place
        finally:
            system.host.exec("ip", "route", "delete", f"{NETWORK}.0/24")


@pytest.mark.parametrize("seconds", [15, pytest.param(60, marks=pytest.mark.slow)])
def test_a_storm_fills_no_memory(system: System, seconds: int) -> None:
    phones_are_served(system)
    with many_addresses(system) as place, Watch(system), ThreadPoolExecutor() as pool:
        before = memory(system).shared
        sent: Future[int] = pool.submit(there, place, storm, system.address, float(seconds))
        most, took = 0, []
        while not sent.done():
            most = max(most, memory(system).shared)
            took.append(phones_are_served(system))
        print(f"{sent.result() / seconds:.0f} requests a second; {most - before} octets more; phones took {took}")
        assert len(took) > 1
        assert most - before < GROWTH
        phones_are_served(system)
        await_that(lambda: memory(system).shared - before < LEFT, 90, "memory has not come back")
