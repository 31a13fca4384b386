"""The provider's side of the demo Asterisk: calls out to it, and calls in from it."""

from collections.abc import Iterator

import pytest

from sipstack.lab.outside import Outside
from sipstack.probe.phone import Phone
from tests.lab.system import System
from tests.lab.test_calls import phones


@pytest.fixture(scope="module")
def provider(system: System) -> Iterator[Phone]:
    """A user agent outside, which Asterisk has for its provider."""
    with Outside(system.lab) as outside:
        place = outside.public("provider")
        with Phone(
            "provider", "", place.address, None, exec_prefix=place.exec_prefix, local=place.address, tone=620
        ) as phone:
            system.deploy(asterisk_provider=phone.uri.removeprefix("sip:"))
            yield phone
    system.deploy()


def test_an_external_call_reaches_the_provider(system: System, provider: Phone) -> None:
    with phones(system, 6001) as (anna,):
        call = anna.call("+4930123456")
        incoming = provider.expect_call()
        assert incoming.caller.startswith("sip:slot_6001@")
        incoming.answer()
        call.wait_hears(620)
        incoming.wait_hears(440)
        call.hangup()
        incoming.wait_state("disconnected")


def test_a_call_from_the_provider_reaches_a_slot(system: System, provider: Phone) -> None:
    with phones(system, 6001) as (anna,):
        call = provider.call(f"sip:6001@{system.address}:5080")
        incoming = anna.expect_call()
        incoming.answer()
        incoming.wait_hears(620)
        call.wait_hears(440)
        call.hangup()
        incoming.wait_state("disconnected")


def test_the_provider_reaches_slots_only(system: System, provider: Phone) -> None:
    call = provider.call(f"sip:9002@{system.address}:5080")
    call.wait_state("disconnected")
    assert call.code >= 400
