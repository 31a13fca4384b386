"""Calls of phones that are not where they were, and of proxies that are not what they were: they go on."""

import pytest

from tests.lab.hostile import header, over_tcp
from tests.lab.rawcall import goes_on, raw_call
from tests.lab.system import System
from tests.lab.test_attacks_dialogs import restart
from tests.lab.wire import Wire, digest, forget_bindings


@pytest.fixture(autouse=True)
def nobody_registered(system: System) -> None:
    forget_bindings(system)


@pytest.mark.parametrize("ender", ["caller", "callee"])
def test_a_phone_hangs_up_over_a_new_connection(system: System, ender: str) -> None:
    """As one does whose connection was cut: it is asked who it is, each time on another port."""
    with raw_call(system) as (caller, callee, call):
        side, other, number = (call, callee, 6001) if ender == "caller" else (call.turned, caller, 6003)
        heard = over_tcp(system.address, side.request(caller, "BYE", cseq=60), 5.0)
        assert heard.code == 407
        asked = header(heard.messages[0], "Proxy-Authenticate")
        answer = digest(asked, f"slot_{number}", system.password(number), "BYE", side.callee.contact)
        over_tcp(system.address, side.request(caller, "BYE", cseq=61, headers=(f"Proxy-Authorization: {answer}",)), 0.5)
        first, bye = other.next_request()
        assert (first[:4], bye["cseq"]) == ("BYE ", "61 BYE")
        other.answer(bye, b"200 OK")


def test_a_phone_that_registers_anew_is_not_asked(system: System) -> None:
    with raw_call(system) as (_, callee, call), Wire(system.address) as moved:
        assert moved.register("slot_6001", system.password(6001)) == 200
        moved.send(call.request(moved, "INFO", cseq=60))
        first, info = callee.next_request()
        assert first.startswith("INFO ")
        callee.answer(info, b"200 OK")
        assert moved.reply()["code"] == "200"
        goes_on(moved, callee, call)


def test_a_call_of_the_release_before_goes_on(system: System) -> None:
    """That one did not write down where its sides are."""
    with raw_call(system) as (caller, callee, call):
        system.sql("DELETE FROM dialog_vars WHERE dialog_key IN ('caller', 'callee')")
        restart(system)
        goes_on(caller, callee, call)
