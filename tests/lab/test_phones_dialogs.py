"""Inside a call: what ends a call ends it, and what a side says reaches the other one, however odd it says it.

A dialog is a Call-ID and two tags (RFC 3261 §12). Where its two sides are, and what they are called, is known from its
beginning.
"""

import time
from collections.abc import Iterator

import pytest

from sipstack.agent.message import Message, token, uri_in
from tests.lab.deskcall import DeskCall, desk, desk_phones, establish, hang_up, tag
from tests.lab.deskphone import DeskPhone
from tests.lab.fleet import eventually, on_this_machine
from tests.lab.system import System
from tests.lab.test_phones_forking import goes_on, on_record, passes
from tests.lab.wire import DOMAIN

Phones = list[DeskPhone]
COPIED = ("Via", "Record-Route", "From", "Call-ID", "CSeq")


@pytest.fixture
def two(system: System) -> Iterator[Phones]:
    with desk_phones(system, 6001, 6003) as phones:
        yield phones


def sides(phones: Phones) -> tuple[DeskCall, DeskCall]:
    """A call that is up: as its caller knows it, and as its called side does."""
    call, invite = establish(*phones)
    return call, DeskCall.called(phones[1], invite)


def both(phones: Phones) -> list[tuple[DeskCall, DeskPhone]]:
    """Each side of a call, with the phone of the other one."""
    call, back = sides(phones)
    return [(call, phones[1]), (back, phones[0])]


def arrives(side: DeskCall, other: DeskPhone, method: str, **options: object) -> Message:
    """A request inside a call arrives at the other side and is answered there; returns it as it came in."""
    cseq = side.within(method, **options)  # type: ignore[arg-type]
    request = other.expect(method, call_id=side.id)
    other.answer(request, 200, contact=False)
    answer = side.phone.reply(method, cseq, side.id)
    assert answer is not None and answer.code == 200, answer and answer.first
    return request


# --- what a side says of itself and of the other one -------------------------------------------------------------

NAMES = {
    "with a display name": '"Ann Example" <sip:slot_{0}@vss.internal>',
    "its number": "<sip:{0}@vss.internal>",
    "a word": "<sip:desk@vss.internal>",
    "another slot": "<sip:slot_6002@vss.internal>",
    "another slot's number, shown": '"6002" <sip:slot_6002@vss.internal>',
    "its address": "<sip:slot_{0}@192.0.2.44:5062>",
    "an outside line": "<sip:+4930555012@192.0.2.44>",
    "a telephone": "<tel:+4930555012>",
    "nobody": "<sip:anonymous@anonymous.invalid>",
    "in capitals": "<SIP:slot_{0}@VSS.INTERNAL>",
    "without brackets": "sip:desk@192.0.2.44",
    "secure": "<sips:slot_{0}@vss.internal>",
}


@pytest.mark.parametrize("name", NAMES)
def test_a_side_has_another_name_than_in_the_beginning(two: Phones, name: str) -> None:
    """As softphones with an account name, and PBXs that rewrite From; RFC 4916. The other side hears the first name."""
    last: tuple[DeskCall, DeskPhone] | None = None
    for side, other in both(two):
        wanted, mine = uri_in(side.local), NAMES[name].format(side.phone.number) + f";tag={tag(side.local)}"
        request = arrives(side, other, "INFO", from_=mine)
        assert uri_in(request.get("From")) == wanted
        assert "6002" not in request.get("From") + request.get("Contact")
        last = side, other
    assert last is not None
    side, other = last
    arrives(side, other, "BYE", from_=NAMES[name].format(side.phone.number) + f";tag={tag(side.local)}")


def test_its_own_name_comes_back_in_the_answer(two: Phones) -> None:
    """RFC 3261 §8.2.6.2."""
    call, _ = sides(two)
    mine = f'"Ann" <sip:desk@192.0.2.44>;tag={tag(call.local)}'
    cseq = call.within("BYE", from_=mine)
    two[1].answer(two[1].expect("BYE", call_id=call.id), 200, contact=False)
    answer = two[0].reply("BYE", cseq, call.id)
    assert answer is not None and answer.code == 200
    assert answer.get("From") == mine


TARGETS = {
    "the number": "sip:{number}@vss.internal",
    "the user": "sip:slot_{number}@vss.internal",
    "the number at the proxy": "sip:{number}@{proxy}",
    "without a user": "sip:{proxy}:5060",
    "its address": "sip:slot_{number}@{address}:{port}",
    "somewhere else": "sip:somebody@192.0.2.44:5099;transport=udp",
    "a telephone": "tel:{number}",
    "secure": "sips:{number}@vss.internal",
    "in capitals": "SIP:{number}@{proxy}:5060",
    "with parameters": "sip:{number}@{proxy}:5060;gr;ob;x-y=z;lr",
    "as a telephone": "sip:{number}@vss.internal;user=phone",
    "with userinfo": "sip:{number}:secret@{proxy}",
    "of another transport": "sip:{number}@{proxy}:5060;transport=tcp",
    "of another port": "sip:{number}@{proxy}:5080",
}


@pytest.mark.parametrize("target", TARGETS)
def test_a_request_goes_to_the_other_side_whatever_its_uri_is(two: Phones, target: str) -> None:
    """Phones that keep what was dialled instead of the Contact (RFC 3261 §12.2.1.1), or rewrite it."""
    for side, other in both(two):
        there = {"address": other.address, "port": other.port, "proxy": side.phone.proxy[0], "number": other.number}
        request = arrives(side, other, "INFO", target=TARGETS[target].format(**there))
        assert request.uri == uri_in(other.contact)
    arrives(side, other, "BYE", target=TARGETS[target].format(**there))


ROUTES = {
    "none": [],
    "ours, without its parameters": ["Route: <sip:{proxy};lr>"],
    "ours, twice": ["Route: <sip:{proxy}:5060;lr>", "Route: <sip:{proxy}:5060;lr>"],
    "as of a strict router": ["Route: <sip:{proxy}>"],
    "somebody else's": ["Route: <sip:192.0.2.44:5099;lr>"],
    "somebody else's first": ["Route: <sip:192.0.2.44:5099;lr>, <sip:{proxy}:5060;lr>"],
    "somebody else's behind ours": ["Route: <sip:{proxy}:5060;lr>", "Route: <sip:192.0.2.44:5099;lr>"],
    "of another call": ["Route: <sip:{proxy}:5060;lr;ftag=abc;did=123.4567>"],
    "the other side": ["Route: <sip:{proxy}:5060;lr>", "Route: <sip:{address}:{port}>"],
    "in capitals": ["Route: <SIP:{proxy}:5060;LR>"],
}


@pytest.mark.parametrize("routes", ROUTES)
def test_a_request_goes_to_the_other_side_whatever_its_routes_are(two: Phones, routes: str) -> None:
    """Most scenarios of public sipp suites leave them out, as do phones that read no `Record-route`."""
    for side, other in both(two):
        there = {"address": other.address, "port": other.port, "proxy": side.phone.proxy[0]}
        said = [route.format(**there) for route in ROUTES[routes]]
        request = arrives(side, other, "INFO", route=said)
        assert request.uri == uri_in(other.contact)
        assert not request.all("Route"), "routes that nobody has recorded"
    arrives(side, other, "BYE", route=said)


@pytest.mark.parametrize(
    "contact", ["", "Contact: *", "Contact: <sip:a@192.0.2.4>, <sip:b@192.0.2.5>", "m: <tel:6001>"]
)
def test_a_re_invite_has_another_contact(two: Phones, contact: str) -> None:
    """None, several: not what RFC 3261 §12.2.1.1 asks for, but the call goes on, and its sides are where they were."""
    for side, other in both(two):
        cseq = side.within("INVITE", side.phone.sdp(), contact=contact)
        request = other.expect("INVITE", call_id=side.id)
        other.answer(request, 200, "OK", other.sdp())
        assert (answer := side.phone.reply("INVITE", cseq, side.id)) and answer.code == 200
        side.within("ACK", cseq=cseq)
        other.expect("ACK", call_id=side.id)
    arrives(side, other, "BYE")


@pytest.mark.parametrize("cseq", [1, 2, 0, 90_000, 2_147_483_647])
def test_a_number_of_a_request_is_lower_equal_or_much_higher(two: Phones, cseq: int) -> None:
    """The other side may refuse it (RFC 3261 §12.2.2); a proxy does not count."""
    for side, other in both(two):
        arrives(side, other, "INFO", cseq=cseq)
    arrives(side, other, "BYE", cseq=cseq)


# --- what ends a call --------------------------------------------------------------------------------------------


def test_a_call_that_is_ended_from_here(two: Phones, system: System) -> None:
    """As an operator or a limit of time ends it: each side is told once, and the call is on record at once."""
    call, _ = establish(*two)
    (row,) = [row for row in system.kamcmd("dlg.list").split("h_entry: ")[1:] if f"call-id: {call.id}\n" in row]
    system.kamcmd("dlg.end_dlg", row.split()[0], row.split("h_id: ")[1].split()[0])
    for phone in two:
        phone.answer(phone.expect("BYE", call_id=call.id), 200, contact=False)
    on_record(system, call)
    assert [phone.request("BYE", 1.0, call_id=call.id) for phone in two] == [None, None]


def test_a_caller_hangs_up_before_its_ack(two: Phones, system: System) -> None:
    call = two[0].call(6003, wait=False)
    invite = two[1].expect("INVITE", call_id=call.id)
    two[1].answer(invite, 200, "OK", two[1].sdp())
    assert call.code == 200
    hang_up(call, two[1])
    call.within("ACK", cseq=2)
    two[1].expect("ACK", call_id=call.id)
    assert not goes_on(system, call)


@pytest.mark.parametrize("code", [481, 403, 500])
def test_the_other_side_knows_nothing_of_the_call_any_more(two: Phones, system: System, code: int) -> None:
    """A phone that was started anew: the call is over here all the same, and on record."""
    call, _ = sides(two)
    cseq = call.within("BYE")
    two[1].answer(two[1].expect("BYE", call_id=call.id), code, contact=False)
    answer = two[0].reply("BYE", cseq, call.id)
    assert answer is not None and answer.code == code
    assert not goes_on(system, call)
    on_record(system, call)


@pytest.mark.slow
def test_the_other_side_is_dead(two: Phones, system: System) -> None:
    call, _ = sides(two)
    cseq = call.within("BYE")
    assert not goes_on(system, call)
    answer = two[0].reply("BYE", cseq, call.id, 15)
    assert answer is not None and answer.code == 408
    on_record(system, call)


@pytest.mark.parametrize("tags", ["a'b", "a`b~c!d%e*f_g+h", "'"])
def test_a_tag_has_odd_characters(two: Phones, system: System, tags: str) -> None:
    """All of them are legal in a token (RFC 3261 §25.1)."""
    call = two[0].call(6003, wait=False, from_=f"<sip:slot_6001@{DOMAIN}>;x=1", tag=tags)
    invite = two[1].expect("INVITE", call_id=call.id)
    two[1].answer(invite, 200, "OK", two[1].sdp(), tag=f"{tags}{tags}")
    assert call.code == 200
    call.within("ACK", cseq=call.cseq)
    two[1].expect("ACK", call_id=call.id)
    assert goes_on(system, call)
    hang_up(call, two[1])
    assert not goes_on(system, call)
    on_record(system, call)


@pytest.mark.parametrize(
    ("contact", "tagged"),
    [("", True), ("Contact: *", True), ("Contact: <sip:a@192.0.2.4>, <sip:b@192.0.2.5>", True), ("", False)],
)
def test_a_phone_answers_without_contact_or_tag(two: Phones, system: System, contact: str, tagged: bool) -> None:
    """Old ATAs; RFC 2543 had no tags. The call is in the database, and its caller can end it."""
    call = two[0].call(6003, wait=False)
    invite = two[1].expect("INVITE", call_id=call.id)
    if tagged:
        two[1].answer(invite, 200, "OK", two[1].sdp(), contact=False, extra=[contact])
    else:
        copied = [f"{name}: {value}" for name, value in invite.headers if name in COPIED]
        two[1].send("SIP/2.0 200 OK", [*copied, f"To: {invite.get('To')}", f"Contact: {two[1].contact}"], two[1].sdp())
    assert call.code == 200
    call.within("ACK", cseq=call.cseq)
    two[1].expect("ACK", call_id=call.id)
    query = f"SELECT callee_contact FROM dialog WHERE callid = '{call.id}'"
    eventually(lambda: any(row[0].startswith("sip:") for row in system.sql(query)), on_this_machine(3))
    hang_up(call, two[1])
    on_record(system, call)


def test_a_phone_answers_without_record_route(two: Phones) -> None:
    """As sipp's own scenario does: neither side knows a Route."""
    call = two[0].call(6003, wait=False)
    invite = two[1].expect("INVITE", call_id=call.id)
    invite.set("Record-Route")
    two[1].answer(invite, 200, "OK", two[1].sdp())
    assert call.code == 200
    call.within("ACK", cseq=call.cseq)
    two[1].expect("ACK", call_id=call.id)
    passes(DeskCall.called(two[1], invite), two[0])
    hang_up(call, two[1])


def test_a_phone_writes_its_own_name_into_its_answers(two: Phones) -> None:
    """The caller hears what it has asked for (RFC 3261 §8.2.6.2), and no address of a phone."""
    call = two[0].call(6003, wait=False)
    invite = two[1].expect("INVITE", call_id=call.id)
    asked = invite.get("To"), invite.get("From")
    invite.set("To", f'"Front Desk" <sip:6003@{two[1].address}:{two[1].port};user=phone>')
    invite.set("From", f"<sip:6001@{two[1].address}>;tag={tag(invite.get('From'))}")
    two[1].answer(invite, 200, "OK", two[1].sdp())
    assert call.code == 200
    assert call.final is not None
    assert (call.final.get("To"), call.final.get("From")) == (f"{asked[0]};tag={tag(two[1].to(invite))}", asked[1])
    call.within("ACK", cseq=call.cseq)
    hang_up(call, two[1])


@pytest.mark.parametrize("via", ["of its own branch", "of another address"])
def test_a_cancel_has_another_via_than_its_invite(two: Phones, via: str) -> None:
    """Phones behind NAT that learn their address meanwhile. RFC 3261 §9.1 wants the Via of the INVITE."""
    call = two[0].call(6003, wait=False)
    invite = two[1].expect("INVITE", call_id=call.id)
    two[1].answer(invite, 180, "Ringing")
    assert two[0].reply("INVITE", call.cseq, call.id, least=180)
    if via == "of its own branch":
        call.branch = ""
    else:
        two[0].says = "192.0.2.44"
    assert (answer := call.cancel()) and answer.code == 200
    two[1].answer(two[1].expect("CANCEL", call_id=call.id), 200, contact=False)
    two[1].answer(invite, 487, "Request Terminated")
    assert (final := two[0].reply("INVITE", call.cseq, call.id)) and final.code == 487


# --- calls that would not be counted -----------------------------------------------------------------------------


@pytest.mark.parametrize("contact", ["", "Contact: *", "Contact: <sip:a@192.0.2.4>, <sip:b@192.0.2.5>"])
def test_a_call_without_the_one_contact_is_refused(two: Phones, contact: str) -> None:
    """RFC 3261 §8.1.1.8; module dialog does not know such a call: no limit, no record, no end."""
    call = two[0].call(6003, contact=contact)
    assert call.code == 400
    assert two[1].request("INVITE", 0.5, call_id=call.id) is None


def test_two_calls_with_one_call_id_are_two_calls(two: Phones, system: System) -> None:
    """Module dialog would take the second one for the first one that comes by again (a spiral)."""
    first = two[0].call(6003, wait=False)
    invite = two[1].expect("INVITE", call_id=first.id)
    two[1].answer(invite, 180, "Ringing")
    again = DeskCall(two[0])
    again.id, again.uri, again.local, again.cseq = first.id, first.uri, first.local, first.cseq + 1
    again.remote = f"<sip:6003@{DOMAIN}>"
    head = [two[0].via("z9hG4bKagain"), *again._dialog("INVITE", again.cseq), f"Contact: {two[0].contact}"]
    two[0].send(f"INVITE {again.uri} SIP/2.0", head, two[0].sdp())
    challenge = two[0].reply("INVITE", again.cseq, again.id)
    assert challenge is not None and challenge.code == 407
    again.cseq += 1
    again.branch = "z9hG4bKonce-more"
    head = [two[0].via(again.branch), *again._dialog("INVITE", again.cseq), f"Contact: {two[0].contact}"]
    two[0].send(
        f"INVITE {again.uri} SIP/2.0", [*head, two[0].credentials(challenge, "INVITE", again.uri)], two[0].sdp()
    )
    other = two[1].receive(lambda m: m.method == "INVITE" and not m.code and m.cseq == again.cseq)
    assert other is not None
    assert system.kamcmd("dlg.list").count(f"call-id: {first.id}\n") == 2
    for one in (invite, other):
        two[1].answer(one, 486, "Busy Here", tag=f"t{one.cseq}")
    assert (first.code, again.code) == (486, 486)


# --- sides that have moved ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("mover", [0, 1])
@pytest.mark.parametrize("method", ["BYE", "INVITE", "INFO"])
def test_a_tcp_phone_has_lost_its_connection(system: System, mover: int, method: str) -> None:
    """In mid-call; it has registered on a new one, from where its Contact has a new port."""
    numbers = (6001, 6003)
    with desk_phones(system, *numbers, transport="tcp") as phones:
        ways = both(phones)
        with desk(system, numbers[mover], "tcp") as again:
            phones[mover].socket.close()
            assert again.register().code == 200
            side, _ = ways[1 - mover]
            cseq = side.within(method, side.phone.sdp() if method == "INVITE" else "")
            request = again.expect(method, call_id=side.id)
            again.answer(request, 200, "OK", again.sdp() if method == "INVITE" else "")
            assert (answer := side.phone.reply(method, cseq, side.id)) and answer.code == 200
            if method == "INVITE":
                side.within("ACK", cseq=cseq)
                again.expect("ACK", call_id=side.id)
            if method != "BYE":
                passes(side, again, "BYE")
            assert again.unregister().code == 200
        phones[mover].socket = desk(system, numbers[mover], "tcp").socket


@pytest.mark.parametrize("mover", [0, 1])
def test_a_phone_has_another_port_behind_its_nat(system: System, mover: int) -> None:
    """It has registered again since, with the same Contact."""
    numbers, behind = (6001, 6003), ("192.168.1.20", "192.168.7.7")
    with (
        desk(system, numbers[0], says=behind[0]) as one, desk(system, numbers[1], says=behind[1]) as other,
        desk(system, numbers[mover], says=behind[mover]) as again,
    ):  # fmt: skip
        for phone in (one, other):
            assert phone.unregister().code == 200
            assert phone.register().code == 200
        ways = both([one, other])
        again.contact, again._register_id = (one, other)[mover].contact, (one, other)[mover]._register_id
        assert again.register(cseq=90).code == 200
        side, _ = ways[1 - mover]
        passes(side, again)
        passes(side, again, "BYE")
        for phone in (one, other):
            assert phone.unregister().code == 200


def test_an_apostrophe_in_a_tag_keeps_no_call_off_the_record(two: Phones, system: System) -> None:
    """A legal token (RFC 3261 §25.1): read as a quote in a Route, it hid the call from its own ACK and BYE."""
    call, _ = establish(*two, tag=f"it's{token()}")
    hang_up(call, two[1])
    on_record(system, call)


# --- answers that are repeated -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_called_side_asks_with_the_number_of_the_first_invite(two: Phones) -> None:
    """Each side counts for itself. The 200 to its re-INVITE, repeated for want of an ACK, comes back to it."""
    call, back = sides(two)
    back.within("INVITE", two[1].sdp(), cseq=2)
    request = two[0].expect("INVITE", call_id=call.id)
    two[0].answer(request, 200, "OK", two[0].sdp())
    assert (answer := two[1].reply("INVITE", 2, call.id)) and answer.code == 200
    time.sleep(6)  # Kamailio forgets a transaction after five
    two[0].answer(request, 200, "OK", two[0].sdp())
    again = two[1].reply("INVITE", 2, call.id)
    assert again is not None and again.get("Via") == answer.get("Via")
    assert two[0].reply("INVITE", 2, call.id, 0.5) is None
    back.within("ACK", cseq=2)
    two[0].expect("ACK", call_id=call.id)
    hang_up(call, two[1])
