"""What a phone learns of a call through two proxies: where these are, which it has to know, and where media goes."""

import pytest

from tests.lab.ear import Ear
from tests.lab.fleet import GROUPS, PROXIES, Fleet
from tests.lab.fleet_calls import agree, forget_bindings
from tests.lab.rawcall import acknowledged, begin, goes_on, uri_of


@pytest.fixture(autouse=True)
def nobody_registered(fleet: Fleet) -> None:
    forget_bindings(fleet)


def test_a_call_through_two_proxies_tells_nobody_where_the_other_is(fleet: Fleet) -> None:
    """One that goes on when the called side is at another proxy: what each says arrives at the other's own Contact."""
    public = {fleet.address[host] for host in (*PROXIES, *GROUPS["media"])}
    with (
        Ear(fleet.address["sip1"], "192.168.1.20") as caller,
        Ear(fleet.address["sip2"], "192.168.7.7") as callee,
    ):
        assert callee.register("slot_7001", fleet.password(7001)) == 200
        agree(fleet, {"slot_7001"})
        begin(fleet, caller, 6001, "7001", headers=caller.software)
        first, invite = callee.next_request()
        assert first == f"INVITE sip:slot_7001@{callee.contact} SIP/2.0"
        assert uri_of(invite["contact"]) == f"sip:slot_6001@{fleet.address['sip2']}:5060;gr"
        callee.answer(invite, b"200 OK", tag=b"here", headers=callee.software, body=callee.media)
        call = acknowledged(caller, "7001", contact=uri_of(invite["contact"]))
        assert call.callee.contact == f"sip:7001@{fleet.address['sip1']}:5060;gr"
        assert callee.next_request()[0] == f"ACK sip:{callee.contact} SIP/2.0"
        goes_on(caller, callee, call)
        for wire, other, side, uri in (
            (caller, callee, call, f"sip:{callee.contact}"),
            (callee, caller, call.turned, f"sip:slot_6001@{caller.contact}"),
        ):
            wire.send(side.request(wire, "INVITE", cseq=2000, body=wire.media, headers=wire.software))
            first, headers = other.next_request()
            assert first == f"INVITE {uri} SIP/2.0"
            other.answer(headers, b"200 OK", headers=other.software, body=other.media)
            assert wire.reply()["code"] == "200"
            wire.send(side.request(wire, "ACK", cseq=2000))
            assert other.next_request()[0] == f"ACK {uri} SIP/2.0"
        callee.send(call.turned.request(callee, "BYE", cseq=2001))
        caller.answer(caller.next_request()[1], b"200 OK")
        assert callee.reply()["code"] == "200"
        for ear, other in ((caller, callee), (callee, caller)):
            assert not ear.knows(*public)
            assert not ear.names_port(other.port)
        assert callee.register("slot_7001", fleet.password(7001), headers=("Expires: 0",)) == 200
