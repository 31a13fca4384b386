"""A Route header alone opens nothing: requests inside a call are sent on only if the call is known here."""

import pytest

from tests.lab.system import System
from tests.lab.test_calls import phones
from tests.lab.wire import DOMAIN, Wire

METHODS = ("INVITE", "BYE", "MESSAGE", "ACK", "UPDATE", "REFER", "INFO", "NOTIFY", "SUBSCRIBE", "PRACK")


def forge(wire: Wire, system: System, method: str, target: str) -> int:
    """Send a request of a dialog that does not exist, routed through the proxy; its final code, 0 for none."""
    make = wire.invite if method == "INVITE" else lambda uri, **o: wire.message(method, uri, **o)
    request = make(target, to_tag="forged", headers=(f"Route: <sip:{system.address}:5060;lr>",))  # type: ignore[no-untyped-call]
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
    def answered() -> int:
        """Calls that Asterisk has taken since it was started."""
        shown = system.host.exec("docker", "exec", "vss-asterisk", *ASTERISK, "core show channels count").stdout
        return int(next(line for line in shown.splitlines() if "processed" in line).split()[0])

    before = answered()
    with Wire(system.address) as attacker, phones(system, 6001) as (anna,):
        for target in ("sip:+1234567890@127.0.0.1:5080", f"sip:+1234567890@{DOMAIN}", f"sip:9002@{DOMAIN}"):
            assert forge(attacker, system, "INVITE", target) == 481
        anna.call("9002", timeout=5).hangup()
    assert answered() == before + 1, "Asterisk has taken more than the honest call"


ASTERISK = ("asterisk", "-C", "/etc/asterisk/asterisk.conf", "-rx")


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
        request = make(bert.uri, call_id=call.call_id, to_tag="forged", headers=route)  # type: ignore[no-untyped-call]
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
