"""SDP goes through rtpengine or is refused, however its body is marked (RFC 3261 §7.4, §18.3, §20.11-15; RFC 5621)."""

from __future__ import annotations

import select
import time
from collections.abc import Iterator

import pytest

from sipstack.agent.message import Message
from tests.lab.bodies import BODIES, MARKS, STRAYS, Body, named
from tests.lab.deskcall import DeskCall, audio, desk, desk_phones, establish, hang_up, tag, tells
from tests.lab.deskphone import DeskPhone
from tests.lab.system import System

REFUSALS = (400, 415, 488)
RELAY_PORTS = range(30000, 40000)


@pytest.fixture(scope="module")
def phones(system: System) -> Iterator[list[DeskPhone]]:
    with desk_phones(system, 6001, 6003) as made:
        yield made


@pytest.fixture(scope="module")
def call(phones: list[DeskPhone]) -> Iterator[DeskCall]:
    """One that is up for all tests of what is said inside a call."""
    made, _ = establish(*phones)
    yield made
    hang_up(made, phones[1])


def told(message: Message, speaker: DeskPhone) -> bool:
    """Whether the message has SDP, with a port of rtpengine and nothing that tells where the speaker is."""
    own_port = str(speaker.rtp_port).encode()
    return audio(message)[1] in RELAY_PORTS and not tells(message, speaker) and own_port not in message.body


@named(BODIES + STRAYS)
def test_an_invite(phones: list[DeskPhone], body: Body) -> None:
    caller, callee = phones
    text = body.of(caller)
    call = caller.call(
        6003, body=text, content_type=body.type, extra=body.extra, length=body.length_of(text), wait=False
    )
    invite = None if call.final else callee.receive(
        lambda m: m.method == "INVITE" and not m.code and m.get("Call-ID") == call.id, 4.0 if body.served else 0.3
    )  # fmt: skip
    if body.served:
        assert invite is not None, call.code
        callee.answer(invite, 486, "Busy Here")
        callee.expect("ACK", call_id=call.id)
        assert call.code == 486
        assert told(invite, caller), invite.body
        assert invite.get("Content-Type") == "application/sdp"
    else:
        assert invite is None or not told(invite, caller)
        assert call.code in REFUSALS


@named(BODIES + STRAYS)
def test_an_answer(phones: list[DeskPhone], body: Body) -> None:
    """An answer that cannot be anchored does not reach the caller; the call ends for both."""
    caller, callee = phones
    call = caller.call(6003, wait=False)
    invite = callee.expect("INVITE", call_id=call.id)
    text = body.of(callee)
    callee.answer(
        invite, 200, "OK", text, content_type=body.type, extra=body.extra, length=body.length_of(text)
    )  # fmt: skip
    assert call.code == 200 and call.final
    call.within("ACK", cseq=call.cseq)
    callee.expect("ACK", call_id=call.id)
    if body.served or body.name == "Content-Length too long":
        assert told(call.final, callee), call.final.body
        hang_up(call, callee)
        return
    assert not call.final.body
    for phone in phones:
        phone.answer(phone.expect("BYE", call_id=call.id), 200, contact=False)


@named([body for body in BODIES if body.name not in ("Content-Length too long",)])
@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
def test_a_new_offer_in_a_call(phones: list[DeskPhone], call: DeskCall, method: str, body: Body) -> None:
    """What is refused changes nothing in the call."""
    caller, callee = phones
    text = body.of(caller)
    cseq = call.within(
        method, text, content_type=body.type, extra=body.extra, length=body.length_of(text)
    )  # fmt: skip
    if body.served:
        offer = callee.expect(method, call_id=call.id)
        assert told(offer, caller), offer.body
        callee.answer(offer, 200, "OK", callee.sdp())
    answer = caller.reply(method, cseq, call.id)
    assert answer
    if body.served:
        assert answer.code == 200 and told(answer, callee)
    else:
        assert answer.code in REFUSALS
        assert callee.request(method, 0.1, call_id=call.id) is None
    if method == "INVITE" and answer.code == 200:
        call.within("ACK", cseq=cseq)
        callee.expect("ACK", call_id=call.id)
    elif method == "INVITE":
        call.within("ACK", cseq=cseq, route=())


HIDDEN = [
    body
    for body in MARKS
    if body.name in ("usual", "no Content-Type", "text/plain", "mixed, SDP last", "packed", "no Content-Length")
]


@named(HIDDEN)
@pytest.mark.parametrize("method", ["INFO", "MESSAGE", "OPTIONS", "NOTIFY", "REFER"])
def test_a_method_that_has_no_sdp(phones: list[DeskPhone], call: DeskCall, method: str, body: Body) -> None:
    caller, callee = phones
    text = body.of(caller)
    extra = (*body.extra, "Event: x", "Refer-To: <sip:6002@vss.internal>")
    cseq = call.within(method, text, content_type=body.type, extra=extra, length=body.length_of(text))
    answer = caller.reply(method, cseq, call.id)
    assert answer and answer.code in (*REFUSALS, 405), answer
    assert callee.request(method, 0.1, call_id=call.id) is None


def test_what_is_no_sdp_passes(phones: list[DeskPhone], call: DeskCall) -> None:
    """DTMF, requests for a picture, and progress of a transfer (RFC 2976, RFC 5168, RFC 3515)."""
    caller, callee = phones
    for method, kind, body in (
        ("INFO", "application/dtmf-relay", "Signal=5\r\nDuration=160\r\n"),
        ("INFO", "application/media_control+xml", "<?xml?>\r\n<media_control><vc_primitive/></media_control>\r\n"),
        ("NOTIFY", "message/sipfrag;version=2.0", "SIP/2.0 180 Ringing\r\n"),
    ):
        cseq = call.within(method, body, content_type=kind, extra=("Event: refer",))
        came = callee.expect(method, call_id=call.id)
        assert came.body.decode() == body
        callee.answer(came, 200)
        answer = caller.reply(method, cseq, call.id)
        assert answer and answer.code == 200


# --- who offers and who answers ----------------------------------------------------------------------------------


def reliable(sequence: int) -> tuple[str, str]:
    return ("Require: 100rel", f"RSeq: {sequence}")


def test_the_offer_is_in_the_200(phones: list[DeskPhone]) -> None:
    """Late offer, as from a Cisco gateway: the answer is in the ACK (RFC 3264 §4)."""
    caller, callee = phones
    call = caller.call(6003, body="", wait=False)
    invite = callee.expect("INVITE", call_id=call.id)
    assert not invite.body
    for code in (183, 200):  # told early, and again
        callee.answer(invite, code, "Said", callee.sdp())
    assert call.code == 200 and call.final and told(call.final, callee)
    call.within("ACK", caller.sdp(), cseq=call.cseq)
    assert told(callee.expect("ACK", call_id=call.id), caller)
    hang_up(call, callee)


def test_an_offer_in_a_200_is_repeated(phones: list[DeskPhone]) -> None:
    """As over UDP until the ACK is there: each repetition names the port of the first, and both are heard there."""
    caller, callee = phones
    call = caller.call(6003, body="", wait=False)
    invite = callee.expect("INVITE", call_id=call.id)
    offers: list[Message] = []
    for code in (183, 200, 200):
        callee.answer(invite, code, "Said", callee.sdp())
        answer = caller.reply("INVITE", call.cseq, call.id, least=183)
        assert answer and answer.code == code
        offers.append(answer)
    assert told(offers[0], callee) and len({audio(offer) for offer in offers}) == 1
    call.take(offers[1])
    call.within("ACK", caller.sdp(), cseq=call.cseq)
    ack = callee.expect("ACK", call_id=call.id)
    assert hears(caller, offers[0], callee) and hears(callee, ack, caller)
    hang_up(call, callee)


def test_the_answer_in_an_ack_is_refused(phones: list[DeskPhone]) -> None:
    caller, callee = phones
    call = caller.call(6003, body="", wait=False)
    invite = callee.expect("INVITE", call_id=call.id)
    callee.answer(invite, 200, "OK", callee.sdp())
    assert call.code == 200
    call.within("ACK", caller.sdp().replace("c=IN", "C=in"), cseq=call.cseq)
    assert not callee.expect("ACK", call_id=call.id).body
    for phone in phones:
        phone.answer(phone.expect("BYE", call_id=call.id), 200, contact=False)


@pytest.mark.parametrize("late", [False, True], ids=["offer in the INVITE", "offer in the 183"])
def test_a_reliable_answer(phones: list[DeskPhone], late: bool) -> None:
    """PRACK with the answer, or with another offer (RFC 3262 §5); UPDATE before the call is answered (RFC 3311)."""
    caller, callee = phones
    call = caller.call(6003, body="" if late else None, extra=("Supported: 100rel",), wait=False)
    invite = callee.expect("INVITE", call_id=call.id)
    callee.answer(invite, 183, "Progress", callee.sdp(), extra=reliable(1))
    progress = caller.reply("INVITE", call.cseq, call.id, least=183)
    assert progress and told(progress, callee)
    invited = call.cseq
    call.early(progress)
    cseq = call.within("PRACK", caller.sdp(), extra=(f"RAck: 1 {invited} INVITE",))
    prack = callee.expect("PRACK", call_id=call.id)
    assert told(prack, caller)
    callee.answer(prack, 200, "OK", "" if late else callee.sdp())
    answer = caller.reply("PRACK", cseq, call.id)
    assert answer and answer.code == 200 and (late or told(answer, callee))
    cseq = call.within("UPDATE", caller.sdp())
    update = callee.expect("UPDATE", call_id=call.id)
    assert told(update, caller)
    callee.answer(update, 200, "OK", callee.sdp())
    answer = caller.reply("UPDATE", cseq, call.id)
    assert answer and answer.code == 200 and told(answer, callee)
    callee.answer(invite, 200, "OK")
    final = caller.reply("INVITE", invited, call.id)
    assert final and final.code == 200
    call.within("ACK", cseq=invited)
    callee.expect("ACK", call_id=call.id)
    hang_up(call, callee)


@pytest.mark.parametrize("code", [302, 486, 488, 606])
def test_a_refusal_tells_nothing(phones: list[DeskPhone], code: int) -> None:
    """A 488 may say what would have been taken (RFC 3261 §21.4.26)."""
    caller, callee = phones
    call = caller.call(6003, wait=False)
    invite = callee.expect("INVITE", call_id=call.id)
    callee.answer(invite, code, "No", callee.sdp())
    callee.expect("ACK", call_id=call.id)
    assert call.code == code and call.final
    assert not call.final.body and not call.final.get("Content-Type")


def test_an_answer_with_the_tag_of_the_caller(phones: list[DeskPhone]) -> None:
    """rtpengine takes it for a call of one side: the caller would send straight to that phone."""
    caller, callee = phones
    call = caller.call(6003, wait=False)
    invite = callee.expect("INVITE", call_id=call.id)
    callee.answer(invite, 200, "OK", callee.sdp(), tag=tag(invite.get("From")))
    final = call.wait()
    assert final is None or not final.body


# --- several phones of a slot --------------------------------------------------------------------------------------


@pytest.fixture
def two(system: System) -> Iterator[tuple[DeskPhone, DeskPhone, DeskPhone]]:
    """A caller, and two phones of one slot."""
    with desk_phones(system, 6001, 6003) as (caller, one), desk(system, 6003) as other:
        assert other.register().code == 200
        yield caller, one, other


def progress(
    caller: DeskPhone, call: DeskCall, callee: DeskPhone, invite: Message, extra: tuple[str, ...] = ()
) -> Message:
    """Early media: the 183 as it comes to the caller."""
    callee.answer(invite, 183, "Progress", callee.sdp(), extra=extra)
    came = caller.reply("INVITE", call.cseq, call.id, least=183)
    assert came is not None and came.code == 183
    return came


def is_taken(call: DeskCall, callee: DeskPhone, invite: Message) -> None:
    """The callee's 200 comes to the caller and is acknowledged; each hears the other."""
    assert call.code == 200 and call.final
    call.within("ACK", cseq=call.cseq)
    callee.expect("ACK", call_id=call.id)
    assert hears(call.phone, call.final, callee) and hears(callee, invite, call.phone)


def hears(speaker: DeskPhone, at: Message, listener: DeskPhone) -> bool:
    """Whether one hears the other, who sends to where that message told it. What came before is passed over."""
    word = f"{speaker.rtp_port}-{time.monotonic_ns()}".encode()
    deadline = time.monotonic() + 1.5
    number = 0
    while time.monotonic() < deadline:
        number += 1
        head = b"\x80\x00" + number.to_bytes(2, "big") + (160 * number).to_bytes(4, "big") + b"desk"
        speaker.rtp.sendto(head + word.ljust(160, b"\xd5"), audio(at))
        while select.select([listener.rtp], [], [], 0.02)[0]:
            if word in listener.rtp.recv(2000):
                return True
    return False


def test_early_media_stays_with_the_first(two: tuple[DeskPhone, DeskPhone, DeskPhone]) -> None:
    """Both send early media; the second one, which said so reliably, takes the call and does not say it again."""
    caller, one, other = two
    call = caller.call(6003, extra=("Supported: 100rel",), wait=False)
    invites = [phone.expect("INVITE", call_id=call.id) for phone in (one, other)]
    early = progress(caller, call, one, invites[0])
    assert told(early, one)
    assert not progress(caller, call, other, invites[1], reliable(1)).body
    assert hears(caller, early, one) and not hears(caller, early, other)
    other.answer(invites[1], 200, "OK")
    is_taken(call, other, invites[1])
    assert call.final and told(call.final, other)
    hang_up(call, other)


def test_the_first_refuses_and_the_second_is_heard(two: tuple[DeskPhone, DeskPhone, DeskPhone]) -> None:
    caller, one, other = two
    call = caller.call(6003, wait=False)
    invites = [phone.expect("INVITE", call_id=call.id) for phone in (one, other)]
    assert progress(caller, call, one, invites[0]).body
    one.answer(invites[0], 486, "Busy Here")
    one.expect("ACK", call_id=call.id)
    assert told(progress(caller, call, other, invites[1]), other)
    other.answer(invites[1], 200, "OK", other.sdp())
    is_taken(call, other, invites[1])
    hang_up(call, other)


def test_who_is_late_does_not_take_the_media(two: tuple[DeskPhone, DeskPhone, DeskPhone]) -> None:
    """Its 183 and its 200 come after another one has taken the call."""
    caller, one, other = two
    call = caller.call(6003, wait=False)
    invites = [phone.expect("INVITE", call_id=call.id) for phone in (one, other)]
    for phone, invite in zip((one, other), invites, strict=True):
        phone.answer(invite, 180, "Ringing")
    one.answer(invites[0], 200, "OK", one.sdp())
    assert call.code == 200 and call.final
    call.within("ACK", cseq=call.cseq)
    one.expect("ACK", call_id=call.id)
    other.answer(invites[1], 183, "Progress", other.sdp())
    other.answer(invites[1], 200, "OK", other.sdp())
    late = caller.reply("INVITE", call.cseq, call.id)
    assert late is None or not late.body
    assert hears(caller, call.final, one) and hears(one, invites[0], caller)
    hang_up(call, one)


# --- over streams ------------------------------------------------------------------------------------------------


def test_what_came_without_a_length_has_one_on_a_stream(system: System) -> None:
    """Linphone leaves it out of answers without a body. DeskPhone reads a stream by the lengths that it is told."""
    with desk_phones(system, 6001, transport="tcp") as (caller,), desk_phones(system, 6003) as (callee,):
        call = caller.call(6003, wait=False)
        invite = callee.expect("INVITE", call_id=call.id)
        callee.answer(invite, 180, "Ringing", length=False)
        ringing = caller.reply("INVITE", call.cseq, call.id, least=180)
        assert ringing and ringing.code == 180
        callee.answer(invite, 183, "Progress", callee.sdp(), length=False)
        callee.answer(invite, 200, "OK", callee.sdp(), length=False)
        assert call.code == 200 and call.final and told(call.final, callee)
        call.within("ACK", cseq=call.cseq)
        callee.expect("ACK", call_id=call.id)
        cseq = call.within("BYE")
        callee.answer(callee.expect("BYE", call_id=call.id), 200, contact=False, length=False)
        answer = caller.reply("BYE", cseq, call.id)
        assert answer and answer.code == 200


def test_a_request_without_a_length_goes_to_a_stream(system: System) -> None:
    with desk_phones(system, 6001) as (caller,), desk_phones(system, 6003, transport="tcp") as (callee,):
        call = caller.call(6003, length=False, wait=False)
        invite = callee.expect("INVITE", call_id=call.id)
        assert told(invite, caller)
        callee.answer(invite, 200, "OK", callee.sdp())
        assert call.code == 200
        call.within("ACK", cseq=call.cseq, length=False)
        callee.expect("ACK", call_id=call.id)
        call.within("BYE", length=False)
        callee.answer(callee.expect("BYE", call_id=call.id), 200, contact=False)


# --- rtpengine is away -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_no_sdp_passes_while_rtpengine_is_away(system: System) -> None:
    """A new call and a re-INVITE get 503; a call that is being answered ends; one that is up goes on."""
    with desk_phones(system, 6001, 6003) as (caller, callee):
        up, _ = establish(caller, callee)
        ringing = caller.call(6003, wait=False)
        invite = callee.expect("INVITE", call_id=ringing.id)
        system.host.exec("docker", "stop", "vss-rtpengine")
        try:
            assert caller.call(6003).code == 503
            answer = up.ask("INVITE", caller.sdp())
            assert answer and answer.code == 503
            assert callee.request("INVITE", 0.1, call_id=up.id) is None
            callee.answer(invite, 200, "OK", callee.sdp())
            assert ringing.code == 200 and ringing.final and not ringing.final.body
            ringing.within("ACK", cseq=ringing.cseq)
            callee.expect("ACK", call_id=ringing.id)
            for phone in (caller, callee):
                phone.answer(phone.expect("BYE", call_id=ringing.id), 200, contact=False)
        finally:
            system.start("vss-rtpengine")
        hang_up(up, callee)
