"""A Route header alone opens nothing: requests inside a call are sent on only if the call is known here.

And what could not be written down is not let in at all.
"""

import re

import pytest

from tests.lab.system import System
from tests.lab.test_calls import phones
from tests.lab.wire import DOMAIN, Wire

METHODS = ("INVITE", "BYE", "MESSAGE", "ACK", "UPDATE", "REFER", "INFO", "NOTIFY", "SUBSCRIBE", "PRACK")


def forge(wire: Wire, system: System, method: str, target: str) -> int:
    """Send a request of a dialog that does not exist, routed through the proxy; its final code, 0 for none."""
    make = wire.invite if method == "INVITE" else lambda uri, **o: wire.message(method, uri, **o)
    request = make(target, to_tag="forged", headers=(f"Route: <sip:{system.address}:5060;lr>",))
    if method == "ACK":  # has no answer
        wire.send(request)
        return 0
    return wire.ask(request)[0]


@pytest.mark.parametrize("method", METHODS)
def test_a_forged_dialog_reaches_no_address(system: System, method: str) -> None:
    with Wire(system.address) as attacker, Wire(system.address) as victim:
        assert forge(attacker, system, method, f"sip:victim@{victim.contact}") in (0, 481)
        nothing_but_an_honest_call(system, victim)


@pytest.mark.parametrize("method", ["INVITE", "MESSAGE", "ACK", "BYE"])
def test_a_forged_dialog_reaches_no_slot(system: System, method: str) -> None:
    with Wire(system.address) as attacker, Wire(system.address) as victim:
        assert victim.register("slot_6003", system.password(6003)) == 200
        for target in (f"sip:6003@{DOMAIN}", f"sip:slot_6003@{DOMAIN}", f"sip:slot_6003@{victim.contact}"):
            assert forge(attacker, system, method, target) in (0, 481)
        nothing_but_an_honest_call(system, victim)


def test_a_forged_dialog_reaches_no_gateway(system: System) -> None:
    """Asterisk itself refuses what it does not know; here the proxy must not even have passed it on."""

    def relayed() -> int:
        """What Asterisk has answered to what it was sent."""
        return int(re.findall(r"^core:rcv_replies_481 = (\d+)$", system.kamcmd("stats"), re.M)[0])

    before = relayed()
    with Wire(system.address) as attacker:
        for target in ("sip:+1234567890@127.0.0.1:5080", f"sip:+1234567890@{DOMAIN}", f"sip:9002@{DOMAIN}"):
            assert forge(attacker, system, "INVITE", target) == 481
    assert relayed() == before


@pytest.mark.parametrize("method", ["BYE", "INVITE"])
def test_a_stranger_cannot_end_or_move_a_call(system: System, method: str) -> None:
    """With the Call-ID but without the tags, as from a log or a glance at a screen."""
    with phones(system, 6001, 6002) as (anna, bert), Wire(system.address) as attacker:
        call = anna.call("6002")
        incoming = bert.expect_call()
        incoming.answer()
        call.wait_state("confirmed")
        make = attacker.invite if method == "INVITE" else lambda uri, **o: attacker.message(method, uri, **o)
        route = (f"Route: <sip:{system.address}:5060;lr>",)
        request = make(bert.uri, call_id=call.call_id, to_tag="forged", headers=route)
        assert attacker.ask(request)[0] == 481
        incoming.wait_hears(440)
        call.wait_hears(880)


def nothing_but_an_honest_call(system: System, victim: Wire) -> None:
    """What had been sent on before would have come in before this call."""
    assert victim.register("slot_6003", system.password(6003)) == 200
    with phones(system, 6004) as (honest,):
        call = honest.call("6003")
        first, headers = victim.next_request()
        assert first.startswith("INVITE ")
        assert headers["call-id"] == call.call_id
    assert not victim.seen
    assert victim.register("slot_6003", system.password(6003), headers=("Expires: 0",)) == 200


@pytest.mark.parametrize("bad", [b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\x00", b"ok\x00\xff"])
@pytest.mark.parametrize("place", ["call-id", "from"])
def test_what_cannot_be_written_down_is_refused(system: System, bad: bytes, place: str) -> None:
    with Wire(system.address) as wire:
        request = wire.invite(f"sip:6001@{DOMAIN}", call_id="KEPT" if place == "from" else b"call" + bad)
        if place == "from":
            request = request.replace(b"From: <sip:", b'From: "' + bad + b'" <sip:')
        wire.send(request)
        code = wire.final_code()
    assert code == 400


def test_other_scripts_are_welcome(system: System) -> None:
    with phones(system, 6001, 6002) as (anna, bert):
        call = anna.call("6002", headers={"Subject": "Привет, 世界 👋 é"})
        assert bert.expect_call().header("Subject") == "Привет, 世界 👋 é"
        call.hangup()


def test_a_callee_cannot_keep_a_call_off_the_record(system: System) -> None:
    """Its answer would be relayed, and the row with its tag refused by the database."""
    with phones(system, 6001) as (anna,), Wire(system.address) as callee:
        assert callee.register("slot_6003", system.password(6003)) == 200
        call = anna.call("6003")
        _, invite = callee.next_request()
        callee.answer(invite, b"200 OK", tag=b"\xff")
        callee.answer(invite, b"486 Busy Here", tag=b"fine")
        call.wait_state("disconnected")
        assert call.code == 486
        assert callee.register("slot_6003", system.password(6003), headers=("Expires: 0",)) == 200
