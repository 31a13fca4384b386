"""What phones ask for beside calls: text, capabilities, events, and what a PBX behind the proxy does in a call."""

import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import pytest

from sipstack.agent.message import Message, token, uri_in
from tests.lab.attacker import within
from tests.lab.deskcall import DeskCall, desk, desk_call, desk_phones, tag
from tests.lab.deskphone import DeskPhone
from tests.lab.system import System
from tests.lab.wire import DOMAIN

SDP = "v=0\r\no=- 1 1 IN IP4 192.0.2.7\r\ns=-\r\nc=IN IP4 192.0.2.7\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"
Transport = Literal["udp", "tcp"]


def send_text(
    sender: DeskPhone, receiver: DeskPhone, text: str = "hello", code: int = 200, **options: object
) -> Message:
    """Send a MESSAGE that arrives and is answered with that code; the MESSAGE as it came in."""
    call_id = token()
    challenge = sender.ask("MESSAGE", receiver.number, text, call_id=call_id, proves=False, **options)  # type: ignore[arg-type]
    assert challenge is not None and challenge.code == 407, challenge
    proof = sender.credentials(challenge, "MESSAGE", f"sip:{receiver.number}@{DOMAIN}")
    sender.send(f"MESSAGE sip:{receiver.number}@{DOMAIN} SIP/2.0", [
        sender.via(), "Max-Forwards: 70", f"From: <sip:{sender.user}@{DOMAIN}>;tag={token()}",
        f"To: <sip:{receiver.number}@{DOMAIN}>", f"Call-ID: {call_id}", "CSeq: 2 MESSAGE",
        f"Contact: {sender.contact}", "User-Agent: desk 1.0", proof,
    ], text, content_type="text/plain")  # fmt: skip
    came = receiver.expect("MESSAGE", call_id=call_id)
    receiver.answer(came, code, contact=False)
    answer = sender.reply("MESSAGE", 2, call_id)
    assert answer is not None and answer.code == code, answer
    return came


# --- text (RFC 3428) ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("one", "other"), [("udp", "udp"), ("udp", "tcp"), ("tcp", "udp")])
def test_text_goes_from_slot_to_slot(system: System, one: Transport, other: Transport) -> None:
    """Linphone, Yealink T4x, Grandstream GXP: it comes from the slot that has proved itself, and tells nothing else."""
    with desk_phones(system, 6001, transport=one) as (anna,), desk_phones(system, 6003, transport=other) as (bert,):
        came = send_text(anna, bert, "Grüße")
        assert came.body.decode() == "Grüße"
        assert uri_in(came.get("From")) == f"sip:slot_6001@{DOMAIN}"
        # RFC 3428 §4: no Contact. Nor where the sender is, what it runs, or how it has proved itself.
        assert [came.get(name) for name in ("Contact", "User-Agent", "Proxy-Authorization")] == ["", "", ""]
        assert f":{anna.port}" not in "".join(came.all("Via"))


def test_one_phone_of_several_that_takes_a_text_is_enough(system: System) -> None:
    with desk_phones(system, 6001, 6003) as (anna, one), desk(system, 6003) as other:
        assert other.register().code == 200
        call_id = token()
        first = anna.ask("MESSAGE", 6003, "hello", call_id=call_id, timeout=0.3)
        assert first is None
        one.answer(one.expect("MESSAGE", call_id=call_id), 415, contact=False)
        other.answer(other.expect("MESSAGE", call_id=call_id), 200, contact=False)
        answer = anna.reply("MESSAGE", 2, call_id)
        assert answer is not None and answer.code == 200


def test_a_phone_says_no_to_a_text(system: System) -> None:
    with desk_phones(system, 6001, 6003) as (anna, bert):
        send_text(anna, bert, code=415)


@pytest.mark.parametrize(
    ("target", "code"),
    [(6004, 480), (9002, 405), ("+4930123456", 405), ("nobody", 404), ("slot_6004", 480), (6999, 480)],
)
def test_a_text_that_reaches_nobody_is_refused(system: System, target: str | int, code: int) -> None:
    """It is not kept for later: the sender is told (RFC 3428 §7). Asterisk and the outside take none."""
    with desk_phones(system, 6001) as (anna,):
        answer = anna.ask("MESSAGE", target, "hello")
        assert answer is not None and answer.code == code
        assert code != 405 or "MESSAGE" not in answer.get("Allow")


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/sdp", SDP),
        ("Application/SDP;x=y", SDP),
        ("text/plain", SDP),
        ("multipart/mixed;boundary=b", f"--b\r\nContent-Type: application/sdp\r\n\r\n{SDP}\r\n--b--\r\n"),
    ],
)
def test_text_brings_no_sdp(system: System, content_type: str, body: str) -> None:
    """It would say where media is, past rtpengine."""
    with desk_phones(system, 6001, 6003) as (anna, bert):
        answer = anna.ask("MESSAGE", 6003, body, content_type=content_type)
        assert answer is not None and answer.code == 415 and answer.get("Accept")
        assert bert.request("MESSAGE", 0.3) is None


def test_a_text_is_not_too_long(system: System) -> None:
    """RFC 3428 §8: 1,300 octets."""
    with desk_phones(system, 6001, 6003) as (anna, bert):
        send_text(anna, bert, "x" * 1300)
        answer = anna.ask("MESSAGE", 6003, "x" * 1301)
        assert answer is not None and answer.code == 413


def test_text_inside_a_call(system: System) -> None:
    with desk_phones(system, 6001, 6003) as (anna, bert), desk_call(anna, bert) as (call, _):
        cseq = call.within("MESSAGE", "hello", content_type="text/plain")
        came = bert.expect("MESSAGE", call_id=call.id)
        assert came.body == b"hello"
        bert.answer(came, 200, contact=False)
        answer = anna.reply("MESSAGE", cseq, call.id)
        assert answer is not None and answer.code == 200


def test_nobody_without_a_password_sends_text(system: System) -> None:
    with desk_phones(system, 6003) as (bert,), desk(system, 6001) as stranger:
        for uri in (f"sip:6003@{DOMAIN}", f"sip:slot_6003@{bert.address}:{bert.port}", f"sip:6003@{system.address}"):
            for extra in ([], [f"Route: <sip:{bert.address}:{bert.port};lr>"], ["P-Delivery: slot_6003"]):
                answer = stranger.ask("MESSAGE", 6003, "hello", uri=uri, extra=extra, proves=False)
                assert answer is not None and answer.code in (403, 407)
        assert bert.request("MESSAGE", 0.3) is None


@pytest.mark.parametrize(
    ("from_", "told"),
    [
        (f"<sip:slot_6002@{DOMAIN}>", f"sip:slot_6001@{DOMAIN}"),
        ("<sip:anna@192.0.2.7>", f"sip:slot_6001@{DOMAIN}"),
        ('"Anonymous" <sip:anonymous@anonymous.invalid>', "sip:anonymous@anonymous.invalid"),
    ],
)
def test_a_text_comes_from_who_has_proved_itself(system: System, from_: str, told: str) -> None:
    """Whatever From says; who wants to stay unknown does (RFC 3323 §4.1.1.3)."""
    with desk_phones(system, 6001, 6003) as (anna, bert):
        call_id = token()
        anna.ask("MESSAGE", 6003, "hello", from_=f"{from_};tag=x", call_id=call_id, timeout=0.3)
        came = bert.expect("MESSAGE", call_id=call_id)
        assert uri_in(came.get("From")) == told
        bert.answer(came, 200, contact=False)
        answer = anna.reply("MESSAGE", 2, call_id)
        assert answer is not None and answer.get("From") == f"{from_};tag=x"


@pytest.mark.parametrize(
    "uri",
    [
        "tel:6003",
        f"sip:6003@{DOMAIN};user=phone",
        f"sip:slot%5F6003@{DOMAIN}",
        "sip:6003@{proxy}:5060",
        "sip:slot_6003@{proxy}:5060;gr",
    ],
)
def test_a_text_goes_to_a_number_however_it_is_written(system: System, uri: str) -> None:
    """As calls do (test_phones_numbers.py); the last is the Contact that a phone is told of another one."""
    with desk_phones(system, 6001, 6003) as (anna, bert):
        call_id = token()
        anna.ask("MESSAGE", 6003, "hi", uri=uri.format(proxy=system.address), call_id=call_id, timeout=0.3)
        bert.answer(bert.expect("MESSAGE", call_id=call_id), 200, contact=False)
        answer = anna.reply("MESSAGE", 2, call_id)
        assert answer is not None and answer.code == 200


@pytest.fixture
def counts_are_forgotten(system: System) -> Iterator[None]:
    yield
    system.kamcmd("htable.flush", "messages")


@pytest.mark.usefixtures("counts_are_forgotten")
@pytest.mark.parametrize("method", ["MESSAGE", "SUBSCRIBE"])
def test_a_slot_does_not_flood_others_with_text(system: System, method: str) -> None:
    """limit_messages_a_minute: 120."""
    with desk(system, 6009) as phone:
        answers = [phone.ask(method, 6009, extra=["Event: message-summary", "Expires: 0"]) for _ in range(121)]
        refused = [answer is not None and bool(answer.get("Retry-After")) for answer in answers]
        assert refused == [False] * 120 + [True]


# --- what is not served ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["", "6003", "6004", "9002"])
def test_what_can_be_done_is_said(system: System, target: str) -> None:
    """RFC 3261 §11.2. The proxy answers for every number: nobody learns whether a phone is there."""
    with desk_phones(system, 6003) as (bert,), desk(system, 6001) as anna:
        answer = anna.ask("OPTIONS", target or "us", uri="" if target else f"sip:{DOMAIN}")
        assert answer is not None and answer.code == 200
        allowed = set(answer.get("Allow").split(", "))
        assert {"INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "REGISTER", "MESSAGE", "SUBSCRIBE", "NOTIFY"} <= allowed
        assert "PUBLISH" not in allowed
        assert answer.get("Accept") and answer.get("Supported")
        assert answer.get("Allow-Events") == "message-summary"
        assert bert.request("OPTIONS", 0.1) is None


@pytest.mark.parametrize("method", ["OPTIONS", "REGISTER"])
def test_a_request_for_the_proxy_itself_may_have_no_hop_left(system: System, method: str) -> None:
    """RFC 3261 §16.3: who answers itself forwards nothing. Session border controllers ping like that."""
    with desk(system, 6001) as phone:
        phone.send(f"{method} sip:{DOMAIN} SIP/2.0", [
            phone.via(), "Max-Forwards: 0", f"From: <sip:{phone.user}@{DOMAIN}>;tag=x",
            f"To: <sip:{phone.user}@{DOMAIN}>",
            f"Call-ID: hops-{method}", f"CSeq: 7 {method}", f"Contact: {phone.contact}",
        ])  # fmt: skip
        answer = phone.reply(method, 7, f"hops-{method}")
        assert answer is not None and answer.code == (200 if method == "OPTIONS" else 401)


@pytest.mark.parametrize(
    ("method", "event", "code", "header"),
    [
        *(
            ("SUBSCRIBE", event, 489, "Allow-Events")
            for event in (
                "presence", "dialog", "reg", "as-feature-event", "call-info", "ua-profile", "x-broadworks-hoteling",
                "message-summary.winfo", "",
            )
        ),
        ("PUBLISH", "presence", 405, "Allow"),
        ("REFER", "", 405, "Allow"),
        ("NOTIFY", "keep-alive", 200, ""),
        ("NOTIFY", "check-sync", 481, ""),
        ("NOTIFY", "message-summary", 481, ""),
        ("NOTIFY", "", 489, "Allow-Events"),
        *((method, "", 481, "") for method in ("BYE", "INFO", "UPDATE", "PRACK")),
        ("FOO", "", 501, "Allow"),
    ],
)  # fmt: skip
def test_what_is_not_served_is_refused_so_that_phones_stop(
    system: System, method: str, event: str, code: int, header: str
) -> None:
    """RFC 6665 §4.2.1.1 (489), 3261 §21.4.6 (405), §21.5.2 (501). Snom asks for dialog and presence, Polycom for
    as-feature-event and ua-profile, Cisco SPA keeps its NAT open with NOTIFY keep-alive."""
    with desk(system, 6001) as phone:
        answer = phone.ask(method, 6001, extra=[f"Event: {event}"] if event else [], proves=False)
        assert answer is not None and answer.code == code, answer
        assert not header or answer.get(header)
        assert header != "Allow" or method not in answer.get("Allow")


# --- inside a call with Asterisk ---------------------------------------------------------------------------------


@contextmanager
def call_of(phone: DeskPhone, target: str | int, **options: object) -> Iterator[DeskCall]:
    """A call to Asterisk, hung up at the end."""
    call = phone.call(target, **options)
    assert call.code == 200, call.final
    call.within("ACK", cseq=call.cseq)
    call.ask("OPTIONS")  # so that the ACK is there: a re-INVITE before it gets 491
    yield call
    answer = call.ask("BYE")
    assert answer is not None and answer.code == 200


@pytest.mark.parametrize(
    ("method", "headers", "content_type", "body", "codes"),
    [
        ("OPTIONS", [], "", "", (200,)),
        ("INFO", [], "", "", (200,)),
        ("INFO", [], "application/dtmf-relay", "Signal=5\r\nDuration=160\r\n", (200,)),
        ("INFO", [], "application/dtmf", "5", (200,)),
        ("INFO", [], "application/media_control+xml", "<media_control/>", (200,)),
        ("INFO", ["Info-Package: foo"], "text/plain", "x", (469,)),
        ("INFO", [], "application/vnd.etsi.aoc+xml", "<aoc/>", (415,)),
        ("MESSAGE", [], "text/plain", "hello", (200, 202)),
        ("NOTIFY", ["Event: talk", "Subscription-State: active"], "", "", (200, 481, 489)),
        ("NOTIFY", ["Event: refer", "Subscription-State: active"], "message/sipfrag", "SIP/2.0 100", (200, 481, 489)),
        ("SUBSCRIBE", ["Event: conference"], "", "", (489,)),
        ("UPDATE", ["Supported: timer", "Session-Expires: 90;refresher=uac"], "", "", (200,)),
        ("UPDATE", [], "application/sdp", "sdp", (200,)),
        ("INVITE", ["Supported: timer", "Session-Expires: 90;refresher=uac"], "application/sdp", "sdp", (200,)),
        ("REFER", [f"Refer-To: <sip:6003@{DOMAIN}>"], "", "", (202,)),
        ("REFER", [f"Refer-To: <sip:+4930@{DOMAIN}>"], "", "", (403,)),
        ("PUBLISH", ["Event: presence"], "", "", (405, 489)),
        ("FOO", [], "", "", (501,)),
    ],
)
def test_asterisk_answers_what_phones_ask_in_a_call(
    system: System, method: str, headers: list[str], content_type: str, body: str, codes: tuple[int, ...]
) -> None:
    """A phone that gets no answer, which ends as 408, may give up its call (RFC 5057; pjsip and JsSIP do)."""
    with desk_phones(system, 6001) as (phone,), call_of(phone, 9002) as call:
        began = time.monotonic()
        cseq = call.within(method, phone.sdp() if body == "sdp" else body, content_type=content_type, extra=headers)
        answer = phone.reply(method, cseq, call.id)
        assert answer is not None and answer.code in codes, answer
        assert time.monotonic() - began < 3.0
        if method == "INVITE":
            call.within("ACK", cseq=cseq)


@contextmanager
def called_by_asterisk(system: System, phone: DeskPhone) -> Iterator[Message]:
    """A call of Asterisk to a phone, which hears a beep: the INVITE as it came. It has ended at the end, somehow."""
    system.asterisk(f"channel originate Local/{phone.number}@transferred extension 9003@from-proxies")
    yield phone.expect("INVITE")
    system.asterisk("channel request hangup all")
    assert within(5, lambda: "0 active calls" in system.asterisk("core show channels count"))


def take(phone: DeskPhone, invite: Message) -> None:
    phone.answer(invite, 200, "OK", phone.sdp())
    phone.expect("ACK", call_id=invite.get("Call-ID"))


def ask_back(phone: DeskPhone, invite: Message, method: str, cseq: int, *extra: str) -> Message:
    """A request of the called side; its final answer."""
    call_id = invite.get("Call-ID")
    phone.send(f"{method} {uri_in(invite.get('Contact'))} SIP/2.0", [
        phone.via(), "Max-Forwards: 70", *(f"Route: {route}" for route in invite.all("Record-Route")),
        f"From: {invite.get('To')};tag={phone.tag_of(call_id)}", f"To: {invite.get('From')}", f"Call-ID: {call_id}",
        f"CSeq: {cseq} {method}", f"Contact: {phone.contact}", *extra,
    ])  # fmt: skip
    answer = phone.reply(method, cseq, call_id)
    assert answer is not None, f"no answer to {method}"
    return answer


def test_a_phone_transfers_a_call_of_asterisk_to_a_slot(system: System) -> None:
    """RFC 3515, blind: the far end hears the new phone; to the outside it is not transferred."""
    with desk_phones(system, 6001, 6003) as (anna, bert), called_by_asterisk(system, anna) as invite:
        take(anna, invite)
        assert ask_back(anna, invite, "REFER", 1, f"Refer-To: <sip:+4930123@{DOMAIN}>").code == 403
        assert ask_back(anna, invite, "REFER", 2, f"Refer-To: <sip:6003@{DOMAIN}>").code == 202
        take(bert, bert.expect("INVITE"))
        while (notify := anna.request("NOTIFY", call_id=invite.get("Call-ID"))) is not None:
            anna.answer(notify, 200)
            if b"SIP/2.0 200" in notify.body:
                break
        assert notify is not None, "the transfer has no end"
        assert ask_back(anna, invite, "BYE", 3).code == 200
        assert bert.request("BYE", 0.3) is None


def test_a_call_of_asterisk_is_picked_up_with_replaces(system: System) -> None:
    """RFC 3891: who takes over a call becomes its side, and the phone that had it is hung up."""
    with desk_phones(system, 6001, 6003) as (anna, bert), called_by_asterisk(system, bert) as invite:
        take(bert, invite)
        call_id = invite.get("Call-ID")
        replaced = f"Replaces: {call_id};to-tag={tag(invite.get('From'))};from-tag={bert.tag_of(call_id)}"
        with call_of(anna, 9002, extra=[replaced, "Require: replaces"]):
            bert.answer(bert.expect("BYE", call_id=call_id), 200)


# --- reliable provisional answers and session timers, with Asterisk ----------------------------------------------


def test_asterisk_rings_reliably(system: System) -> None:
    """RFC 3262: a phone that requires 100rel gets a 180 that it acknowledges with PRACK, and then the answer."""
    with desk_phones(system, 6001) as (phone,):
        call = phone.call("+4930123456", extra=["Require: 100rel"], wait=False)
        ringing = phone.reply("INVITE", call.cseq, call.id, least=180)
        assert ringing is not None and ringing.code == 180 and "100rel" in ringing.get("Require")
        call.take(ringing)
        rack = f"RAck: {ringing.get('RSeq')} {call.cseq} INVITE"
        invited = call.cseq
        cseq = call.within("PRACK", extra=[rack])
        answer = phone.reply("PRACK", cseq, call.id)
        assert answer is not None and answer.code == 200
        final = phone.reply("INVITE", invited, call.id)
        assert final is not None and final.code == 200
        call.take(final)
        call.within("ACK", cseq=invited)
        answer = call.ask("BYE")
        assert answer is not None and answer.code == 200


def test_a_phone_rings_reliably_when_asterisk_calls(system: System) -> None:
    with desk_phones(system, 6001) as (phone,), called_by_asterisk(system, phone) as invite:
        assert "100rel" in invite.get("Supported")
        phone.answer(invite, 183, "Progress", phone.sdp(), extra=["Require: 100rel", "RSeq: 71"])
        prack = phone.expect("PRACK", call_id=invite.get("Call-ID"))
        assert prack.get("RAck") == f"71 {invite.cseq} INVITE"
        phone.answer(prack, 200, contact=False)
        take(phone, invite)


def test_a_session_timer_is_agreed_on(system: System) -> None:
    """RFC 4028: too short a time is refused with the shortest one, a longer one is granted and refreshed."""
    with desk_phones(system, 6001) as (phone,):
        short = phone.call(9002, extra=["Supported: timer", "Session-Expires: 30"])
        assert short.final is not None and short.code == 422 and short.final.get("Min-SE") == "90"
        with call_of(phone, 9002, extra=["Supported: timer", "Session-Expires: 90;refresher=uac"]) as call:
            assert call.final is not None and call.final.get("Session-Expires") == "90;refresher=uac"
            for method, body in (("UPDATE", ""), ("INVITE", phone.sdp())):
                answer = call.ask(method, body, extra=["Supported: timer", "Session-Expires: 90;refresher=uac"])
                assert answer is not None and answer.code == 200, answer
                assert answer.get("Session-Expires") == "90;refresher=uac"
            call.within("ACK", cseq=call.cseq)


@pytest.mark.slow
def test_asterisk_refreshes_a_session(system: System) -> None:
    """RFC 4028 §10: at half of the time, by a request that comes through the proxy."""
    with (
        desk_phones(system, 6001) as (phone,),
        call_of(phone, 9002, extra=["Supported: timer", "Session-Expires: 90;refresher=uas"]) as call,
    ):
        assert call.final is not None and call.final.get("Session-Expires") == "90;refresher=uas"
        refresh = phone.receive(lambda m: not m.code and m.method in ("UPDATE", "INVITE"), 60)
        assert refresh is not None and refresh.get("Session-Expires") == "90;refresher=uac"
        body = phone.sdp() if refresh.method == "INVITE" else ""
        phone.answer(refresh, 200, body=body, extra=["Require: timer", "Session-Expires: 90;refresher=uac"])


# --- TCP ---------------------------------------------------------------------------------------------------------


def test_an_answer_opens_no_connection_to_a_client_that_has_gone(system: System) -> None:
    """What Via says is anybody's address: who could make us connect to it would scan in our name."""
    with desk_phones(system, 6003) as (bert,), desk(system, 6001, "tcp") as anna:
        call = anna.call(6003, wait=False)
        invite = bert.expect("INVITE", call_id=call.id)
        # Gone with a reset, so that its port is free to listen on.
        anna.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        anna.socket.close()
        with socket.create_server((anna.address, anna.port)) as listener:
            bert.answer(invite, 486, "Busy Here")
            bert.expect("ACK", call_id=call.id)
            listener.settimeout(1)
            with pytest.raises(TimeoutError):
                listener.accept()
