"""rtpengine or a gateway is gone: each call is decided within seconds."""

import time
from collections.abc import Iterator

import pytest

from sipstack.lab.outside import Outside
from tests.lab.crowd import Crowd
from tests.lab.gateway import Gateway
from tests.lab.outage import Outage, await_that, frozen, stopped
from tests.lab.system import System
from tests.lab.test_calls import phones
from tests.lab.test_gateways import wait_for_gateway

DECIDED_SECONDS = 3.0
REFUSED_SECONDS = 5.0


@pytest.fixture(scope="module")
def second(system: System) -> Iterator[Gateway]:
    """A gateway beside Asterisk, in use."""
    with Outside(system.lab) as outside, Gateway(outside.public("gateway")) as gateway:
        system.deploy(gateways=[gateway.address])
        wait_until_used(system, gateway)
        yield gateway
    system.deploy()


def wait_until_used(system: System, gateway: Gateway) -> None:
    def used() -> bool:
        listed = system.kamcmd("dispatcher.list").split(f"sip:{gateway.address}", 1)
        return len(listed) == 2 and "FLAGS: AP" in listed[1].split("URI:", 1)[0]

    await_that(used, 40, "the second gateway is not used")


@pytest.mark.parametrize("gone", [frozen, stopped])
def test_without_rtpengine_a_call_is_decided(system: System, gone: Outage) -> None:
    with phones(system, 6001, 6002) as (anna, _), gone(system, "vss-rtpengine"):
        for number in ("6002", "9002"):
            begin = time.monotonic()
            call = anna.call(number)
            call.wait_state("disconnected", timeout=DECIDED_SECONDS)
            assert (call.code, time.monotonic() - begin < DECIDED_SECONDS) == (503, True)


def test_without_one_gateway_calls_go_to_the_other(system: System, second: Gateway) -> None:
    """Of two calls one would have gone to the one that is gone."""
    with phones(system, 6001) as (anna,):
        second.gone()
        try:
            for _ in range(2):
                begin = time.monotonic()
                call = anna.call("9002", timeout=DECIDED_SECONDS)
                call.wait_state("confirmed", timeout=DECIDED_SECONDS)
                assert time.monotonic() - begin < DECIDED_SECONDS
                call.wait_hears(440)
                call.hangup()
        finally:
            second.back()
        wait_until_used(system, second)


def test_without_any_gateway_a_call_is_refused(system: System, second: Gateway) -> None:
    with phones(system, 6001) as (anna,):
        second.gone()
        try:
            with frozen(system, "vss-asterisk"):
                begin = time.monotonic()
                call = anna.call("9002")
                call.wait_state("disconnected", timeout=REFUSED_SECONDS)
                assert (call.code, time.monotonic() - begin < REFUSED_SECONDS) == (503, True)
        finally:
            second.back()
        wait_for_gateway(system)
        wait_until_used(system, second)


@pytest.mark.slow
def test_an_rtpengine_that_is_full_is_not_a_fault_of_the_phone(system: System) -> None:
    """503, which sends it to another proxy, and not 488."""
    numbers = [*range(6001, 6011), *range(7001, 7021), *range(8001, 8011)]
    system.deploy(rtp_port_max=30_059, kamailio_calls=10)
    try:
        with Crowd(system.address, {number: system.password(number) for number in numbers}) as crowd:
            assert crowd.register(numbers) == []
            talks, refused = crowd.call(list(zip(numbers[::2], numbers[1::2], strict=True)))
            # Sixty ports, four for each; those of the proof may still be taken.
            assert len(talks) <= 15
            assert set(refused) == {503}
            assert "has no ports left for a call of" in system.logs()
            assert crowd.hang_up(talks) == []
    finally:
        system.deploy()
