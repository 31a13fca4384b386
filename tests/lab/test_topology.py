"""What a phone learns of the other side of its calls: a name. Not where it is, not what it runs."""

import time

import pytest

from tests.lab.ear import BEHIND, Ear, connect, ring, say, two_phones
from tests.lab.outage import wait_for_proxy
from tests.lab.rawcall import RawCall, Side, acknowledged, answered, begin, call_id_of, goes_on, prepare, tag_of, uri_of
from tests.lab.system import System
from tests.lab.test_gateways import ASTERISK
from tests.lab.wire import DOMAIN, forget_bindings

TRANSPORTS = [("udp", "udp"), ("udp", "tcp"), ("tcp", "udp")]


@pytest.fixture(autouse=True)
def nobody_registered(system: System) -> None:
    forget_bindings(system)


@pytest.mark.parametrize("transports", TRANSPORTS, ids="-".join)
def test_a_call_tells_nobody_where_the_other_is(system: System, transports: tuple[str, str]) -> None:
    with two_phones(system, transports) as (caller, callee):
        call = connect(system, caller, callee)
        goes_on(caller, callee, call)
        at_caller, at_callee = f"sip:slot_6001@{caller.contact}", f"sip:{callee.contact}"
        offer = call.request(caller, "INVITE", cseq=2000, body=caller.media, headers=caller.software)
        say(caller, callee, offer, at_callee, callee.media)
        caller.send(call.request(caller, "ACK", cseq=2000))
        assert callee.next_request()[0] == f"ACK {at_callee} SIP/2.0"
        offer = call.turned.request(callee, "INVITE", cseq=2001, body=callee.media, headers=callee.software)
        say(callee, caller, offer, at_caller, caller.media)
        callee.send(call.turned.request(callee, "ACK", cseq=2001))
        # In a re-INVITE it has said where it is now.
        assert caller.next_request()[0] == f"ACK {at_caller} SIP/2.0"
        say(callee, caller, call.turned.request(callee, "BYE", cseq=2002), at_caller)


def test_what_it_hears_is_its_own(system: System) -> None:
    """The Vias of its request, with where that came from; and of the other side a name that can be called."""
    with two_phones(system) as (caller, callee):
        invite = ring(system, caller, callee)
        assert invite["via"].count("SIP/2.0") == 2
        assert invite["contact"] == f"<sip:slot_6001@{system.address}:5060;gr>"
        callee.answer(invite, b"486 Busy Here", tag=b"here", headers=callee.software)
        reply = caller.reply()
        assert reply["code"] == "486"
        own, behind = reply["via"].split(", ", 1)
        assert own.startswith(f"SIP/2.0/UDP {caller.contact};branch=")
        assert own.endswith(f";received={caller.public};rport={caller.port}")
        assert own.count("rport") == 1
        assert behind == BEHIND
        assert callee.next_request()[0].startswith("ACK ")


@pytest.mark.parametrize("odd", [";rport=9;received=192.0.2.1", "; rport", ";rport, " + BEHIND, ""])
def test_whatever_its_via_is_like(system: System, odd: str) -> None:
    """It hears where its request came from, once, as it does from a proxy that hides nothing (RFC 3581)."""
    with Ear(system.address, "192.168.1.20") as caller, Ear(system.address, "192.168.7.7") as callee:
        assert callee.register("slot_6003", system.password(6003)) == 200
        invite = prepare(system, caller, 6001, "6003")
        caller.send(invite.replace(b";rport\r\n", f"{odd};x=y\r\n".encode()))
        _, incoming = callee.next_request()
        callee.answer(incoming, b"486 Busy Here", tag=b"here")
        via = caller.reply(call_id=call_id_of(invite))["via"]
        own, *behind = via.split(", ")
        assert sorted(own.split(";")[2:]) == sorted(
            [f"received={caller.public}", f"rport={caller.port}", *(["x=y"] if not behind else [])]
        )
        assert not behind or f"{behind[0]}, {behind[1]}" == f"{BEHIND};x=y"


def test_a_caller_cancels(system: System) -> None:
    with two_phones(system) as (caller, callee):
        invite = prepare(system, caller, 6001, "6003", (*caller.software,))
        caller.send(invite)
        _, ringing = callee.next_request()
        callee.answer(ringing, b"180 Ringing", tag=b"here", headers=callee.software)
        lines = invite.decode().split("\r\n\r\n")[0].split("\r\n")
        kept = [line for line in lines if line.startswith(("Via", "From", "To", "Call-ID", "Max-Forwards"))]
        cancel = [f"CANCEL sip:6003@{DOMAIN} SIP/2.0", *kept, "CSeq: 2 CANCEL", "Content-Length: 0"]
        assert caller.ask("\r\n".join(cancel).encode() + b"\r\n\r\n")[0] == 200
        first, taken_back = callee.next_request()
        assert first.startswith("CANCEL ")
        callee.answer(taken_back, b"200 OK")
        callee.answer(ringing, b"487 Request Terminated", tag=b"here", headers=callee.software)
        assert caller.reply(call_id=call_id_of(invite))["code"] == "487"


def test_before_the_call_is_answered(system: System) -> None:
    """Module dialog does not know yet where the called side is."""
    with two_phones(system) as (caller, callee):
        begin(system, caller, 6001, "6003")
        _, invite = callee.next_request()
        callee.answer(invite, b"183 Session Progress", tag=b"here", body=callee.media)
        caller.socket.settimeout(5)
        while "183 Session" not in caller.heard[-1]:
            caller.socket.recv(65_536)
        call = RawCall(
            invite["call-id"], Side("slot_6001", tag_of(invite["from"]), uri_of(invite["contact"])),
            Side("6003", "here", f"sip:6003@{system.address}:5060;gr"), invite["record-route"],
        )  # fmt: skip
        say(caller, callee, call.request(caller, "UPDATE", cseq=3), f"sip:{callee.contact}")
        say(callee, caller, call.turned.request(callee, "UPDATE", cseq=3), f"sip:slot_6001@{caller.contact}")
        callee.answer(invite, b"480 Temporarily Unavailable", tag=b"here")
        assert caller.reply()["code"] == "480"


def test_an_answer_that_is_repeated_long_after(system: System) -> None:
    """Kamailio forgets a transaction after five seconds; a phone that has got no ACK repeats its 200 for 32."""
    with two_phones(system) as (caller, callee):
        invite = ring(system, caller, callee)
        callee.answer(invite, b"200 OK", tag=b"here", headers=callee.software, body=callee.media)
        first, deadline = caller.reply(), time.monotonic() + 15
        while "m=audio" in caller.heard[-1]:
            assert time.monotonic() < deadline
            time.sleep(0.5)
            callee.answer(invite, b"200 OK", tag=b"here", headers=callee.software, body=callee.media)
            again = caller.reply()
        assert_goes_on_with(again, first, caller, callee)


def test_an_answer_that_is_repeated_after_a_restart(system: System) -> None:
    """Its ACK has met nobody."""
    with two_phones(system) as (caller, callee):
        invite = ring(system, caller, callee)
        callee.answer(invite, b"200 OK", tag=b"here", headers=callee.software, body=callee.media)
        first = caller.reply()
        system.host.exec("docker", "kill", "vss-kamailio")
        system.host.exec("docker", "start", "vss-kamailio")
        wait_for_proxy(system)
        callee.answer(invite, b"200 OK", tag=b"here", headers=callee.software, body=callee.media)
        assert_goes_on_with(caller.reply(), first, caller, callee)


def assert_goes_on_with(again: dict[str, str], first: dict[str, str], caller: Ear, callee: Ear) -> None:
    """A repeated 200 says the same, and the call can be acknowledged and ended."""
    assert again["code"] == "200"
    assert (again["via"], again["contact"]) == (first["via"], first["contact"])
    call = answered(first, "6003")
    caller.send(call.request(caller, "ACK", cseq=2))
    assert callee.next_request()[0].startswith("ACK ")
    say(caller, callee, call.request(caller, "BYE", cseq=3), f"sip:{callee.contact}")


def test_an_answer_that_asterisk_repeats_long_after(system: System) -> None:
    with Ear(system.address, "192.168.1.20") as caller:
        begin(system, caller, 6001, "9002")
        first = again = caller.reply()
        while "m=audio" in caller.heard[-1]:
            again = caller.reply(15)  # it has heard no ACK
        assert again["contact"] == first["contact"] == f"<sip:9002@{system.address}:5060;gr>"
        assert_ends_unseen(system, caller, answered(first, "9002"), 2)


def test_an_answer_to_what_has_no_media_has_none(system: System) -> None:
    """As a phone may say what it can do (RFC 3261 section 11.2)."""
    with two_phones(system) as (caller, callee):
        call = connect(system, caller, callee)
        at_caller, at_callee = f"sip:slot_6001@{caller.contact}", f"sip:{callee.contact}"
        say(caller, callee, call.request(caller, "INFO", cseq=500), at_callee, callee.media)
        say(callee, caller, call.turned.request(callee, "BYE", cseq=2002), at_caller)


def test_asterisk_is_not_seen_by_whom_it_calls(system: System) -> None:
    with Ear(system.address, "192.168.7.7") as callee:
        assert callee.register("slot_6003", system.password(6003)) == 200
        system.host.exec(*ASTERISK, "channel originate PJSIP/6003@proxies application Wait 20")
        _, invite = callee.next_request()
        assert uri_of(invite["contact"]).endswith(f"@{system.address}:5060;gr")
        callee.answer(invite, b"200 OK", tag=b"here", body=callee.media)
        assert callee.next_request()[0] == f"ACK sip:{callee.contact} SIP/2.0"
        call = RawCall(
            invite["call-id"], Side("6003", "here", ""),
            Side(invite["from"].split("sip:")[1].split("@")[0], tag_of(invite["from"]), uri_of(invite["contact"])),
            invite["record-route"],
        )  # fmt: skip
        callee.send(call.request(callee, "BYE", cseq=1))
        assert callee.reply(call_id=call.call_id)["code"] == "200"
        assert not callee.knows(system.address)
        assert not [text for text in callee.heard if ":5080" in text]


def test_asterisk_is_not_seen_by_who_calls_it(system: System) -> None:
    with Ear(system.address, "192.168.1.20") as caller:
        begin(system, caller, 6001, "9002")
        call = acknowledged(caller, "9002")
        assert call.callee.contact == f"sip:9002@{system.address}:5060;gr"
        for cseq in range(3, 30):
            code, _ = caller.ask(call.request(caller, "INVITE", cseq=cseq, body=caller.media))
            if code != 491:  # Asterisk is about to say something itself (RFC 3261 section 14.1)
                break
            time.sleep(0.2)
        assert code == 200
        assert_ends_unseen(system, caller, call, cseq)


def assert_ends_unseen(system: System, caller: Ear, call: RawCall, cseq: int) -> None:
    """Its INVITE of that number is acknowledged, it is hung up, and the caller has heard nothing of Asterisk."""
    caller.send(call.request(caller, "ACK", cseq=cseq))
    assert caller.ask(call.request(caller, "BYE", cseq=cseq + 1))[0] == 200
    assert not caller.knows(system.address)
    assert not [text for text in caller.heard if ":5080" in text]


def test_a_call_of_the_release_before_goes_on(system: System) -> None:
    """Its sides know each other by their own Contacts."""
    with two_phones(system) as (caller, callee):
        call = connect(system, caller, callee)
        at_caller, at_callee = f"sip:slot_6001@{caller.contact}", f"sip:{callee.contact}"
        say(caller, callee, call.request(caller, "INFO", uri=at_callee), at_callee)
        say(callee, caller, call.turned.request(callee, "BYE", uri=at_caller), at_caller)


def test_the_other_side_can_be_called_by_its_contact(system: System) -> None:
    """As a phone does to which a call is transferred: Refer-To is the Contact of somebody's other call."""
    with two_phones(system) as (caller, callee):
        call = connect(system, caller, callee)
        replaces = f"Replaces: {call.call_id};to-tag={call.callee.tag};from-tag={call.caller.tag}"
        with Ear(system.address, "192.168.5.5") as third:
            third.ask_as(
                "slot_6002", system.password(6002), "INVITE", call.callee.contact,
                timeout=0.5, user="slot_6002", to="6003", headers=(replaces,),
            )  # fmt: skip
            first, invite = callee.next_request()
            assert first == f"INVITE sip:slot_6003@{callee.contact} SIP/2.0"
            assert f"Replaces: {invite['replaces']}" == replaces
            callee.answer(invite, b"486 Busy Here", tag=b"other")
        say(callee, caller, call.turned.request(callee, "BYE", cseq=2002), f"sip:slot_6001@{caller.contact}")


def test_a_slot_with_two_phones(system: System) -> None:
    """Each is told what the other one is told; who does not answer hears a CANCEL, and no more."""
    with two_phones(system) as (caller, first), Ear(system.address, "192.168.5.5") as second:
        assert second.register("slot_6003", system.password(6003)) == 200
        second.heard.clear()  # a slot is told of all its own phones
        begin(system, caller, 6001, "6003", headers=caller.software)
        invites = [phone.next_request()[1] for phone in (first, second)]
        for phone, invite, tag in zip((first, second), invites, (b"one", b"two"), strict=True):
            assert invite["via"].count("SIP/2.0") == 2
            phone.answer(invite, b"180 Ringing", tag=tag)
        caller.wait_rings(2)  # who has not been heard ringing may be told later that he need not
        second.answer(invites[1], b"200 OK", tag=b"two", body=second.media)
        call = acknowledged(caller, "6003")
        assert second.next_request()[0] == f"ACK sip:{second.contact} SIP/2.0"
        assert first.next_request()[0].startswith("CANCEL ")
        say(caller, second, call.request(caller, "BYE", cseq=3), f"sip:{second.contact}")
        assert not second.knows(system.address)
        assert second.address not in "".join(caller.heard)
