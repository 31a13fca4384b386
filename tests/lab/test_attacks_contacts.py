"""A slot is bound to a phone, and not to a machine of ours."""

from collections.abc import Iterator

import pytest

from tests.lab.rawcall import begin
from tests.lab.system import System
from tests.lab.test_calls import phones, talk
from tests.lab.wire import DOMAIN, Wire, forget_bindings

REFUSED = {
    "the proxy": "<sip:6002@{proxy}:5060>",
    "the proxy over TCP": "<sip:6002@{proxy}:5060;transport=tcp>",
    "the proxy without its port": "<sip:6002@{proxy}>",
    "the domain": "<sip:6002@vss.internal>",
    "another port of the proxy": "<sip:6002@{proxy}:5062>",
    "rtpengine": "<sip:6002@{proxy}:2223>",
    "the database": "<sip:6002@{proxy}:5432>",
    "the gateway": "<sip:+1900@127.0.0.1:5080>",
    "the gateway over TCP": "<sip:+1900@127.0.0.1:5080;transport=tcp>",
    "loopback": "<sip:6002@127.0.0.1:9>",
    "loopback by another name": "<sip:6002@127.9.9.9:5060>",
    "anywhere": "<sip:6002@0.0.0.0:5060>",
    "everybody": "<sip:6002@255.255.255.255:5060>",
    "multicast": "<sip:6002@224.0.1.75:5060>",
    "by maddr": "<sip:6002@192.0.2.9;maddr=127.0.0.1>",
    "by alias": "<sip:6002@192.0.2.9;alias=127.0.0.1~5080~1>",
    "with a Route": "<sip:6002@192.0.2.9?Route=%3Csip:127.0.0.1:5080;lr%3E>",
    "a number": "<tel:+1900>",
    "another scheme": "<http://192.0.2.9/>",
    "an escaped address": "<sip:6002@%31%32%37.0.0.1:5080>",
    "without brackets": "sip:+1900@127.0.0.1:5080",
    "the second of two": "<sip:6002@192.0.2.9:5060>, <sip:+1900@127.0.0.1:5080>",
    "the second of two, without brackets": "<sip:6002@192.0.2.9:5060>, sip:+1900@127.0.0.1:5080",
    "two without brackets": "sip:6002@192.0.2.9:5060, sip:+1900@127.0.0.1:5080",
    "behind a name": '"<sip:fine@192.0.2.9>" <sip:+1900@127.0.0.1:5080>',
    "in a line of its own": "<sip:6002@192.0.2.9:5060>\r\nm : <sip:+1900@127.0.0.1:5080>",
}
FIT = {
    "somewhere": "<sip:6002@192.0.2.9:5060>",
    "with parameters": '"Desk, 1st" <sip:6002@192.0.2.9:5060;transport=udp;ob>;q=0.5;+sip.instance="<urn:uuid:0>"',
    "without brackets": "sip:6002@192.0.2.9:5060;expires=300",
    "two": "<sip:6002@192.0.2.9:5060>, <sip:6002@192.0.2.8:5060>;expires=0",
    "a private one": "<sip:6002@192.168.1.5:5060>",
    "a name": "<sip:6002@phone.example:5060>",
}


@pytest.fixture(autouse=True)
def nobody_registered(system: System) -> Iterator[None]:
    forget_bindings(system)
    yield
    forget_bindings(system)


def bind(system: System, wire: Wire, contact: str) -> int:
    headers = (f"Contact: {contact}", "Expires: 300")
    return wire.register("slot_6002", system.password(6002), contact=False, headers=headers)


@pytest.mark.parametrize("what", REFUSED)
def test_a_binding_to_one_of_our_machines_is_refused(system: System, what: str) -> None:
    with Wire(system.address) as wire, phones(system, 6001, 6003) as (anna, clara):
        assert bind(system, wire, REFUSED[what].format(proxy=system.address)) in (400, 403)
        assert system.sql("SELECT count(*) FROM location WHERE username = 'slot_6002'") == [["0"]]
        call = anna.call("6002")
        call.wait_state("disconnected")
        assert call.code == 480
        talk(anna, clara, "6003")[0].hangup()


@pytest.mark.parametrize("what", FIT)
def test_other_bindings_are_taken(system: System, what: str) -> None:
    with Wire(system.address) as wire:
        assert bind(system, wire, FIT[what]) == 200
        assert system.sql("SELECT count(*) FROM location WHERE username = 'slot_6002'") != [["0"]]


@pytest.mark.parametrize("name", ["localhost", "127.1", "2130706433", "[::ffff:127.0.0.1]"])
def test_a_name_leads_to_where_the_phone_registers_from(system: System, name: str) -> None:
    """And not to the gateway, which it is a name of."""
    with Wire(system.address) as wire, Wire(system.address) as caller:
        code = bind(system, wire, f"<sip:+1900@{name}:5080>")
        if code != 200:
            assert code in (400, 403)
            return
        begin(system, caller, 6001, "6002")
        first, invite = wire.next_request()
        assert first.startswith("INVITE ")
        wire.answer(invite, b"486 Busy Here", tag=b"busy")
        assert caller.reply()["code"] == "486"


def test_the_whole_slot_can_still_be_unbound(system: System) -> None:
    with Wire(system.address) as wire:
        assert wire.register("slot_6002", system.password(6002)) == 200
        headers = ("Contact: *", "Expires: 0")
        assert wire.register("slot_6002", system.password(6002), contact=False, headers=headers) == 200
        assert system.sql("SELECT count(*) FROM location WHERE username = 'slot_6002'") == [["0"]]


def test_a_call_that_comes_round_ends(system: System) -> None:
    """A phone that sends what it gets back to the proxy, as it is: it would have to call as itself."""
    with Wire(system.address) as spiral, Wire(system.address) as caller:
        assert spiral.register("slot_6002", system.password(6002)) == 200
        begin(system, caller, 6001, "6002")
        _, invite = spiral.next_request()
        again = spiral.invite(f"sip:6002@{DOMAIN}", user="slot_6001", to="6002", call_id=invite["call-id"])
        assert spiral.ask(again)[0] == 407
        spent = again.replace(b"Max-Forwards: 70", b"Max-Forwards: 0").replace(b"z9hG4bK", b"z9hG4bKx")
        assert spiral.ask(spent)[0] == 483
        spiral.answer(invite, b"486 Busy Here", tag=b"busy")
        assert caller.reply()["code"] == "486"
        assert not spiral.seen
