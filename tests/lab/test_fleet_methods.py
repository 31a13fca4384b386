"""Text and lamps through a fleet: a phone has them wherever it registered."""

from contextlib import ExitStack

import pytest

from tests.lab.deskphone import DeskPhone
from tests.lab.fleet import PROXIES, Fleet, eventually, on_this_machine
from tests.lab.fleet_calls import forget_bindings, known_at
from tests.lab.test_phones_lamp import subscribed
from tests.lab.test_phones_methods import send_text


@pytest.fixture(autouse=True)
def nobody_registered(fleet: Fleet) -> None:
    forget_bindings(fleet)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_text_reaches_a_phone_of_another_proxy(fleet: Fleet, transport: str) -> None:
    """Delivered by the proxy that has the phone, which tells it no more than the other one would."""
    with (
        DeskPhone(fleet.address["sip1"], 6001, fleet.password(6001)) as anna,
        DeskPhone(fleet.address["sip2"], 7001, fleet.password(7001), transport) as bert,
    ):
        assert anna.register().code == 200 and bert.register().code == 200
        eventually(lambda: known_at(fleet, 7001) == dict.fromkeys(PROXIES, 1), on_this_machine(2))
        came = send_text(anna, bert)
        assert came.get("P-Delivery") == "" and f":{anna.port}" not in "".join(came.all("Via"))
        anna.unregister()
        bert.unregister()


def test_every_proxy_leads_a_subscription_to_one_gateway(fleet: Fleet) -> None:
    """There are two of them: what goes on with a subscription comes to where it began, and is known there."""
    with ExitStack() as stack:
        for proxy in PROXIES:
            phone = stack.enter_context(DeskPhone(fleet.address[proxy], 6001, fleet.password(6001)))
            assert phone.register().code == 200
            for _ in range(4):
                with subscribed(phone) as subscription:
                    assert subscription.ask(120).code == 200
        phone.unregister()
