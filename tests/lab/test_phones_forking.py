"""A slot with two phones: every order in which they ring, answer, refuse and hang up.

Whoever has two telephones on one desk, or one on the desk and one in the pocket.
"""

import re
import socket
import time
from collections.abc import Iterator, Sequence

import pytest

from sipstack.agent.message import Message, token, uri_in
from tests.lab.deskcall import DeskCall, desk, desk_phones, hang_up, tag
from tests.lab.deskphone import DeskPhone
from tests.lab.fleet import eventually, on_this_machine
from tests.lab.system import System
from tests.lab.wire import DOMAIN

SOON = 4.5  # seconds: a dead contact is waited for two of them, where its fr_timer would be ten


class Pair:
    """A caller, and two registered phones of the slot that it calls."""

    def __init__(self, system: System, caller: DeskPhone, one: DeskPhone, two: DeskPhone) -> None:
        self.system, self.caller, self.phones = system, caller, (one, two)

    def ring(self, codes: Sequence[int] = (180, 180)) -> tuple[DeskCall, list[Message]]:
        """Call; both phones say that code, 0 for nothing. Returns the call and its two INVITEs."""
        call = self.caller.call(6003, wait=False)
        invites = [phone.expect("INVITE", call_id=call.id) for phone in self.phones]
        for phone, invite, code in zip(self.phones, invites, codes, strict=True):
            if code:
                phone.answer(invite, code, "Ringing")
                assert self.caller.reply("INVITE", call.cseq, call.id, least=code)
        return call, invites

    def legs(self, call: DeskCall, invites: Sequence[Message]) -> list[DeskCall]:
        """Both phones answer at once; the dialog with each of them, in the order of the phones."""
        for phone, invite in zip(self.phones, invites, strict=True):
            phone.answer(invite, 200, "OK", phone.sdp())
        found: dict[str, DeskCall] = {}
        while len(found) < 2:
            answer = self.caller.reply("INVITE", call.cseq, call.id)
            assert answer is not None and answer.code == 200, f"{len(found)} of two answers came"
            found[tag(answer.get("To"))] = call.leg(answer)
        return [found[tag(phone.to(invite))] for phone, invite in zip(self.phones, invites, strict=True)]

    def acknowledged(self) -> tuple[list[DeskCall], list[DeskCall]]:
        """Both answer and hear their ACK: the legs as the caller knows them, and as the phones do."""
        call, invites = self.ring()
        legs = self.legs(call, invites)
        for phone, leg in zip(self.phones, legs, strict=True):
            leg.within("ACK", cseq=call.cseq)
            assert tag(phone.expect("ACK", call_id=call.id).get("To")) == tag(leg.remote)
        return legs, [DeskCall.called(phone, invite) for phone, invite in zip(self.phones, invites, strict=True)]


@pytest.fixture
def pair(system: System) -> Iterator[Pair]:
    with desk_phones(system, 6001, 6003) as (caller, one), desk(system, 6003) as two:
        assert two.register().code == 200
        yield Pair(system, caller, one, two)


def passes(side: DeskCall, other: DeskPhone, method: str = "INFO") -> None:
    """A request inside a dialog arrives at that phone, and its answer comes back."""
    cseq = side.within(method)
    request = other.receive(lambda m: m.method == method and not m.code and tag(m.get("From")) == tag(side.local))
    assert request is not None, f"no {method} came to {other.user}"
    other.answer(request, 200, contact=False)
    answer = side.phone.reply(method, cseq, side.id)
    assert answer is not None and answer.code == 200, answer and answer.first


def goes_on(system: System, call: DeskCall) -> bool:
    """Whether the proxy counts it as a call that is up (states of module dialog: 3 answered, 4 acknowledged)."""
    dialogs = system.kamcmd("dlg.list").split("h_entry:")
    return any(f"call-id: {call.id}\n" in dialog and re.search("state: [34]", dialog) for dialog in dialogs)


def on_record(system: System, call: DeskCall) -> None:
    """It is, once; what the database could not take at first is written later."""
    query = f"SELECT 1 FROM acc_cdrs WHERE callid = '{call.id}'"
    eventually(lambda: len(system.sql(query)) == 1, on_this_machine(3), "no CDR, or two")


@pytest.mark.parametrize("ender", ["caller", "called"])
@pytest.mark.parametrize("first", [0, 1])
def test_both_answer_and_each_is_a_call_of_its_own(pair: Pair, first: int, ender: str) -> None:
    """RFC 3261 §13.2.2.4. Whichever ends first, the other one goes on; with the last one the call is over."""
    legs, backs = pair.acknowledged()
    for leg, back, phone in zip(legs, backs, pair.phones, strict=True):
        passes(leg, phone)
        passes(back, pair.caller)
    for index in (first, 1 - first):
        assert goes_on(pair.system, legs[0])
        if ender == "caller":
            passes(legs[index], pair.phones[index], "BYE")
        else:
            passes(backs[index], pair.caller, "BYE")
        if index == first:
            passes(legs[1 - first], pair.phones[1 - first])
    end_what_the_proxy_ends(pair)
    assert not goes_on(pair.system, legs[0])
    on_record(pair.system, legs[0])


def test_the_answer_that_comes_first_is_the_one_with_media(pair: Pair) -> None:
    """The caller takes it for its call. Both answer at once, several times: which one is sent first is chance."""
    for _ in range(8):
        call, invites = pair.ring()
        for phone, invite in zip(pair.phones, invites, strict=True):
            phone.answer(invite, 200, "OK", phone.sdp())
        answers = [pair.caller.reply("INVITE", call.cseq, call.id) for _ in range(2)]
        assert [answer is not None and answer.code for answer in answers] == [200, 200]
        assert [bool(answer and answer.body) for answer in answers] == [True, False]
        for phone, invite in zip(pair.phones, invites, strict=True):
            own = tag(phone.to(invite))
            leg = next(call.leg(answer) for answer in answers if answer and tag(answer.get("To")) == own)
            leg.within("ACK", cseq=call.cseq)
            passes(leg, phone, "BYE")
        end_what_the_proxy_ends(pair)


def end_what_the_proxy_ends(pair: Pair) -> None:
    """It says BYE once more to both sides of the leg that it knows the call by, if another one has ended last."""
    for phone in (pair.caller, *pair.phones):
        while bye := phone.request("BYE", 0.2):
            phone.answer(bye, 481, "Unknown", contact=False)


def test_a_caller_that_ends_the_second_before_it_acknowledges_the_first(pair: Pair) -> None:
    call, invites = pair.ring()
    legs = pair.legs(call, invites)
    legs[1].within("ACK", cseq=call.cseq)
    pair.phones[1].expect("ACK", call_id=call.id)
    passes(legs[1], pair.phones[1], "BYE")
    legs[0].within("ACK", cseq=call.cseq)
    pair.phones[0].expect("ACK", call_id=call.id)
    passes(legs[0], pair.phones[0])
    hang_up(legs[0], pair.phones[0])


@pytest.mark.slow
@pytest.mark.parametrize("taken", [0, 1])
def test_an_answer_that_the_caller_ignores(pair: Pair, taken: int) -> None:
    """As many phones do, with the first or the second one. It is not left alone with its 200; the other one goes on."""
    call, invites = pair.ring()
    legs = pair.legs(call, invites)
    legs[taken].within("ACK", cseq=call.cseq)
    pair.phones[taken].expect("ACK", call_id=call.id)
    assert_told_that_it_is_over(pair.phones[1 - taken], invites[1 - taken])
    passes(legs[taken], pair.phones[taken])
    hang_up(legs[taken], pair.phones[taken])
    end_what_the_proxy_ends(pair)
    assert not goes_on(pair.system, call)
    on_record(pair.system, call)


@pytest.mark.slow
def test_a_second_answer_that_comes_late(pair: Pair) -> None:
    """Kamailio has forgotten the INVITE by then (wt_timer, five seconds)."""
    call, invites = pair.ring()
    first, second = pair.phones
    first.answer(invites[0], 200, "OK", first.sdp())
    assert call.code == 200
    call.within("ACK", cseq=call.cseq)
    second.answer(second.expect("CANCEL", call_id=call.id), 200, contact=False)
    time.sleep(6)
    assert_told_that_it_is_over(second, invites[1])
    assert pair.caller.reply("INVITE", call.cseq, call.id, 1) is None
    hang_up(call, first)


@pytest.mark.slow
def test_an_answer_to_a_call_that_was_taken_back(pair: Pair) -> None:
    """CANCEL and 200 cross, and the caller does not care any more."""
    call, invites = pair.ring()
    assert (answer := call.cancel()) and answer.code == 200
    second = pair.phones[1]
    for phone, invite in zip(pair.phones, invites, strict=True):
        phone.answer(phone.expect("CANCEL", call_id=call.id), 200, contact=False)
        phone.answer(invite, 487, "Request Terminated")
    assert call.code == 487
    time.sleep(6)
    assert_told_that_it_is_over(second, invites[1])


def assert_told_that_it_is_over(phone: DeskPhone, invite: Message) -> None:
    """A phone that repeats its 200 hears ACK and BYE soon, and not only when it gives up after 32 seconds."""
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        phone.answer(invite, 200, "OK", phone.sdp())
        if phone.request("ACK", 1, call_id=invite.get("Call-ID")):
            bye = phone.expect("BYE", call_id=invite.get("Call-ID"))
            assert bye.get("Via").startswith(f"SIP/2.0/UDP {phone.proxy[0]}:5060;")
            assert bye.get("To") == phone.to(invite)
            phone.answer(bye, 200, contact=False)
            return
    raise AssertionError("nobody has told it")


# --- phones that refuse ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("codes", "told"),
    [((486, 503), 486), ((408, 486), 486), ((486, 480), 486), ((404, 486), 486), ((480, 500), 480), ((488, 408), 488)],
)
def test_what_a_person_says_counts_more_than_that_somebody_is_not_there(
    pair: Pair, codes: tuple[int, int], told: int
) -> None:
    call, invites = pair.ring()
    for phone, invite, code in zip(pair.phones, invites, codes, strict=True):
        phone.answer(invite, code)
        phone.expect("ACK", call_id=call.id)
    assert call.code == told


def test_one_is_dead_and_the_other_one_busy(pair: Pair) -> None:
    """A contact that says nothing: a phone without power, or one that has got another address."""
    call, invites = pair.ring((0, 0))
    began = time.monotonic()
    pair.phones[1].answer(invites[1], 486, "Busy Here")
    assert call.code == 486
    assert time.monotonic() - began < SOON


def test_one_is_dead_and_the_other_one_answers(pair: Pair) -> None:
    call, invites = pair.ring((0, 180))
    time.sleep(0.5)
    pair.phones[1].answer(invites[1], 200, "OK", pair.phones[1].sdp())
    assert call.code == 200
    call.within("ACK", cseq=call.cseq)
    pair.phones[1].expect("ACK", call_id=call.id)
    hang_up(call, pair.phones[1])


def test_one_refuses_and_the_other_one_goes_on_ringing(pair: Pair) -> None:
    """Longer than a dead contact is waited for."""
    call, invites = pair.ring()
    pair.phones[0].answer(invites[0], 486, "Busy Here")
    assert call.wait(2.5) is None
    pair.phones[1].answer(invites[1], 200, "OK", pair.phones[1].sdp())
    assert call.code == 200
    call.within("ACK", cseq=call.cseq)
    hang_up(call, pair.phones[1])


def test_one_declines_for_all(pair: Pair) -> None:
    """6xx (RFC 3261 §16.7): the other one stops ringing."""
    call, invites = pair.ring()
    pair.phones[0].answer(invites[0], 603, "Decline")
    pair.phones[1].answer(pair.phones[1].expect("CANCEL", call_id=call.id), 200, contact=False)
    pair.phones[1].answer(invites[1], 487, "Request Terminated")
    assert call.code == 603


def test_one_is_forwarded_and_the_other_one_answers(pair: Pair) -> None:
    call, invites = pair.ring()
    pair.phones[0].answer(invites[0], 302, "Moved", contact=False, extra=["Contact: <sip:6004@vss.internal>"])
    pair.phones[0].expect("ACK", call_id=call.id)
    pair.phones[1].answer(invites[1], 200, "OK", pair.phones[1].sdp())
    assert call.code == 200
    call.within("ACK", cseq=call.cseq)
    hang_up(call, pair.phones[1])


# --- while they ring ---------------------------------------------------------------------------------------------


def early(call: DeskCall, phone: DeskPhone, invite: Message, **options: object) -> DeskCall:
    """The early dialog with that phone, which has just said 183."""
    phone.answer(invite, 183, "Progress", phone.sdp(), **options)  # type: ignore[arg-type]
    answer = call.phone.receive(lambda m: m.code == 183 and tag(m.get("To")) == tag(phone.to(invite)))
    assert answer is not None
    return call.leg(answer)


def test_each_of_two_that_ring_is_spoken_to(pair: Pair) -> None:
    """PRACK (RFC 3262) and UPDATE (RFC 3311), also to the one whose call another has taken."""
    call, invites = pair.ring((0, 0))
    reliable = ["Require: 100rel", "RSeq: 1"]
    legs = [early(call, phone, invite, extra=reliable) for phone, invite in zip(pair.phones, invites, strict=True)]
    for leg, phone in zip(legs, pair.phones, strict=True):
        passes(leg, phone, "PRACK")
        passes(leg, phone, "UPDATE")
    pair.phones[1].answer(invites[1], 200, "OK", pair.phones[1].sdp())
    assert call.code == 200
    passes(legs[0], pair.phones[0], "PRACK")
    call.cseq = legs[0].cseq
    call.within("ACK", cseq=2)
    hang_up(call, pair.phones[1])


def test_a_caller_ends_one_of_two_that_ring(pair: Pair) -> None:
    """BYE of an early dialog (RFC 3261 §15): the other one rings on, and is heard when it answers."""
    call, invites = pair.ring((0, 0))
    legs = [early(call, phone, invite) for phone, invite in zip(pair.phones, invites, strict=True)]
    passes(legs[0], pair.phones[0], "BYE")
    pair.phones[0].answer(invites[0], 487, "Request Terminated")
    pair.phones[1].answer(invites[1], 200, "OK", pair.phones[1].sdp())
    assert call.code == 200
    call.within("ACK", cseq=2)
    pair.phones[1].expect("ACK", call_id=call.id)
    hang_up(call, pair.phones[1])


def test_a_cancel_that_is_sent_at_once(pair: Pair) -> None:
    """The caller waits for no answer to its INVITE. Several times: which one is read first is chance."""
    for _ in range(8):
        call = pair.caller.call(pair.phones[0].number, wait=False)
        answer = call.cancel()
        assert answer is not None and answer.code == 200
        for phone in pair.phones:
            invite = phone.request("INVITE", 0.2, call_id=call.id)
            if invite is not None:
                phone.answer(invite, 180, "Ringing")
                phone.answer(phone.expect("CANCEL", call_id=call.id), 200, contact=False)
                phone.answer(invite, 487, "Request Terminated")
        assert call.code == 487


def test_a_cancel_that_comes_too_late(pair: Pair) -> None:
    """It has no effect, and is no error (RFC 3261 §9.2)."""
    call, invites = pair.ring()
    pair.phones[0].answer(invites[0], 200, "OK", pair.phones[0].sdp())
    assert call.code == 200
    assert (answer := call.cancel()) and answer.code == 200
    call.within("ACK", cseq=call.cseq)
    pair.phones[0].expect("ACK", call_id=call.id)
    hang_up(call, pair.phones[0])


# --- two phones of a slot at another proxy of a fleet ------------------------------------------------------------


@pytest.fixture
def peer(system: System) -> Iterator[DeskPhone]:
    """Another proxy, played: its address is in the table of proxies, and it speaks from their port."""
    with desk(system, 6001) as proxy:
        proxy.socket.close()
        proxy.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        proxy.socket.bind((proxy.address, 5060))
        proxy.socket.connect(proxy.proxy)
        proxy.port = 5060
        system.kamcmd("htable.sets", "proxies", proxy.address, "99")
        try:
            yield proxy
        finally:
            system.kamcmd("htable.delete", "proxies", proxy.address)


@pytest.mark.parametrize("taker", [0, 1])
def test_another_proxy_sends_one_call_for_two_phones(pair: Pair, peer: DeskPhone, taker: int) -> None:
    """Both INVITEs have one Call-ID and From tag: to module dialog that is one which comes twice (a spiral)."""
    call_id, head = token(), f"From: <sip:slot_6001@{DOMAIN}>;tag=caller"
    for phone in pair.phones:
        uri = uri_in(phone.contact)
        peer.send(f"INVITE {uri} SIP/2.0", [
            peer.via(), "Max-Forwards: 70", head, f"To: <sip:6003@{DOMAIN}>", f"Call-ID: {call_id}", "CSeq: 2 INVITE",
            f"Contact: <sip:slot_6001@{peer.address}:5070>", "P-Delivery: slot_6003",
        ], peer.sdp())  # fmt: skip
    invites = [phone.expect("INVITE", call_id=call_id) for phone in pair.phones]
    pair.phones[taker].answer(invites[taker], 200, "OK", pair.phones[taker].sdp())
    pair.phones[1 - taker].answer(invites[1 - taker], 486, "Busy Here")
    answers = [peer.reply("INVITE", 2, call_id), peer.reply("INVITE", 2, call_id)]
    taken = next(answer for answer in answers if answer is not None and answer.code == 200)
    call = DeskCall(peer)
    call.id, call.cseq, call.uri, call.local = call_id, 2, f"sip:6003@{DOMAIN}", head.removeprefix("From: ")
    call.take(taken)
    call.within("ACK", cseq=2)
    pair.phones[taker].expect("ACK", call_id=call_id)
    passes(call, pair.phones[taker])
    passes(DeskCall.called(pair.phones[taker], invites[taker]), peer)
    hang_up(call, pair.phones[taker])
    assert not goes_on(pair.system, call)
