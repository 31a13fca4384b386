"""Calls to Asterisk and from it."""

import time

import pytest

from sipstack.lab.outside import Outside
from tests.lab.system import System
from tests.lab.test_calls import phones
from tests.lab.wire import DOMAIN, Wire

LAST_TWO_MISSED = "SELECT dst_user, sip_code FROM missed_calls ORDER BY id DESC LIMIT 2"
ASTERISK = ("docker", "exec", "vss-asterisk", "asterisk", "-C", "/etc/asterisk/asterisk.conf", "-rx")


@pytest.mark.parametrize(("number", "tone"), [("9002", 440), ("+1234567890", 1004), ("0301234567", 1004)])
@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_services_and_external_numbers_answer(system: System, number: str, tone: int, transport: str) -> None:
    with phones(system, 6001, transport=transport) as (anna,):
        call = anna.call(number, timeout=5)
        call.wait_hears(tone)
        assert call.hold() == 200
        assert call.resume() == 200
        call.wait_hears(tone)
        call.hangup()
        assert call.code == 200


def test_a_service_that_does_not_exist_is_told(system: System) -> None:
    with phones(system, 6001) as (anna,):
        call = anna.call("9999")
        call.wait_state("disconnected")
        assert call.code == 404


def test_gateways_are_probed(system: System) -> None:
    shown = system.kamcmd("dispatcher.list")
    assert "sip:127.0.0.1:5080" in shown
    assert "FLAGS: AP" in shown, "AP: active, and probed"


def test_asterisk_calls_a_slot(system: System) -> None:
    with phones(system, 6001) as (anna,):
        system.host.exec(*ASTERISK, "channel originate PJSIP/6001@proxies application Milliwatt")
        incoming = anna.expect_call()
        incoming.answer()
        incoming.wait_hears(1004)
        assert incoming.audio().remote.startswith(f"{system.address}:")
        system.host.exec(*ASTERISK, "channel request hangup all")
        incoming.wait_state("disconnected")


def test_a_slot_hangs_up_on_asterisk(system: System) -> None:
    with phones(system, 6001, transport="tcp") as (anna,):
        system.host.exec(*ASTERISK, "channel originate PJSIP/6001@proxies application Milliwatt")
        incoming = anna.expect_call()
        incoming.answer()
        incoming.wait_hears(1004)
        incoming.hangup()
    assert "0 active channels" in system.host.exec(*ASTERISK, "core show channels count").stdout


def test_a_gateway_does_not_call_gateways(system: System) -> None:
    """Else a call that comes in could go out again at our cost."""
    with phones(system, 6001) as (anna,):
        system.host.exec(*ASTERISK, "channel originate PJSIP/+1234567890@proxies application Milliwatt")
        system.host.exec(*ASTERISK, "channel originate PJSIP/6001@proxies application Milliwatt")
        anna.expect_call().answer(486)
    wanted = [["+1234567890", "404"], ["slot_6001", "486"]]
    # Asterisk places its calls in its own time.
    deadline = time.monotonic() + 5
    while sorted(rows := system.sql(LAST_TWO_MISSED)) != wanted and time.monotonic() < deadline:
        time.sleep(0.1)
    assert sorted(rows) == wanted


def test_a_stranger_is_not_taken_for_a_gateway(system: System) -> None:
    with phones(system, 6001) as (anna,), Wire(system.address) as wire, Outside(system.lab) as outside:
        assert wire.ask(wire.invite(f"sip:6001@{DOMAIN}", user="+1234567890"))[0] == 407
        # nor one that says it is at the gateway's address
        request = wire.message("INVITE", f"sip:6001@{DOMAIN}", user="+1234567890")
        request = request.replace(wire.address.encode(), b"127.0.0.1")
        assert wire.ask(request)[0] == 407
        with system.phone(6002, password="wrong", exec_prefix=outside.public("eve").exec_prefix) as eve:
            call = eve.call("6001")
            call.wait_state("disconnected")
            assert call.code == 407
        system.host.exec(*ASTERISK, "channel originate PJSIP/6001@proxies application Milliwatt")
        anna.expect_call().answer(486)


def test_the_caller_is_asserted_to_the_gateway(system: System) -> None:
    """What the phone itself says of its identity is not passed on; Asterisk would believe it."""
    with phones(system, 6001) as (anna,):
        lie = {"P-Asserted-Identity": "<sip:112@vss.internal>", "Remote-Party-ID": "<sip:112@vss.internal>"}
        call = anna.call("9002", headers=lie)
        call.wait_state("confirmed")
        shown = system.host.exec(*ASTERISK, "core show channels concise").stdout
        call.hangup()
    assert "slot_6001" in shown
    assert "!112!" not in shown


def test_asterisk_down_is_told_within_seconds(system: System) -> None:
    with phones(system, 6001) as (anna,):
        system.host.exec("docker", "stop", "-t", "1", "vss-asterisk")
        try:
            call = anna.call("9002")
            call.wait_state("disconnected", timeout=6)
            assert call.code == 503
        finally:
            system.host.exec("docker", "start", "vss-asterisk")
        rows = system.sql(f"SELECT dst_user, sip_code FROM missed_calls WHERE callid = '{call.call_id}'")
        assert rows == [["9002", "503"]]
        wait_for_gateway(system)
        anna.call("9002", timeout=5).hangup()


def wait_for_gateway(system: System) -> None:
    listed = "docker exec vss-kamailio kamcmd dispatcher.list | grep -A1 127.0.0.1:5080"
    script = f"until {listed} | grep -q 'FLAGS: AP'; do sleep 0.2; done"
    system.host.exec("sh", "-c", script, timeout=40)
