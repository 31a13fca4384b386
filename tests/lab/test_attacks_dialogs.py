"""Inside a call only its two sides speak, whoever else has seen its messages; and what they say goes to each other."""

from collections.abc import Iterator
from itertools import product

import pytest

from sipstack.probe.message import parse_head
from tests.lab.rawcall import RawCall, acknowledged, begin, goes_on, raw_call, with_credentials
from tests.lab.system import System
from tests.lab.test_calls import phones, talk
from tests.lab.wire import DOMAIN, SDP, Wire, digest, forget_bindings


@pytest.fixture(autouse=True)
def nobody_registered(system: System) -> None:
    forget_bindings(system)


METHODS = ("INVITE", "BYE", "ACK", "UPDATE", "INFO", "REFER", "MESSAGE", "NOTIFY", "SUBSCRIBE", "PRACK", "PUBLISH")
REFUSED = (403, 407, 481)


def say(wire: Wire, call: RawCall, method: str) -> int:
    """Say something inside a call; the final code, 0 for none."""
    headers = ("Refer-To: <sip:+1900@vss.internal>",) if method == "REFER" else ()
    body = SDP.format(wire.address) if method == "INVITE" else ""
    request = call.request(wire, method, headers=headers, body=body)
    if method == "ACK":
        wire.send(request)
        return 0
    return wire.ask(request)[0]


@pytest.mark.parametrize("method", METHODS)
def test_a_stranger_who_knows_all_of_a_call_is_not_a_side_of_it(system: System, method: str) -> None:
    with raw_call(system) as (caller, callee, call), Wire(system.address) as stranger:
        for side in (call, call.turned):
            assert say(stranger, side, method) in (REFUSED if method != "ACK" else (0,))
        goes_on(caller, callee, call)


@pytest.mark.parametrize("method", ["BYE", "INVITE", "ACK", "PRACK", "MESSAGE"])
def test_nor_is_he_after_a_restart(system: System, method: str) -> None:
    with raw_call(system) as (caller, callee, call), Wire(system.address) as stranger:
        restart(system)
        for side in (call, call.turned):
            assert say(stranger, side, method) in (REFUSED if method != "ACK" else (0,))
        goes_on(caller, callee, call)


def restart(system: System) -> None:
    system.host.exec("docker", "restart", "-t", "5", "vss-kamailio")
    script = "until [ $(docker inspect -f '{{.State.Health.Status}}' vss-kamailio) = healthy ]; do sleep 0.2; done"
    system.host.exec("sh", "-c", script, timeout=60)


@pytest.mark.parametrize("routes", ["double", "behind it", "instead", "none"])
@pytest.mark.parametrize("method", ["INVITE", "BYE", "MESSAGE", "ACK"])
def test_routes_open_nothing(system: System, method: str, routes: str) -> None:
    """A To tag that nobody has given, and a Route set that leads to a victim, by the proxy."""
    with Wire(system.address) as stranger, Wire(system.address) as victim, raw_call(system) as (caller, callee, call):
        proxy, there = f"<sip:{system.address}:5060;lr>", f"<sip:{victim.contact};lr>"
        chosen = {"double": [proxy, proxy, there], "behind it": [f"{proxy}, {there}"], "instead": [there], "none": []}
        forged = stranger.message(
            method, f"sip:victim@{victim.contact}", to_tag="forged",
            headers=tuple(f"Route: {route}" for route in chosen[routes]),
        )  # fmt: skip
        if method == "ACK":
            stranger.send(forged)
        else:
            assert stranger.ask(forged)[0] == 481
        goes_on(caller, callee, call)
        nothing_came_in(victim)


@pytest.mark.parametrize("method", ["INVITE", "MESSAGE", "REFER", "INFO"])
def test_a_side_reaches_the_other_side_only(system: System, method: str) -> None:
    """A slot in a call of its own, with the address of a victim wherever it may write one."""
    with raw_call(system) as (caller, callee, call), Wire(system.address) as victim:
        targets = (
            f"sip:victim@{victim.contact}",
            f"sip:6003@{victim.address}:9;alias={victim.address}~{victim.port}~1",
            f"sip:6003@{callee.contact};maddr={victim.address}",
            "sip:+1900@127.0.0.1:5080",
        )
        ways = ([call.route], [call.route, f"<sip:{victim.contact};lr>"], [f"<sip:{system.address}:5060;lr>"])
        make = call.offer if method == "INVITE" else lambda wire, **o: call.request(wire, method, **o)
        for cseq, (uri, routes) in enumerate(product(targets, ways), 3):
            caller.send(make(caller, uri=uri, routes=routes, cseq=cseq))
            first, request = callee.next_request()
            assert first.startswith(f"{method} ")
            callee.answer(request, b"488 Not Acceptable Here")
            assert caller.reply()["code"] == "488"
            if method == "INVITE":
                assert callee.next_request()[0].startswith("ACK ")
        goes_on(caller, callee, call)
        nothing_came_in(victim)


def nothing_came_in(victim: Wire) -> None:
    """What had been sent there would be here by now: others have been served since."""
    with pytest.raises(TimeoutError):
        victim.next_request(timeout=0.3)
    assert not victim.seen


@pytest.mark.parametrize("forged", ["slot_6002", "6002", "+12025550123"])
def test_a_side_cannot_say_that_it_is_somebody_else(system: System, forged: str) -> None:
    """What it says is served, for its tags are right (RFC 3261 §12.2.2); the other side is told its own name."""
    with raw_call(system) as (caller, callee, call):
        for wire, other, side in ((caller, callee, call), (callee, caller, call.turned)):
            for method in ("INFO", "UPDATE"):
                wire.send(side.request(wire, method, cseq=30 + (method == "INFO"), name=forged))
                _, request = other.next_request()
                assert f"sip:{side.caller.name}@{DOMAIN}" in request["from"]
                other.answer(request, b"200 OK")
                assert f"sip:{forged}@{DOMAIN}" in wire.reply()["from"]
        goes_on(caller, callee, call)


def test_a_phone_goes_on_from_a_new_address(system: System) -> None:
    """As behind a NAT that has forgotten it: it is asked who it is; then the other side finds it there."""
    with raw_call(system) as (caller, callee, call), Wire(system.address) as moved:
        for side, number, old, other in ((call, 6001, caller, callee), (call.turned, 6003, callee, caller)):
            prove(system, side, number, moved, other)
            other.send(side.turned.request(other, "INFO", cseq=60))
            _, request = moved.next_request()
            moved.answer(request, b"200 OK")
            assert other.reply()["code"] == "200"
            if number == 6001:
                prove(system, side, number, old, other)
        # The called side is registered where it was, and that is enough.
        goes_on(callee, caller, call.turned)


def prove(system: System, side: RawCall, number: int, wire: Wire, other: Wire) -> None:
    """A side says something from another address: it reaches the other one once it has credentials."""

    def make(cseq: int, headers: tuple[str, ...]) -> bytes:
        return side.request(wire, "INFO", cseq=40 + cseq, headers=headers)

    wire.send(with_credentials(system, wire, number, make, "INFO", side.callee.contact))
    first, request = other.next_request()
    assert first.startswith("INFO ")
    other.answer(request, b"200 OK")
    assert wire.reply()["code"] == "200"


@pytest.mark.parametrize("method", ["BYE", "INFO", "REFER"])
def test_another_slot_is_no_side_either(system: System, method: str) -> None:
    """With credentials that are good, but somebody else's."""
    with raw_call(system) as (caller, callee, call), Wire(system.address) as stranger:
        for side in (call, call.turned):
            code, headers = stranger.ask(side.request(stranger, method, cseq=51))
            assert code == 407
            uri = side.callee.contact
            answer = digest(headers["proxy-authenticate"], "slot_6002", system.password(6002), method, uri)
            forged = side.request(stranger, method, cseq=52, headers=(f"Proxy-Authorization: {answer}",))
            assert stranger.ask(forged)[0] == 403
        goes_on(caller, callee, call)


def test_who_is_called_cannot_take_back_the_call(system: System) -> None:
    """It has seen the Via that a CANCEL is told by; and other phones of that slot go on ringing."""
    with Wire(system.address) as caller, Wire(system.address) as callee, Wire(system.address) as stranger:
        assert callee.register("slot_6003", system.password(6003)) == 200
        invite = begin(system, caller, 6001, "6003")
        _, heard = callee.next_request()
        callee.answer(heard, b"180 Ringing", tag=b"ring")
        for wire in (stranger, callee):
            assert wire.ask(cancel(invite))[0] == 481
        caller.send(cancel(invite))
        first, taken_back = callee.next_request()
        assert first.startswith("CANCEL ")
        callee.answer(taken_back, b"200 OK")
        callee.answer(heard, b"487 Request Terminated", tag=b"ring")
        assert {caller.reply()["code"], caller.reply()["code"]} == {"200", "487"}
        assert callee.register("slot_6003", system.password(6003), headers=("Expires: 0",)) == 200


def cancel(invite: bytes) -> bytes:
    """The CANCEL of an INVITE (RFC 3261 §9.1)."""
    first, headers = parse_head(invite.decode())
    lines = [
        f"CANCEL {first.split()[1]} SIP/2.0",
        f"Via: {headers['via']}",
        "Max-Forwards: 70",
        *(f"{name}: {headers[name.lower()]}" for name in ("From", "To", "Call-ID")),
        f"CSeq: {headers['cseq'].split()[0]} CANCEL",
        "Content-Length: 0",
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def test_an_acknowledgement_cannot_be_led_astray(system: System) -> None:
    """While the transaction of the INVITE is still here, which any ACK with its Call-ID and CSeq is taken for."""
    with raw_call(system) as (caller, callee, call), Wire(system.address) as stranger, Wire(system.address) as victim:
        proxy = f"<sip:{system.address}:5060;lr>"
        for wire in (stranger, caller):
            for routes in ([proxy, f"<sip:{victim.contact};lr>"], [f"{proxy},<sip:{victim.contact};lr>"]):
                wire.send(call.request(wire, "ACK", cseq=2, uri=f"sip:victim@{victim.contact}", routes=routes))
        for _ in range(2):
            assert callee.next_request()[0].startswith("ACK ")  # the caller's own: to whom it belongs
        goes_on(caller, callee, call)
        nothing_came_in(victim)


def test_an_answer_of_a_stranger_goes_nowhere(system: System) -> None:
    """It would be sent to whoever its second Via names."""
    with raw_call(system) as (caller, callee, call), Wire(system.address) as stranger, Wire(system.address) as victim:
        for side in (call, call.turned):
            request = side.request(stranger, "INVITE", cseq=2).decode()
            first, _, rest = request.partition("\r\n")
            vias = f"Via: SIP/2.0/UDP {system.address}:5060;branch=z9hG4bKa.b.0\r\n"
            vias += f"Via: SIP/2.0/UDP {victim.contact};branch=z9hG4bKc\r\n"
            answer = f"SIP/2.0 200 OK\r\n{vias}{rest.partition(chr(10))[2]}"
            assert first.startswith("INVITE")
            stranger.send(answer.encode())
        goes_on(caller, callee, call)
        with pytest.raises(TimeoutError):
            victim.socket.settimeout(0.3)
            victim.socket.recv(65_536)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_what_phones_do_in_a_call_they_still_can(system: System, transport: str) -> None:
    with phones(system, 6001, 6002, transport=transport) as (anna, bert):
        sides = talk(anna, bert, "6002")
        assert [side.reinvite() for side in sides] == [200, 200]
        sides[1].hold()
        sides[0].wait_silence()
        sides[1].resume()
        sides[0].wait_hears(880)
        sides[0].hangup()
        sides[1].wait_state("disconnected")


def test_a_call_that_two_phones_ring_for_is_answered_by_one(system: System) -> None:
    """Each is told apart by its tag while they ring: a PRACK goes to whom it is for."""
    with Wire(system.address) as caller, Wire(system.address) as one, Wire(system.address) as two:
        for wire in (one, two):
            assert wire.register("slot_6003", system.password(6003)) == 200
        begin(system, caller, 6001, "6003")
        rung = {}
        for wire, tag in ((one, "one"), (two, "two")):
            _, rung[tag] = wire.next_request()
            wire.answer(
                rung[tag], b"183 Progress", tag=tag.encode(), headers=("Require: 100rel", "RSeq: 1"),
                body=SDP.format(wire.address),
            )  # fmt: skip
        for _ in range(4):  # 100, perhaps twice, and both 183
            if (seen := provisional(caller)) is None:
                break
            contact, tag, route = seen
            prack = caller.message(
                "PRACK", contact, user="slot_6001", to="6003", to_tag=tag, call_id=rung[tag]["call-id"], cseq=3,
                headers=(f"Route: {route}", "RAck: 1 2 INVITE"),
            ).replace(b"From: ", b"X-Random: ", 1)  # fmt: skip
            prack = prack.replace(b"\r\nTo: ", f"\r\nFrom: {rung[tag]['from']}\r\nTo: ".encode(), 1)
            caller.send(prack)
            wire = {"one": one, "two": two}[tag]
            first, heard = wire.next_request()
            assert first.startswith("PRACK ")
            wire.answer(heard, b"200 OK")
        two.answer(rung["two"], b"486 Busy Here", tag=b"two")
        one.answer(rung["one"], b"486 Busy Here", tag=b"one")
        for wire in (one, two):
            assert wire.register("slot_6003", system.password(6003), headers=("Expires: 0",)) == 200


def provisional(wire: Wire) -> tuple[str, str, str] | None:
    """Contact, tag and route of the next 18x; None if a second goes by without one."""
    wire.socket.settimeout(1)
    try:
        while True:
            first, headers = parse_head(wire.socket.recv(65_536).decode())
            if first.startswith("SIP/2.0 18"):
                contact = headers["contact"].partition("<")[2].partition(">")[0]
                return contact, headers["to"].rpartition("tag=")[2], headers["record-route"]
    except TimeoutError:
        return None


@pytest.fixture
def with_asterisk(system: System) -> Iterator[tuple[Wire, RawCall]]:
    """A call of slot 6001 to the echo service."""
    with Wire(system.address) as caller:
        begin(system, caller, 6001, "9002")
        call = acknowledged(caller, "9002", contact=f"sip:slot_6001@{caller.contact}")
        yield caller, call
        assert caller.ask(call.request(caller, "BYE", cseq=90))[0] == 200


def test_a_call_with_asterisk_is_nobody_elses(system: System, with_asterisk: tuple[Wire, RawCall]) -> None:
    """Its called side is a gateway, which a stranger is not."""
    _, call = with_asterisk
    with Wire(system.address) as stranger:
        for side in (call, call.turned):
            assert say(stranger, side, "BYE") in REFUSED
            assert say(stranger, side, "INVITE") in REFUSED


OUTSIDE = {
    "a premium number": ("Refer-To: <sip:+1900@vss.internal>",),
    "a number": ("Refer-To: <sip:+4930@127.0.0.1:5080>",),
    "by telephone": ("Refer-To: <tel:+1900>",),
    "a service": ("Refer-To: <sip:9002@vss.internal>",),
    "the second of two": ("Refer-To: <sip:6002@vss.internal>", "r: <tel:+1900>"),
    "with a space": ("Refer-To : <tel:+1900>",),
    "in short": ("r: <tel:+1900>",),
    "elsewhere": ("Refer-To: <sip:6002@192.0.2.9>",),
    "nowhere": (),
}


@pytest.mark.parametrize("where", OUTSIDE)
def test_a_gateway_is_not_transferred_to_the_outside(with_asterisk: tuple[Wire, RawCall], where: str) -> None:
    """It would call out without asking who has told it to."""
    caller, call = with_asterisk
    assert caller.ask(call.request(caller, "REFER", cseq=30, headers=OUTSIDE[where]))[0] in (400, 403)


def test_a_gateway_may_be_transferred_to_a_slot(with_asterisk: tuple[Wire, RawCall]) -> None:
    """What it makes of it is its own affair: the demo's Asterisk, which does not transfer, says nothing."""
    caller, call = with_asterisk
    slot = (f"Refer-To: <sip:6002@{DOMAIN}>",)
    assert caller.ask(call.request(caller, "REFER", cseq=30, headers=slot), 1.0)[0] not in (400, 403, 481)


def test_calls_in_and_out_go_on_as_they_did(system: System) -> None:
    with raw_call(system) as (caller, callee, call):
        goes_on(caller, callee, call)
        caller.send(call.offer(caller, cseq=1500))
        _, request = callee.next_request()
        callee.answer(request, b"200 OK", body=SDP.format(callee.address))
        assert caller.reply()["code"] == "200"
        caller.send(call.request(caller, "ACK", cseq=1500))
        assert callee.next_request()[0].startswith("ACK ")
        bye = call.turned.request(callee, "BYE", cseq=1600)
        callee.send(bye)
        _, request = caller.next_request()
        caller.answer(request, b"200 OK")
        assert callee.reply()["code"] == "200"
