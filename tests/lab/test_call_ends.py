"""How a call has ended is on record: who hung up, or why nobody did, and what each side has sent and missed."""

import pytest

from tests.lab.outage import await_that
from tests.lab.rawcall import answered, begin, raw_call
from tests.lab.system import System
from tests.lab.test_calls import phones, talk
from tests.lab.wire import SDP, Wire

COLUMNS = "ended_by, end_reason, packets_from_caller, packets_from_called, lost_from_caller, lost_from_called"


def record(system: System, call_id: str) -> list[str]:
    """What the view has of the end of that call."""
    query = f"SELECT {COLUMNS} FROM calls WHERE callid = '{call_id}' AND duration IS NOT NULL"
    await_that(lambda: bool(system.sql(query)), 10, "the call is not on record")
    (row,) = system.sql(query)
    return row


def call_id_of_last(system: System) -> str:
    ((call_id,),) = system.sql("SELECT callid FROM acc WHERE method = 'INVITE' ORDER BY id DESC LIMIT 1")
    return call_id


@pytest.mark.parametrize("by", ["caller", "called"])
def test_who_hung_up_and_what_was_heard(system: System, by: str) -> None:
    with phones(system, 6001, 6002) as (anna, bert):
        call, incoming = talk(anna, bert, "6002")
        (call if by == "caller" else incoming).hangup()
        (incoming if by == "caller" else call).wait_state("disconnected")
    who, reason, from_caller, from_called, *lost = record(system, call_id_of_last(system))
    assert (who, reason) == (by, "")
    # 50 a second, for as long as each had to be heard.
    assert int(from_caller) > 5
    assert int(from_called) > 5
    assert set(lost) <= {"", "0"}


def test_a_side_that_nothing_came_from_is_named(system: System) -> None:
    with raw_call(system) as (_, _, call):
        pass
    assert record(system, call.call_id) == ["caller", "", "0", "0", "", ""]
    assert f"call {call.call_id} of slot_6001 to slot_6003 ends, and no RTP has come from slot_6001" in system.logs(
        lines=1000
    )


def test_a_call_that_was_never_acknowledged_says_so(system: System) -> None:
    with Wire(system.address) as caller, Wire(system.address) as callee:
        assert callee.register("slot_6003", system.password(6003)) == 200
        begin(system, caller, 6001, "6003")
        _, invite = callee.next_request()
        callee.answer(invite, b"200 OK", tag=b"unheard", body=SDP.format(callee.address))
        call = answered(caller.reply(), "6003")
        caller.send(call.request(caller, "BYE", cseq=3))
        first, bye = callee.next_request()
        assert first.startswith("BYE ")
        callee.answer(bye, b"200 OK")
        assert callee.register("slot_6003", system.password(6003), headers=("Expires: 0",)) == 200
    assert record(system, call.call_id)[:2] == ["caller", "unacknowledged"]
    assert f"call {call.call_id} of slot_6001 to slot_6003 ends, and its answer was never acknowledged" in system.logs(
        lines=1000
    )


def test_a_call_that_is_ended_by_command_says_so(system: System) -> None:
    with raw_call(system) as (caller, callee, call):
        system.kamcmd("dlg.terminate_dlg", call.call_id, call.caller.tag, call.callee.tag)
        for side in (caller, callee):
            first, bye = side.next_request()
            assert first.startswith("BYE ")
            side.answer(bye, b"200 OK")
        assert record(system, call.call_id)[:2] == ["proxy", "command"]


@pytest.mark.slow
def test_a_call_that_has_lasted_too_long_says_so(system: System) -> None:
    system.deploy(call_max_seconds=60)
    try:
        with phones(system, 6001, 6002) as (anna, bert):
            call, incoming = talk(anna, bert, "6002")
            for side in (call, incoming):
                side.wait_state("disconnected", timeout=90)
        assert record(system, call_id_of_last(system))[:2] == ["proxy", "call_max_seconds"]
    finally:
        system.deploy()
