"""What starts something is authenticated, or refused: nothing of it is relayed."""

import pytest

from tests.lab.rawcall import begin
from tests.lab.system import System
from tests.lab.wire import DOMAIN, Wire, forget_bindings

METHODS = (
    "MESSAGE",
    "SUBSCRIBE",
    "PUBLISH",
    "INFO",
    "REFER",
    "NOTIFY",
    "UPDATE",
    "PRACK",
    "BYE",
    "OPTIONS",
    "ACK",
    "FOO",
)
TARGETS = {
    "a slot": "sip:6003@vss.internal",
    "a slot by its user": "sip:slot_6003@vss.internal",
    "a slot by its address": "sip:slot_6003@{victim}",
    "elsewhere": "sip:somebody@{victim}",
    "the gateway": "sip:+4930@127.0.0.1:5080",
    "the proxy's own": "sip:6003@{proxy}:5060",
}


@pytest.fixture(autouse=True)
def nobody_registered(system: System) -> None:
    forget_bindings(system)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("method", METHODS)
def test_what_is_not_a_call_reaches_nobody(system: System, method: str, target: str) -> None:
    """Neither without nor with a Route, and whoever asks, a slot with its password too; only text from a slot, which
    gives its password, gets through (test_phones_methods.py)."""
    with Wire(system.address) as stranger, Wire(system.address) as victim:
        assert victim.register("slot_6003", system.password(6003)) == 200
        uri = TARGETS[target].format(victim=victim.contact, proxy=system.address)
        proxy, there = f"<sip:{system.address}:5060;lr>", f"<sip:{victim.contact};lr>"
        for routes in ((), (proxy,), (proxy, there), (there,)):
            headers = tuple(f"Route: {route}" for route in routes)
            if method == "ACK":
                stranger.send(stranger.message(method, uri, headers=headers))
                continue
            if method == "MESSAGE":
                code, _ = stranger.ask(stranger.message(method, uri, headers=headers))
            else:
                code, _ = stranger.ask_as("slot_6001", system.password(6001), method, uri, headers=headers)
            assert code >= 400 or (method == "OPTIONS" and code == 200), code
        honest_call_is_first(system, victim)


@pytest.mark.parametrize("routes", ["the proxy", "the proxy and a victim", "a victim"])
def test_an_invite_with_a_route_is_a_call_as_any_other(system: System, routes: str) -> None:
    with Wire(system.address) as caller, Wire(system.address) as victim, Wire(system.address) as callee:
        assert callee.register("slot_6003", system.password(6003)) == 200
        proxy, there = f"<sip:{system.address}:5060;lr>", f"<sip:{victim.contact};lr>"
        chosen = {"the proxy": [proxy], "the proxy and a victim": [proxy, there], "a victim": [there]}[routes]
        headers = tuple(f"Route: {route}" for route in chosen)
        assert caller.ask(caller.invite(f"sip:6003@{DOMAIN}", headers=headers))[0] == 407
        begin(system, caller, 6001, "6003", headers=headers)
        _, invite = callee.next_request()
        assert "route" not in invite
        callee.answer(invite, b"486 Busy Here", tag=b"busy")
        assert caller.reply()["code"] == "486"
        with pytest.raises(TimeoutError):
            victim.next_request(timeout=0.3)
        assert callee.register("slot_6003", system.password(6003), headers=("Expires: 0",)) == 200


def honest_call_is_first(system: System, victim: Wire) -> None:
    """What had been sent on before would have come in before this call."""
    with Wire(system.address) as caller:
        begin(system, caller, 6004, "6003")
        first, invite = victim.next_request()
        assert first.startswith("INVITE ")
        assert "slot_6004" in invite["from"]
        victim.answer(invite, b"486 Busy Here", tag=b"busy")
        assert caller.reply()["code"] == "486"
        assert not victim.seen
    assert victim.register("slot_6003", system.password(6003), headers=("Expires: 0",)) == 200
