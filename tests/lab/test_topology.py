"""What a phone learns of the other side of its calls: a name. Not where it is, not what it runs."""

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.lab.ear import Ear
from tests.lab.hostile import Watch, phones_are_served
from tests.lab.rawcall import RawCall, Side, acknowledged, begin, call_id_of, goes_on, prepare, tag_of, uri_of
from tests.lab.system import System
from tests.lab.test_gateways import ASTERISK
from tests.lab.wire import DOMAIN, Wire, forget_bindings

TRANSPORTS = [("udp", "udp"), ("udp", "tcp"), ("tcp", "udp")]
# What a request has on its way to the caller's phone, as from a proxy at his home.
BEHIND = "SIP/2.0/UDP 192.168.9.9;branch=z9hG4bKdeep, SIP/2.0/UDP 192.168.9.10:5070;branch=z9hG4bKdeeper"


@pytest.fixture(autouse=True)
def nobody_registered(system: System) -> None:
    forget_bindings(system)


@contextmanager
def two_phones(system: System, transports: tuple[str, str] = ("udp", "udp")) -> Iterator[tuple[Ear, Ear]]:
    """Slots 6001 and 6003, each behind its NAT. At the end, neither knows anything of the other."""
    with Ear(system, "192.168.1.20", transports[0]) as caller, Ear(system, "192.168.7.7", transports[1]) as callee:
        assert callee.register("slot_6003", system.password(6003)) == 200
        yield caller, callee
        for ear, other in ((caller, callee), (callee, caller)):
            assert not ear.knows(but=system.address)
            assert not [text for text in ear.heard if str(other.port) in text]


def ring(system: System, caller: Ear, callee: Ear, status: bytes = b"180 Ringing") -> dict[str, str]:
    """Call, and let it ring; the INVITE as it came in."""
    caller.home = {"192.168.9.9", "192.168.9.10"}
    begin(system, caller, 6001, "6003", headers=(*caller.software, f"v: {BEHIND}"))
    first, invite = callee.next_request()
    assert first == f"INVITE sip:slot_6003@{callee.contact} SIP/2.0"
    callee.answer(invite, status, tag=b"here", headers=callee.software)
    return invite


def connect(system: System, caller: Ear, callee: Ear) -> RawCall:
    """The same call, answered."""
    invite = ring(system, caller, callee)
    callee.answer(invite, b"200 OK", tag=b"here", headers=callee.software, body=callee.media)
    call = acknowledged(caller, "6003", contact=uri_of(invite["contact"]))
    assert callee.next_request()[0] == f"ACK sip:{callee.contact} SIP/2.0"
    return call


def say(wire: Ear, other: Ear, request: bytes, uri: str, body: str = "") -> None:
    """A request that arrives at `uri`, and whose answer comes back."""
    wire.send(request)
    first, headers = other.next_request()
    assert first.split()[1] == uri
    other.answer(headers, b"200 OK", headers=other.software, body=body)
    assert wire.reply()["code"] == "200"


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
        assert invite["contact"] == f"<sip:slot_6001@{system.address}:5060>"
        callee.answer(invite, b"486 Busy Here", tag=b"here", headers=callee.software)
        reply = caller.reply()
        assert reply["code"] == "486"
        own, behind = reply["via"].split(", ", 1)
        assert own.startswith(f"SIP/2.0/UDP {caller.contact};received={caller.public};rport={caller.port};branch=")
        assert behind == BEHIND
        assert callee.next_request()[0].startswith("ACK ")


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
            Side("6003", "here", f"sip:6003@{system.address}:5060"), invite["record-route"],
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
        assert again["code"] == "200"
        assert (again["via"], again["contact"]) == (first["via"], first["contact"])
        call = RawCall(
            first["call-id"], Side("slot_6001", tag_of(first["from"]), ""),
            Side("6003", "here", uri_of(first["contact"])), first["record-route"],
        )  # fmt: skip
        caller.send(call.request(caller, "ACK", cseq=2))
        say(caller, callee, call.request(caller, "BYE", cseq=3), f"sip:{callee.contact}")


def test_asterisk_is_not_seen_by_whom_it_calls(system: System) -> None:
    with Ear(system, "192.168.7.7") as callee:
        assert callee.register("slot_6003", system.password(6003)) == 200
        system.host.exec(*ASTERISK, "channel originate PJSIP/6003@proxies application Wait 20")
        _, invite = callee.next_request()
        assert uri_of(invite["contact"]).endswith(f"@{system.address}:5060")
        callee.answer(invite, b"200 OK", tag=b"here", body=callee.media)
        assert callee.next_request()[0] == f"ACK sip:{callee.contact} SIP/2.0"
        call = RawCall(
            invite["call-id"], Side("6003", "here", ""),
            Side(invite["from"].split("sip:")[1].split("@")[0], tag_of(invite["from"]), uri_of(invite["contact"])),
            invite["record-route"],
        )  # fmt: skip
        callee.send(call.request(callee, "BYE", cseq=1))
        assert callee.reply(call_id=call.call_id)["code"] == "200"
        assert not callee.knows(but=system.address)
        assert not [text for text in callee.heard if "5080" in text]


def test_asterisk_is_not_seen_by_who_calls_it(system: System) -> None:
    with Ear(system, "192.168.1.20") as caller:
        begin(system, caller, 6001, "9002")
        call = acknowledged(caller, "9002")
        assert call.callee.contact == f"sip:9002@{system.address}:5060"
        cseq = 3
        while (code := caller.ask(call.request(caller, "INVITE", cseq=cseq, body=caller.media))[0]) == 491 and cseq < 30:
            time.sleep(0.2)  # Asterisk is about to say something itself (RFC 3261 section 14.1)
            cseq += 1
        assert code == 200
        caller.send(call.request(caller, "ACK", cseq=cseq))
        assert caller.ask(call.request(caller, "BYE", cseq=cseq + 1))[0] == 200
        assert not caller.knows(but=system.address)
        assert not [text for text in caller.heard if "5080" in text]


def test_a_call_of_the_release_before_goes_on(system: System) -> None:
    """Its sides know each other by their own Contacts."""
    with two_phones(system) as (caller, callee):
        call = connect(system, caller, callee)
        at_caller, at_callee = f"sip:slot_6001@{caller.contact}", f"sip:{callee.contact}"
        say(caller, callee, call.request(caller, "INFO", uri=at_callee), at_callee)
        say(callee, caller, call.turned.request(callee, "BYE", uri=at_caller), at_caller)


def forgeries(proxy: str) -> Iterator[tuple[str, str]]:
    """Places, and what somebody may write there who knows how things are hidden, or thinks that he does."""
    for uri in (f"sip:{proxy}:5060;line=sr-garbage", f"sip:slot_6003@{proxy}:5060", f"sip:%00{'x' * 500}@{proxy}"):
        yield uri, "Route: <sip:127.0.0.8;line=sr-*****>"
        yield uri, f"Contact: <sip:127.0.0.8;line=sr-{secrets.token_hex(300)}>"
    for branch in ("z9hG4bKhidden", "z9hG4bKhidden,z9hG4bKhidden", "z9hG4bKsr-****", f"z9hG4bKsr-{'A' * 3000}"):
        yield f"sip:slot_6003@{proxy}:5060", f"Via: SIP/2.0/UDP {proxy}:5060;branch={branch}"


def test_forgeries_lead_nowhere(system: System) -> None:
    with Watch(system), Wire(system.address) as stranger, two_phones(system) as (caller, callee):
        call = connect(system, caller, callee)
        for uri, header in forgeries(system.address):
            for method, options in (("BYE", {"to_tag": "forged"}), ("ACK", {"to_tag": "forged"}), ("MESSAGE", {})):
                request = stranger.message(method, uri, headers=(header,), contact=False, **options)  # type: ignore[arg-type]
                if method == "ACK":
                    stranger.send(request)
                else:
                    assert stranger.ask(request)[0] >= 400
        for via in (f"SIP/2.0/UDP {system.address}:5060;branch=z9hG4bKhidden", "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKhidden"):
            reply = f"Via: {via}\r\nVia: {via}\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>;tag=2\r\nCSeq: 2 INVITE\r\n"
            for call_id in (call.call_id, "none"):
                stranger.send(f"SIP/2.0 200 OK\r\n{reply}Call-ID: {call_id}\r\nContent-Length: 0\r\n\r\n".encode())
        goes_on(caller, callee, call)
        say(callee, caller, call.turned.request(callee, "BYE", cseq=2002), f"sip:slot_6001@{caller.contact}")
        phones_are_served(system)


@pytest.mark.parametrize("garbled", ["", "{0}, {0}", "{0};branch=z9hG4bKhidden", "SIP/2.0/UDP 192.0.2.1;z9hG4bKhidden"])
def test_a_called_phone_garbles_what_is_hidden(system: System, garbled: str) -> None:
    """It spoils its own call at most."""
    with Watch(system), two_phones(system) as (caller, callee):
        begin(system, caller, 6001, "6003")
        _, invite = callee.next_request()
        ours, hidden = invite["via"].split(", ")
        invite["via"] = ", ".join(filter(None, (ours, garbled.format(hidden))))
        callee.answer(invite, b"486 Busy Here", tag=b"here")
        assert caller.reply()["code"] == "486"
    phones_are_served(system)
