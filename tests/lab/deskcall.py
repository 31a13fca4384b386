"""A call of a DeskPhone: the caller's side, which can say anything."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sipstack.agent.message import Message, parameter, token, uri_in
from tests.lab.deskphone import ARRIVES, DeskPhone
from tests.lab.system import System
from tests.lab.wire import DOMAIN


class DeskCall:
    """What a caller knows of its call.

    Attributes:
        id, cseq: Call-ID, and the CSeq number of its last request.
        local, remote: values of From and To.
        target, route: the other side's Contact, and Route headers; from the answer on.
        final: the final answer to its INVITE; None while there is none.
    """

    def __init__(self, phone: DeskPhone) -> None:
        self.phone, self.id, self.cseq = phone, token(), 0
        self.uri = self.local = self.remote = self.target = self.branch = ""
        self.route: list[str] = []
        self.final: Message | None = None

    @classmethod
    def place(
        cls, phone: DeskPhone, target: str | int, body: str | None = None, *, uri: str = "", from_: str = "",
        extra: Sequence[str] = (), content_type: str = "application/sdp", length: bool | str = True,
        contact: str | None = None, wait: bool = True, tag: str = "",
    ) -> DeskCall:  # fmt: skip
        """Send an INVITE, answer its challenge, and (wait) return with the final answer, acknowledged if it refuses.

        target: a number; uri: the Request-URI, if that shall be another one. body: None: an offer; "": none.
        from_: From without its tag; tag: that, if it shall be a certain one. contact: the Contact header, "" for none.
        """
        call = cls(phone)
        call.uri = uri or f"sip:{target}@{DOMAIN}"
        call.local = (from_ or f"<sip:{phone.user}@{DOMAIN}>") + f";tag={tag or token()}"
        call.remote = f"<sip:{target}@{DOMAIN}>"
        offer = phone.sdp() if body is None else body
        contact = f"Contact: {phone.contact}" if contact is None else contact
        authorization = ""
        while True:
            call.cseq += 1
            call.branch = f"z9hG4bK{token()}"
            head = [phone.via(call.branch), *call._dialog("INVITE", call.cseq), contact, *extra, authorization]
            phone.send(f"INVITE {call.uri} SIP/2.0", head, offer, content_type=content_type, length=length)
            if authorization:
                break
            first = phone.reply("INVITE", call.cseq, call.id, least=200)
            assert first is not None, "no answer to an INVITE"
            if first.code != 407:
                call.take(first)
                return call
            call.acknowledge_refusal(first)
            authorization = phone.credentials(first, "INVITE", call.uri)
        if wait:
            call.wait()
        return call

    def wait(self, timeout: float = 2 * ARRIVES) -> Message | None:
        """The final answer; one that refuses is acknowledged."""
        if self.final is None and (answer := self.phone.reply("INVITE", self.cseq, self.id, timeout)):
            self.take(answer)
        return self.final

    @classmethod
    def called(cls, phone: DeskPhone, invite: Message) -> DeskCall:
        """The same call as its called side knows it, once that has answered."""
        call = cls(phone)
        call.id, call.cseq = invite.get("Call-ID"), 4000
        call.local, call.remote = phone.to(invite), invite.get("From")
        call.target = call.uri = uri_in(invite.get("Contact"))
        call.route = [f"Route: {route}" for route in invite.all("Record-Route")]
        return call

    def leg(self, answer: Message) -> DeskCall:
        """The dialog that another 2xx to the INVITE makes (RFC 3261 §13.2.2.4)."""
        other = DeskCall(self.phone)
        other.uri, other.id, other.cseq, other.local = self.uri, self.id, self.cseq, self.local
        other.take(answer)
        return other

    @property
    def code(self) -> int:
        """That of the final answer; 0: none came in time."""
        found = self.wait()
        return found.code if found else 0

    def take(self, answer: Message) -> None:
        """Go on from this answer to the INVITE."""
        self.final = answer
        if answer.code >= 300:
            self.acknowledge_refusal(answer)
            return
        self.early(answer)

    def early(self, answer: Message) -> None:
        """What follows inside the dialog of this answer, which may be a provisional one."""
        self.remote = answer.get("To")
        self.target = uri_in(answer.get("Contact")) or self.uri
        self.route = [f"Route: {route}" for route in reversed(answer.all("Record-Route"))]

    def acknowledge_refusal(self, answer: Message) -> None:
        head = [self.phone.via(self.branch), *self._dialog("ACK", answer.cseq, to=answer.get("To"))]
        self.phone.send(f"ACK {self.uri} SIP/2.0", head)

    def within(
        self, method: str, body: str = "", *, cseq: int | None = None, from_: str = "", to: str = "",
        route: Sequence[str] | None = None, target: str = "", extra: Sequence[str] = (),
        content_type: str = "application/sdp", length: bool | str = True, contact: str | None = None,
    ) -> int:  # fmt: skip
        """Send a request inside the call; returns its CSeq number, the next one if none is given."""
        if cseq is None:
            self.cseq += method != "ACK"
            cseq = self.cseq
        routes = self.route if route is None else route
        contact = f"Contact: {self.phone.contact}" if contact is None else contact
        head = [self.phone.via(), *routes, *self._dialog(method, cseq, from_, to), contact, *extra]
        first = f"{method} {target or self.target} SIP/2.0"
        self.phone.send(first, head, body, content_type=content_type, length=length)
        return cseq

    def ask(self, method: str, body: str = "", *, extra: Sequence[str] = (), target: str = "") -> Message | None:
        """Send a request inside the call and return its final answer; a challenge is answered."""
        cseq = self.within(method, body, extra=extra, target=target)
        answer = self.phone.reply(method, cseq, self.id)
        if answer is not None and answer.code in (401, 407):
            mine = self.phone.credentials(answer, method, target or self.target)
            cseq = self.within(method, body, extra=[*extra, mine], target=target)
            answer = self.phone.reply(method, cseq, self.id)
        return answer

    def cancel(self) -> Message | None:
        """Take the INVITE back; the answer to the CANCEL."""
        self.phone.send(f"CANCEL {self.uri} SIP/2.0", [self.phone.via(self.branch), *self._dialog("CANCEL", self.cseq)])
        return self.phone.reply("CANCEL", self.cseq, self.id)

    def _dialog(self, method: str, cseq: int, from_: str = "", to: str = "") -> list[str]:
        me, other = f"From: {from_ or self.local}", f"To: {to or self.remote}"
        return ["Max-Forwards: 70", me, other, f"Call-ID: {self.id}", f"CSeq: {cseq} {method}"]


def hang_up(call: DeskCall, callee: DeskPhone) -> None:
    """BYE of the caller, which arrives and is answered."""
    cseq = call.within("BYE")
    callee.answer(callee.expect("BYE", call_id=call.id), 200, contact=False)
    answer = call.phone.reply("BYE", cseq, call.id)
    assert answer is not None and answer.code == 200, answer and answer.first


def audio(message: Message) -> tuple[str, int]:
    """Address and port of the first audio stream that a body names; ("", 0) if it has none."""
    text = message.body.decode("utf-8", "replace")
    address, port = (
        re.search(r"^c=IN IP4 ([\d.]+)", text, re.MULTILINE),
        re.search(r"^m=audio (\d+)", text, re.MULTILINE),
    )
    return (address[1] if address else "", int(port[1]) if port else 0)


def tells(message: Message, phone: DeskPhone) -> bool:
    """Whether its body says where a phone is, or where its media is."""
    text = message.body.decode("utf-8", "replace")
    return any(re.search(rf"(?<![\d.]){re.escape(where)}(?![\d.])", text) for where in {phone.address, phone.says})


def tag(header: str) -> str:
    """The tag of a From or To header's value; "" if it has none."""
    return parameter(header, "tag")


def desk(system: System, number: int, transport: str = "udp", *, says: str = "") -> DeskPhone:
    """A phone of that slot at the system's proxy."""
    return DeskPhone(system.address, number, system.password(number), transport, says=says)


@contextmanager
def desk_phones(system: System, *numbers: int, transport: str = "udp") -> Iterator[list[DeskPhone]]:
    """A registered phone of each slot; at the end none of them has a binding."""
    phones = [desk(system, number, transport) for number in numbers]
    try:
        for phone in phones:
            assert phone.unregister().code == 200
            assert phone.register().code == 200
        yield phones
    finally:
        for phone in phones:
            with phone:
                phone.unregister()


@contextmanager
def desk_call(caller: DeskPhone, callee: DeskPhone, **options: object) -> Iterator[tuple[DeskCall, Message]]:
    """A call that is up, with the INVITE as it came to the callee; it is hung up at the end."""
    call, invite = establish(caller, callee, **options)
    yield call, invite
    hang_up(call, callee)


def establish(caller: DeskPhone, callee: DeskPhone, **options: object) -> tuple[DeskCall, Message]:
    """Call, ring, answer, acknowledge. `options` are those of DeskCall.place."""
    call = caller.call(callee.number, wait=False, **options)
    assert call.final is None, call.final and call.final.first
    invite = callee.expect("INVITE", call_id=call.id)
    callee.answer(invite, 180, "Ringing")
    callee.answer(invite, 200, "OK", callee.sdp())
    assert call.code == 200, call.final and call.final.first
    call.within("ACK", cseq=call.cseq)
    callee.expect("ACK", call_id=call.id)
    return call, invite


def ring(caller: DeskPhone, callee: DeskPhone, target: str | int = "", **options: object) -> tuple[DeskCall, Message]:
    """A call that rings, with the INVITE as the called phone has it."""
    call = caller.call(target or callee.number, wait=False, **options)
    assert call.final is None, call.final and call.final.first
    return call, callee.expect("INVITE", call_id=call.id)


def turn_down(call: DeskCall, callee: DeskPhone, invite: Message) -> Message:
    """The called phone is busy; the answer as the caller gets it."""
    callee.answer(invite, 486, "Busy Here")
    callee.expect("ACK", call_id=call.id)
    assert call.code == 486
    assert call.final is not None
    return call.final
