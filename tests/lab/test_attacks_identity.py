"""Who a phone is, the proxy says: in requests that begin a call, inside it, and in answers."""

import pytest

from tests.lab.rawcall import begin, goes_on, raw_call
from tests.lab.system import System
from tests.lab.wire import SDP, Wire, forget_bindings

BOSS = "<sip:boss@vss.internal>"
NAMES = ("P-Asserted-Identity", "P-Preferred-Identity", "Remote-Party-ID", "Diversion", "History-Info", "P-Charge-Info")
SHAPES = {
    "as it is": "{name}: {boss}",
    "a space before the colon": "{name} : {boss}",
    "a tab before the colon": "{name}\t:\t{boss}",
    "folded": "{name}:\r\n {boss}",
    "other case": "{upper}: {boss}",
    "twice": "{name}: {boss}\r\n{name} : {boss}",
}


def forged(name: str, shape: str) -> str:
    return SHAPES[shape].format(name=name, upper=name.swapcase(), boss=BOSS)


def is_clean(headers: dict[str, str]) -> None:
    assert not [f"{name}: {value}" for name, value in headers.items() if "boss" in value]


@pytest.fixture(autouse=True)
def nobody_registered(system: System) -> None:
    forget_bindings(system)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", NAMES)
def test_a_caller_says_nothing_of_who_it_is_but_from(system: System, name: str, shape: str) -> None:
    with Wire(system.address) as caller, Wire(system.address) as callee:
        assert callee.register("slot_6003", system.password(6003)) == 200
        begin(system, caller, 6001, "6003", headers=(forged(name, shape),))
        _, invite = callee.next_request()
        is_clean(invite)
        callee.answer(invite, b"486 Busy Here", tag=b"busy", headers=(forged(name, shape),))
        reply = caller.reply()
        assert reply["code"] == "486"
        is_clean(reply)
        assert callee.register("slot_6003", system.password(6003), headers=("Expires: 0",)) == 200


@pytest.mark.parametrize("name", NAMES)
def test_nor_does_a_side_inside_a_call(system: System, name: str) -> None:
    with raw_call(system) as (caller, callee, call):
        for number, (wire, other, mine) in enumerate(((caller, callee, call), (callee, caller, call.turned))):
            for method in ("UPDATE", "INFO"):
                wire.send(
                    mine.request(wire, method, cseq=20 + number, headers=(forged(name, "a space before the colon"),))
                )
                _, request = other.next_request()
                is_clean(request)
                other.answer(request, b"200 OK", headers=(forged(name, "as it is"),))
                reply = wire.reply()
                assert reply["code"] == "200"
                is_clean(reply)
        caller.send(call.offer(caller, cseq=30, headers=(forged(name, "folded"),)))
        _, request = callee.next_request()
        is_clean(request)
        callee.answer(request, b"200 OK", body=SDP.format(callee.address), headers=(forged(name, "other case"),))
        reply = caller.reply()
        assert reply["code"] == "200"
        is_clean(reply)
        caller.send(call.request(caller, "ACK", cseq=30, headers=(forged(name, "twice"),)))
        _, request = callee.next_request()
        is_clean(request)
        goes_on(caller, callee, call)
