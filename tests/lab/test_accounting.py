"""What is on record of registrations, calls and calls that nobody took."""

import re
import time

import pytest

from sipstack.probe.call import Call
from tests.lab.system import System
from tests.lab.test_calls import phones, talk
from tests.lab.wire import DOMAIN, Wire

COLUMNS = "event, method, src_user, src_domain, dst_user, dst_domain, sip_code, missed"


def records(system: System, call_id: str) -> list[list[str]]:
    return system.sql(f"SELECT {COLUMNS} FROM accounting WHERE callid = '{call_id}' ORDER BY time")


def record(source: str, target: str, code: int, *, missed: bool) -> list[str]:
    return ["call", "INVITE", source, DOMAIN, target, DOMAIN, str(code), "t" if missed else "f"]


def ended(call: Call) -> Call:
    call.wait_state("disconnected")
    return call


def test_a_registration_and_its_end_are_on_record(system: System) -> None:
    with Wire(system.address) as wire:
        password = system.password(6007)
        for call_id, headers in (("in", ("Expires: 300",)), ("out", ("Expires: 0",))):
            name = f"{call_id}-{wire.port}-{time.monotonic_ns()}"
            assert wire.register("slot_6007", password, call_id=name, headers=headers) == 200
            rows = records(system, name)
            assert rows == [["register", "REGISTER", "slot_6007", DOMAIN, "slot_6007", DOMAIN, "200", "f"]]
            address = system.sql(f"SELECT src_ip FROM accounting WHERE callid = '{name}'")
            assert address == [[wire.address]]


def test_a_failed_registration_is_not_on_record(system: System) -> None:
    with Wire(system.address) as wire:
        assert wire.register("slot_6007", "wrong", call_id=f"bad-{wire.port}-{time.monotonic_ns()}") == 401
        assert system.sql(f"SELECT count(*) FROM accounting WHERE callid LIKE 'bad-{wire.port}-%'") == [["0"]]


@pytest.mark.parametrize("ender", [0, 1], ids=["caller", "callee"])
def test_a_call_is_on_record_with_its_duration(system: System, ender: int) -> None:
    with phones(system, 6001, 7001) as (anna, bert):
        start = time.monotonic()
        sides = talk(anna, bert, "7001")
        sides[0].audio(2.0)  # talk on for two seconds
        sides[ender].hangup()
        ended(sides[1 - ender])
        lasted = time.monotonic() - start
    call_id = sides[0].call_id
    assert records(system, call_id) == [record("slot_6001", "slot_7001", 200, missed=False)]
    query = "SELECT duration, end_time - start_time, src_user, dst_user FROM acc_cdrs WHERE callid = "
    ((duration, _, source, target),) = system.sql(f"{query}'{call_id}'")
    assert (source, target) == ("slot_6001", "slot_7001")
    assert lasted - 2 <= float(duration) <= lasted
    ((shown,),) = system.sql(f"SELECT duration FROM accounting WHERE callid = '{call_id}'")
    assert abs(int(shown) - lasted) <= 2


def test_ringing_is_not_charged(system: System) -> None:
    """A call begins when its answer is acknowledged; in its CDR both domains are ours."""
    with phones(system, 6001, 7001) as (anna, bert):
        call = anna.call("7001")
        incoming = bert.expect_call()
        incoming.ring()
        rung = time.monotonic()
        call.wait_state("early")
        time.sleep(3.5)  # what is measured
        incoming.answer()
        call.wait_state("confirmed")
        rung = time.monotonic() - rung
        call.hangup()
        ended(incoming)
    columns = "duration, src_domain, dst_domain"
    ((duration, *domains),) = system.sql(f"SELECT {columns} FROM acc_cdrs WHERE callid = '{call.call_id}'")
    assert float(duration) < rung - 1
    assert domains == [DOMAIN, DOMAIN]


def test_an_external_call_is_on_record(system: System) -> None:
    with phones(system, 6001) as (anna,):
        call = anna.call("+1234567890", timeout=5)
        call.wait_hears(1004)
        call.hangup()
    assert records(system, call.call_id) == [record("slot_6001", "+1234567890", 200, missed=False)]
    assert len(system.sql(f"SELECT 1 FROM acc_cdrs WHERE callid = '{call.call_id}'")) == 1


def test_calls_to_who_is_not_there_are_missed(system: System) -> None:
    with phones(system, 6001) as (anna,):
        call = ended(anna.call("6002"))
        assert records(system, call.call_id) == [record("slot_6001", "slot_6002", 480, missed=True)]
        call = ended(anna.call("nobody"))
        assert records(system, call.call_id) == [record("slot_6001", "nobody", 404, missed=True)]


@pytest.mark.parametrize("code", [486, 603])
def test_a_refused_call_is_missed(system: System, code: int) -> None:
    with phones(system, 6001, 6002) as (anna, bert):
        call = anna.call("6002")
        bert.expect_call().answer(code)
        ended(call)
    assert records(system, call.call_id) == [record("slot_6001", "slot_6002", code, missed=True)]


@pytest.mark.parametrize("ringing", [True, False])
def test_a_call_that_was_given_up_is_missed(system: System, ringing: bool) -> None:
    with phones(system, 6001, 6002) as (anna, bert):
        call = anna.call("6002")
        incoming = bert.expect_call()
        if ringing:
            incoming.ring()
            call.wait_state("early")
        call.hangup(timeout=15)
        ended(incoming)
        assert call.code == 487
    assert records(system, call.call_id) == [record("slot_6001", "slot_6002", 487, missed=True)]


def test_a_call_that_one_of_two_phones_takes_is_not_missed(system: System) -> None:
    with phones(system, 6001, 6003, 6003) as (anna, bert, clara):
        call = anna.call("6003")
        bert.expect_call().answer(486)
        clara.expect_call().answer()
        call.wait_state("confirmed")
        call.hangup()
    assert records(system, call.call_id) == [record("slot_6001", "slot_6003", 200, missed=False)]


def test_a_challenged_call_is_not_on_record(system: System) -> None:
    with Wire(system.address) as wire:
        name = f"stranger-{wire.port}-{time.monotonic_ns()}"
        assert wire.ask(wire.invite(f"sip:6001@{DOMAIN}", call_id=name))[0] == 407
        assert not records(system, name)


def test_statistics_count_calls_and_bindings(system: System) -> None:
    def statistic(name: str) -> int:
        return int(re.findall(rf"^{name} = (\d+)$", system.kamcmd("stats"), re.M)[0])

    with phones(system, 6001, 6002) as (anna, bert):
        before, active = statistic("dialog:processed_dialogs"), statistic("dialog:active_dialogs")
        sides = talk(anna, bert, "6002")
        assert statistic("dialog:active_dialogs") == active + 1
        assert statistic("dialog:processed_dialogs") == before + 1
        assert statistic("usrloc:registered_users") == 2
        assert sides[0].call_id in system.kamcmd("dialog.list")
