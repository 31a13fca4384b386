"""A flood from many addresses takes no memory that does not come back, and phones are served in it."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from sipstack.lab.namespaces import Namespace
from sipstack.probe.call import Call
from sipstack.probe.errors import ProbeError
from sipstack.probe.phone import Phone
from tests.lab.attacker import stranger, there
from tests.lab.hostile import memory, phones_are_served
from tests.lab.outage import await_that
from tests.lab.storm import NETWORK, storm
from tests.lab.system import System
from tests.lab.test_parts_memory import processes

# Octets of shared memory, of 256 MB: what the stalled connections take; and what strangers leave, which is counters, of
# which there is a fixed number.
GROWTH = 6_000_000
LEFT = 1_000_000
# A phone sends a request again for so long, seconds (RFC 3261, Timers B and F).
PATIENCE = 32.0


@contextmanager
def many_addresses(system: System) -> Iterator[Namespace]:
    """A stranger to whom a whole network leads."""
    with stranger(system) as place:
        system.host.exec("ip", "route", "replace", f"{NETWORK}.0/24", "via", place.address)
        try:
            yield place
        finally:
            system.host.exec("ip", "route", "delete", f"{NETWORK}.0/24")


def requests_read(system: System) -> int:
    """Requests that the proxy has read since its start."""
    return int(system.kamcmd("stats.get_statistics", "rcv_requests").split("=")[1].split()[0])


def a_call_gets_through(system: System) -> float:
    """Two phones register, and one calls the other; what is lost they send again. How long it took, seconds."""
    start = time.monotonic()
    with system.phone(6003) as anna, system.phone(6004) as bert:
        for phone in (anna, bert):
            phone.register(PATIENCE, check=True)
        call = answered(anna, bert, until=start + PATIENCE)
        took = time.monotonic() - start
        call.hangup()
    return took


def answered(anna: Phone, bert: Phone, until: float) -> Call:
    """A call that is up. If all that bert has said in the proxy's fr_timer was lost (408), anna dials again."""
    while True:
        call = anna.call("6004")
        try:
            bert.expect_call(PATIENCE).answer()
            call.wait_state("confirmed", PATIENCE)
            return call
        except ProbeError:
            if time.monotonic() > until or call.code != 408:
                raise


@pytest.mark.parametrize(
    ("addresses", "seconds"),
    [(253, 8), pytest.param(253, 30, marks=pytest.mark.slow), pytest.param(1, 30, marks=pytest.mark.slow)],
)
def test_a_storm_fills_no_memory(system: System, addresses: int, seconds: int) -> None:
    """More than the proxy can read: part of what phones send is lost, too."""
    phones_are_served(system)
    with many_addresses(system) as place, ThreadPoolExecutor() as pool:
        before, workers, read = memory(system).shared, processes(system), requests_read(system)
        sent = pool.submit(there, place, storm, system.address, float(seconds), addresses)
        most, calls = 0, [pool.submit(a_call_gets_through, system)]
        while not sent.done():
            most = max(most, memory(system).shared)
            if calls[-1].done():
                calls.append(pool.submit(a_call_gets_through, system))
        took = [call.result() for call in calls]
        most = max(most, memory(system).shared)
        print(f"{sent.result() / seconds:.0f} requests a second, {most - before} octets more, calls took", took)
        assert requests_read(system) - read > addresses * seconds
        assert most - before < GROWTH
        phones_are_served(system)
        assert processes(system) == workers
        await_that(lambda: memory(system).shared - before < LEFT, 15, "memory has not come back")
