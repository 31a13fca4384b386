"""What a slot may call: not everything, not all at once, and not without end."""

import time
from collections.abc import Iterator

import pytest

from sipstack.probe.phone import Phone
from tests.lab.rawcall import RawCall, begin, call_id_of, complete, prepare
from tests.lab.system import System
from tests.lab.test_attacks_dialogs import restart
from tests.lab.test_calls import phones
from tests.lab.test_gateways import ASTERISK, wait_for_gateway
from tests.lab.wire import DOMAIN, Wire, forget_bindings

PREMIUM = (
    "+1900555",
    "001900555",
    "1900555",
    "+449012345",
    "+882160000",
    "+881612345",
    "+8700000",
    "09001234",
    "88031234",
)
OPEN = ("+1234567890", "0301234567", "9002")
AT_ONCE, A_DAY = 3, 4


# Whose calls are counted here; nothing else is done with it.
COUNTED = 6008


@pytest.fixture(autouse=True)
def nobody_registered(system: System) -> None:
    forget_bindings(system)


def taken(system: System) -> str:
    """How many calls Asterisk has had."""
    return system.host.exec(*ASTERISK, "core show channels count").stdout.splitlines()[-1]


def reason(system: System, call_id: str) -> list[list[str]]:
    return system.sql(f"SELECT sip_code, sip_reason FROM missed_calls WHERE callid = '{call_id}'")


@pytest.mark.parametrize("number", PREMIUM)
def test_premium_numbers_are_closed(system: System, number: str) -> None:
    before = taken(system)
    with phones(system, 6001) as (anna,):
        call = anna.call(number)
        call.wait_state("disconnected")
        assert (call.code, call.reason) == (403, "Number Barred")
        assert reason(system, call.call_id) == [["403", "Number Barred"]]
        assert f"slot_6001 may not call {number}" in system.logs(lines=200)
    assert taken(system) == before


@pytest.mark.parametrize("number", OPEN)
def test_others_are_open(system: System, number: str) -> None:
    with phones(system, 6001) as (anna,):
        anna.call(number, timeout=5).hangup()


@pytest.mark.parametrize("number", ["+1900;phone-context=x", "+19%3000", "%2b1900555", "1-900-555", "+1900555@x"])
def test_a_premium_number_in_disguise_is_closed(system: System, number: str) -> None:
    with Wire(system.address) as caller:
        uri = f"sip:{number}@{DOMAIN}"
        code, _ = caller.ask_as("slot_6001", system.password(6001), "INVITE", uri)
        assert code in (400, 403, 404, 484)


@pytest.fixture(scope="module")
def narrow(system: System) -> Iterator[System]:
    """With limits that a test can reach, and the usual ones again afterwards."""
    system.deploy(call_max_at_once=AT_ONCE, call_max_outside_a_day=A_DAY)
    # A lab that is kept has counted before.
    system.kamcmd("htable.flush", "outside")
    system.sql("DELETE FROM outside_calls")
    yield system
    system.deploy()


def test_calls_at_once_are_bounded(narrow: System) -> None:
    """Ringing ones count too; a call that is over, refused or given up makes room at once."""
    with Wire(narrow.address) as caller, Wire(narrow.address) as callee:
        assert callee.register("slot_6003", narrow.password(6003)) == 200
        held = [complete(narrow, caller, callee, "6003", COUNTED) for _ in range(AT_ONCE - 1)]
        for status in (b"486 Busy Here", b"603 Decline", b"302 Moved Temporarily"):
            call_id = call_id_of(begin(narrow, caller, COUNTED, "6003"))
            _, ringing = callee.next_request()
            callee.answer(ringing, b"180 Ringing", tag=b"ring")
            refused(narrow, caller, "Too Many Calls")
            callee.answer(ringing, status, tag=b"ring")
            assert caller.reply(call_id=call_id)["code"] == status[:3].decode()
            assert callee.next_request()[0].startswith("ACK ")
        held.append(complete(narrow, caller, callee, "6003", COUNTED))
        refused(narrow, caller, "Too Many Calls")
        restart(narrow)
        refused(narrow, caller, "Too Many Calls")
        # Others are not concerned, and calls that come in do not count.
        with Wire(narrow.address) as other:
            hang_up(other, callee, complete(narrow, other, callee, "6003", number=6004))
        for call in held:
            hang_up(caller, callee, call)
        hang_up(caller, callee, complete(narrow, caller, callee, "6003", COUNTED))
        assert callee.register("slot_6003", narrow.password(6003), headers=("Expires: 0",)) == 200


def refused(system: System, caller: Wire, why: str, target: str = "6003") -> None:
    """A call of that slot gets a reason, and is on record with it."""
    invite = prepare(system, caller, COUNTED, target)
    assert caller.ask(invite)[0] == 403
    assert reason(system, call_id_of(invite)) == [["403", why]]


def hang_up(caller: Wire, callee: Wire, call: RawCall) -> None:
    caller.send(call.request(caller, "BYE", cseq=900))
    first, bye = callee.next_request()
    assert first.startswith("BYE ")
    callee.answer(bye, b"200 OK")
    assert caller.reply()["code"] == "200"


def test_calls_outside_on_a_day_are_bounded(narrow: System) -> None:
    """Those that nobody takes do not count, nor those to Asterisk's own services; a restart changes nothing."""
    with phones(narrow, 6002) as (anna,):
        for _ in range(A_DAY - 1):
            anna.call("+1234567890", timeout=5).hangup()
        narrow.host.exec("docker", "stop", "-t", "1", "vss-asterisk")
        try:
            for _ in range(A_DAY):
                call = anna.call("+1234567890")
                call.wait_state("disconnected", timeout=10)
                assert call.code == 503
        finally:
            narrow.host.exec("docker", "start", "vss-asterisk")
            wait_for_gateway(narrow)
        anna.call("9002", timeout=5).hangup()
        anna.call("+1234567890", timeout=5).hangup()
        spent(anna)
        anna.call("9002", timeout=5).hangup()
        await_count(narrow, "slot_6002", A_DAY)
    restart(narrow)
    with phones(narrow, 6002, 6004) as (anna, bert):
        spent(anna)
        bert.call("+1234567890", timeout=5).hangup()


def spent(phone: Phone) -> None:
    call = phone.call("+1234567890")
    call.wait_state("disconnected")
    assert (call.code, call.reason) == (403, "Daily Limit Reached")


def await_count(system: System, slot: str, count: int) -> None:
    """It is written down within ten seconds."""
    deadline = time.monotonic() + 30
    query = f"SELECT key_value FROM outside_calls WHERE key_name LIKE '%:{slot}'"
    while system.sql(query) != [[str(count)]]:
        assert time.monotonic() < deadline, system.sql("SELECT * FROM outside_calls")
        time.sleep(0.5)


def test_a_redirection_is_not_followed(system: System) -> None:
    """Whoever is redirected calls anew, and is judged as for any call."""
    before = taken(system)
    with Wire(system.address) as caller, Wire(system.address) as callee:
        assert callee.register("slot_6003", system.password(6003)) == 200
        begin(system, caller, 6001, "6003")
        _, invite = callee.next_request()
        callee.answer(invite, b"302 Moved Temporarily", tag=b"moved", contact=f"sip:+1900555@{DOMAIN}")
        assert caller.reply()["code"] == "302"
        assert taken(system) == before


def test_a_gateway_is_not_redirected(system: System) -> None:
    """One that follows would call out at once, for whoever is called: it is told that nobody is there."""
    with Wire(system.address) as callee:
        assert callee.register("slot_6003", system.password(6003)) == 200
        system.host.exec(*ASTERISK, "channel originate PJSIP/6003@proxies application Wait 3")
        _, invite = callee.next_request()
        callee.answer(invite, b"302 Moved Temporarily", tag=b"moved", contact=f"sip:+1900555@{DOMAIN}")
        assert callee.next_request()[0].startswith("ACK ")
        gone = f"! {' '.join(ASTERISK)} 'core show channels concise' | grep -q ^PJSIP/proxies-.*!6003!"
        system.host.exec("sh", "-c", f"until {gone}; do sleep 0.2; done", timeout=15)
        assert system.sql("SELECT dst_user FROM missed_calls ORDER BY id DESC LIMIT 1") == [["slot_6003"]]
        said = [line for line in system.logs(lines=100).splitlines() if "would redirect a gateway" in line]
        assert [line for line in said if invite["call-id"] in line]
