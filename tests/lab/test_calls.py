"""Calls between slots: who gets through to whom, and what each side sees and hears."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Literal

import pytest

from sipstack.probe.call import Call
from sipstack.probe.phone import Phone
from tests.lab.system import System
from tests.lab.wire import DOMAIN, Wire, held

Transport = Literal["udp", "tcp"]
TONES = (440, 880)


@contextmanager
def phones(system: System, *numbers: int, **options: object) -> Iterator[list[Phone]]:
    """Registered phones of these slots, the first with a tone of 440 Hz, the second of 880 Hz."""
    with ExitStack() as stack:
        made = [
            stack.enter_context(system.phone(number, tone=TONES[index % 2], **options))
            for index, number in enumerate(numbers)
        ]
        for phone in made:
            phone.register(check=True)
        yield made


def talk(caller: Phone, callee: Phone, target: str) -> tuple[Call, Call]:
    """A call that is answered, and heard on both sides."""
    call = caller.call(target)
    incoming = callee.expect_call()
    incoming.answer()
    call.wait_state("confirmed")
    incoming.wait_state("confirmed")
    hear_each_other(call, incoming)
    return call, incoming


def hear_each_other(call: Call, incoming: Call) -> None:
    call.wait_hears(TONES[1])
    incoming.wait_hears(TONES[0])


@pytest.mark.parametrize(("caller", "callee"), [(6001, 6002), (6001, 7001), (7002, 8001), (8002, 6002)])
def test_slots_of_all_kinds_call_each_other_by_number(system: System, caller: int, callee: int) -> None:
    with phones(system, caller, callee) as (anna, bert):
        call, incoming = talk(anna, bert, str(callee))
        assert incoming.caller == f"sip:slot_{caller}@{DOMAIN}"
        call.hangup()
        incoming.wait_state("disconnected")


def test_a_slot_is_called_by_its_user_too(system: System) -> None:
    with phones(system, 6001, 6002) as (anna, bert):
        talk(anna, bert, "slot_6002")


@pytest.mark.parametrize("number", ["6002", "9002"])
def test_media_goes_through_the_host(system: System, number: str) -> None:
    with phones(system, 6001, 6002) as (anna, bert):
        call = anna.call(number)
        sides = [call]
        if number == "6002":
            sides.append(bert.expect_call())
            sides[1].answer()
        for side in sides:
            side.wait_state("confirmed")
            address, port = side.wait_audio().remote.split(":")
            assert address == system.address
            assert 30000 <= int(port) <= 39999, "not a port of rtpengine"


@pytest.mark.parametrize(("calling", "called"), [("udp", "tcp"), ("tcp", "udp"), ("tcp", "tcp")])
def test_transports_may_differ(system: System, calling: Transport, called: Transport) -> None:
    with (
        system.phone(6001, transport=calling, tone=440) as anna,
        system.phone(6002, transport=called, tone=880) as bert,
    ):
        anna.register(check=True)
        bert.register(check=True)
        for ender in (0, 1):
            sides = talk(anna, bert, "6002")
            assert [side.reinvite() for side in sides] == [200, 200]
            hear_each_other(*sides)
            sides[ender].hangup()
            sides[1 - ender].wait_state("disconnected")


def test_hold_and_resume_from_both_sides(system: System) -> None:
    with phones(system, 6001, 6002) as (anna, bert):
        sides = talk(anna, bert, "6002")
        for holder, held in ((0, 1), (1, 0)):
            assert sides[holder].hold() == 200
            sides[held].wait_silence()
            assert sides[holder].resume() == 200
            hear_each_other(*sides)


@pytest.mark.parametrize("ender", [0, 1], ids=["caller", "callee"])
def test_a_call_leaves_nothing_behind(system: System, ender: int) -> None:
    with phones(system, 6001, 6002) as (anna, bert):
        sides = talk(anna, bert, "6002")
        assert held(system, sides[0].call_id) == (1, 1)
        sides[ender].hangup()
        sides[1 - ender].wait_state("disconnected")
    assert held(system, sides[0].call_id) == (0, 0)


@pytest.mark.parametrize(("answer", "seen"), [(486, 486), (603, 603), (480, 480), (404, 404)])
def test_a_refusal_reaches_the_caller(system: System, answer: int, seen: int) -> None:
    with phones(system, 6001, 6002) as (anna, bert):
        call = anna.call("6002")
        bert.expect_call().answer(answer)
        call.wait_state("disconnected")
        assert call.code == seen


def test_a_caller_who_gives_up_stops_the_ringing(system: System) -> None:
    with phones(system, 6001, 6002) as (anna, bert):
        call = anna.call("6002")
        incoming = bert.expect_call()
        incoming.ring()
        call.wait_state("early")
        assert call.code == 180
        call.hangup()
        assert call.code == 487
        incoming.wait_state("disconnected")


@pytest.mark.parametrize(
    ("target", "code"), [("6002", 480), ("6998", 480), ("slot_6002", 480), ("nobody", 404), ("1", 404), ("slot_1", 404)]
)
def test_who_cannot_be_reached(system: System, target: str, code: int) -> None:
    with phones(system, 6001) as (anna,):
        call = anna.call(target)
        call.wait_state("disconnected")
        assert call.code == code
    assert held(system, call.call_id) == (0, 0)


def test_a_tcp_phone_that_lost_its_power_is_told_at_once(system: System) -> None:
    with phones(system, 6001) as (anna,), system.phone(6002, transport="tcp") as bert:
        bert.register(check=True)
        bert.kill()
        call = anna.call("6002")
        call.wait_state("disconnected", timeout=3)
        assert call.code == 480


def test_a_call_to_another_domain_is_not_relayed(system: System) -> None:
    with phones(system, 6001) as (anna,):
        call = anna.call("sip:somebody@elsewhere.invalid")
        call.wait_state("disconnected")
        assert call.code == 403


def test_a_caller_without_credentials_reaches_nobody(system: System) -> None:
    with phones(system, 6001) as (bert,), Wire(system.address) as wire:
        code, _ = wire.ask(wire.invite("sip:6001@vss.internal", user="slot_6002"))
        assert code == 407
        code, _ = wire.ask_as("slot_6002", "wrong", "INVITE", f"sip:6001@{DOMAIN}", user="slot_6002")
        assert code == 407
        reached_only_by_an_honest_call(system, bert)


def reached_only_by_an_honest_call(system: System, callee: Phone) -> None:
    """What had been sent on before would have come in before this call."""
    with phones(system, 6004) as (honest,):
        call = honest.call(callee.user.removeprefix("slot_"))
        incoming = callee.expect_call()
        assert incoming.caller == f"sip:slot_6004@{DOMAIN}"
        call.hangup()
