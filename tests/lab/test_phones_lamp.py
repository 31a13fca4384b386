"""The lamp that says that a message waits (RFC 3842): a phone, the proxy, and a mailbox of the demo's Asterisk."""

import re
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import pytest

from sipstack.agent.message import Message, token
from tests.lab.deskcall import desk, desk_phones, tag
from tests.lab.deskphone import ARRIVES, DeskPhone
from tests.lab.outage import wait_for_proxy
from tests.lab.system import System
from tests.lab.wire import DOMAIN

EVENT = "Event: message-summary"
ACCEPT = "Accept: application/simple-message-summary"


@pytest.fixture
def mailbox(system: System) -> Iterator[None]:
    """Mailboxes are empty before and after a test that leaves messages."""
    for number in (6001, 6003):
        empty(system, number)
    yield
    for number in (6001, 6003):
        empty(system, number)


def empty(system: System, number: int) -> None:
    """Remove all messages of a mailbox, as its owner would: whoever watches it is told."""
    for message in re.findall(r"\b\d+-[0-9a-f]{8}\b", system.asterisk(f"voicemail show mailbox {number} default")):
        system.asterisk(f"voicemail remove {number} default INBOX {message}")


def leave_message(phone: DeskPhone) -> None:
    """Leave a message in the slot's own mailbox: half a second of sound."""
    call = phone.call(9005)
    assert call.code == 200, call.final
    call.within("ACK", cseq=call.cseq)
    assert call.final is not None
    found = re.search(r"c=IN IP4 (\S+)[\s\S]*m=audio (\d+)", call.final.body.decode())
    assert found
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wait:
        wait.settimeout(0.02)
        for number in range(30):
            head = bytes([0x80, 0, *number.to_bytes(2), *(number * 160).to_bytes(4), 0, 0, 0, 9])
            phone.rtp.sendto(head + bytes([0x20, 0xA0] * 80), (found[1], int(found[2])))
            time.sleep(0.02)
    answer = call.ask("BYE")
    assert answer is not None and answer.code == 200


class Subscription:
    """A phone's subscription to a mailbox, its own if no other is named. event: the header."""

    def __init__(
        self, phone: DeskPhone, number: int | str = 0, expires: int = 300, uri: str = "", event: str = EVENT
    ) -> None:
        self.phone, self.id, self.cseq, self.event = phone, token(), 0, event
        self.me = f"<sip:{phone.user}@{DOMAIN}>;tag={token()}"
        self.other = f"<sip:{number or phone.number}@{DOMAIN}>"
        self.uri = uri or f"sip:{number or phone.number}@{DOMAIN}"
        self.answer = self.ask(expires)

    def ask(self, expires: int, extra: Sequence[str] = (), proves: bool = True) -> Message:
        """SUBSCRIBE (again), with the Routes and the target that were told; the final answer."""
        answer = self.phone.ask(
            "SUBSCRIBE", "", uri=self.uri, from_=self.me, to=self.other, call_id=self.id, cseq=self.cseq + 1,
            extra=[self.event, ACCEPT, f"Expires: {expires}", *extra], proves=proves,
        )  # fmt: skip
        assert answer is not None, "no answer to SUBSCRIBE"
        self.cseq = answer.cseq
        if answer.code == 200:
            self.other = answer.get("To")
            self.uri = answer.get("Contact").strip("<>")
        return answer

    def notified(self, timeout: float = ARRIVES) -> Message | None:
        """The next NOTIFY of this subscription, which is answered."""
        notify = self.phone.request("NOTIFY", timeout, call_id=self.id)
        if notify is not None:
            self.phone.answer(notify, 200)
        return notify

    def lamp(self, on: bool) -> bool:
        """Whether it is told that messages wait, or that none do."""
        wanted = b"Messages-Waiting: " + (b"yes" if on else b"no")
        while (notify := self.notified()) is not None:
            if wanted in notify.body:
                return True
        return False

    def end(self) -> None:
        assert self.ask(0).code == 200


@contextmanager
def subscribed(phone: DeskPhone) -> Iterator[Subscription]:
    """A phone that has subscribed and has been told that no message waits."""
    subscription = Subscription(phone)
    assert subscription.answer.code == 200, subscription.answer.first
    assert subscription.lamp(on=False)
    yield subscription
    subscription.end()


@pytest.mark.usefixtures("mailbox")
@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_a_message_turns_the_lamp_on_and_its_removal_off(system: System, transport: str) -> None:
    """Yealink, Grandstream, Snom, Cisco: each has a key "voice mail" with a lamp (RFC 3842 §3)."""
    with desk_phones(system, 6001, transport=transport) as (phone,), subscribed(phone) as subscription:
        leave_message(phone)
        assert subscription.lamp(on=True)
        empty(system, 6001)
        assert subscription.lamp(on=False)


@pytest.mark.usefixtures("mailbox")
@pytest.mark.parametrize("transport", ["udp", pytest.param("tcp", marks=pytest.mark.slow)])
def test_the_lamp_of_a_pjsua2_phone(system: System, transport: Literal["udp", "tcp"]) -> None:
    with system.phone(6003, transport=transport) as phone, desk(system, 6003) as other:
        phone.register(check=True)
        phone.watch_lamp()
        phone.wait_lamp(False)
        leave_message(other)
        phone.wait_lamp(True)
        empty(system, 6003)
        phone.wait_lamp(False)


def test_a_subscription_goes_on_and_ends(system: System) -> None:
    """The second SUBSCRIBE goes to the Contact that was told, with and without the Route (RFC 6665 §4.1.2.2)."""
    with desk_phones(system, 6001) as (phone,):
        subscription = Subscription(phone)
        assert subscription.lamp(on=False)
        assert subscription.ask(120, [f"Route: {subscription.answer.get('Record-Route')}"]).code == 200
        again = subscription.notified()
        assert again is not None and "active" in again.get("Subscription-State")
        assert subscription.ask(120).code == 200
        assert subscription.notified() is not None
        assert subscription.ask(0).code == 200
        last = subscription.notified()
        assert last is not None and "terminated" in last.get("Subscription-State")
        # What has ended is not known any more: the phone subscribes anew.
        assert subscription.ask(120).code == 481


@pytest.mark.slow
@pytest.mark.usefixtures("mailbox")
def test_the_lamp_works_on_after_a_restart_of_the_proxy(system: System) -> None:
    with desk_phones(system, 6001) as (phone,), subscribed(phone) as subscription:
        system.host.exec("docker", "restart", "vss-kamailio", timeout=60)
        wait_for_proxy(system)
        assert subscription.ask(120).code == 200
        assert subscription.lamp(on=False)
        leave_message(phone)
        assert subscription.lamp(on=True)


@pytest.mark.parametrize("target", ["9006", "*97", "slot_6001", "voicemail", ""])
def test_whatever_number_a_phone_subscribes_at_it_is_its_own_mailbox(system: System, target: str) -> None:
    """Yealink ("subscribe MWI to voice mail") asks for the number of the voice box, Snom for its own address."""
    with desk_phones(system, 6001) as (phone,):
        subscription = Subscription(phone, target or "nobody", uri="" if target else f"sip:{DOMAIN}")
        assert subscription.answer.code == 200
        assert subscription.lamp(on=False)
        subscription.end()


@pytest.mark.parametrize("header", ["o: message-summary", "Event: message-summary;id=7", "EVENT:message-summary ;x"])
def test_an_event_is_read_however_it_is_written(system: System, header: str) -> None:
    with desk_phones(system, 6001) as (phone,):
        subscription = Subscription(phone, event=header)
        assert subscription.answer.code == 200
        assert subscription.lamp(on=False)
        subscription.end()


def test_what_is_told_unasked_reaches_all_phones_of_a_slot(system: System) -> None:
    """A gateway whose endpoint has `mailboxes` tells without a subscription (RFC 3842 §3.10 speaks of others)."""
    with desk_phones(system, 6001) as (one,), desk(system, 6001, "tcp") as other, desk(system, 6003) as stranger:
        assert other.register().code == 200 and stranger.register().code == 200
        system.asterisk(f"pjsip send notify lamp-on uri sip:6001@{system.address}:5060")
        for phone in (one, other):
            notify = phone.expect("NOTIFY")
            assert b"Messages-Waiting: yes" in notify.body
            phone.answer(notify, 200)
        assert stranger.request("NOTIFY", 0.3) is None
        stranger.unregister()


@pytest.mark.usefixtures("mailbox")
def test_a_phone_that_has_a_new_address_is_told_there(system: System) -> None:
    """After a NAT has forgotten it, or a new start with its subscriptions kept: it is told where it is now."""
    with desk_phones(system, 6001) as (phone,):
        subscription = Subscription(phone)
        assert subscription.lamp(on=False)
        phone.unregister()
        with desk(system, 6001) as moved:
            assert moved.register().code == 200
            leave_message(moved)
            notify = moved.expect("NOTIFY", call_id=subscription.id)
            assert b"Messages-Waiting: yes" in notify.body
            moved.answer(notify, 200)


def test_only_the_phone_that_has_subscribed_is_told_of_its_subscription(system: System) -> None:
    """Others of the same slot do not know it, and some would take it for a message to them."""
    with (
        desk_phones(system, 6001) as (one,),
        desk(system, 6001) as two,
        desk(system, 6001, "tcp") as three,
    ):
        assert two.register().code == 200 and three.register().code == 200
        for phone, others in ((one, (two, three)), (two, (one, three)), (three, (one, two))):
            with subscribed(phone) as it:
                assert [other.request("NOTIFY", 0.1, call_id=it.id) for other in others] == [None, None]


# --- who gets nothing --------------------------------------------------------------------------------------------


def test_nobody_watches_the_mailbox_of_another_slot(system: System) -> None:
    with desk_phones(system, 6001) as (phone,):
        assert Subscription(phone, 6003).answer.code == 403


@pytest.mark.usefixtures("mailbox")
def test_a_stranger_neither_begins_a_subscription_nor_ends_one(system: System) -> None:
    """It knows all of the subscription and sends from anywhere; the phone goes on being told."""
    with desk_phones(system, 6001) as (phone,), subscribed(phone) as subscription, desk(system, 6003) as stranger:
        for uri in (
            f"sip:6001@{DOMAIN}",
            subscription.uri,
            f"sip:6001@{phone.address}:{phone.port}",
            "sip:6001@127.0.0.1:5080",
        ):
            for route in (
                [],
                [f"Route: {subscription.answer.get('Record-Route')}"],
                ["Route: <sip:127.0.0.1:5080;lr>"],
            ):
                for to in (f"<sip:6001@{DOMAIN}>", subscription.other):
                    answer = stranger.ask(
                        "SUBSCRIBE", "", uri=uri, from_=subscription.me, to=to, call_id=subscription.id,
                        cseq=90, extra=[EVENT, "Expires: 0", *route], proves=False,
                    )  # fmt: skip
                    assert answer is not None and answer.code in (403, 407), answer
        leave_message(phone)
        assert subscription.lamp(on=True)


def test_what_a_stranger_tells_reaches_nobody(system: System) -> None:
    """A NOTIFY comes from a gateway only, whatever tags, Routes and targets it says (RFC 3842 §5: turning on a lamp
    costs a call to the voice box)."""
    with desk_phones(system, 6001) as (phone,), subscribed(phone) as subscription, desk(system, 6003) as stranger:
        body = "Messages-Waiting: yes\r\n"
        for uri in (f"sip:6001@{DOMAIN}", f"sip:slot_6001@{phone.address}:{phone.port}"):
            for to in (f"<sip:slot_6001@{DOMAIN}>", subscription.me):
                for extra in ([], [f"Route: {subscription.answer.get('Record-Route')}"], ["P-Delivery: slot_6001"]):
                    answer = stranger.ask(
                        "NOTIFY", "", body, uri=uri, from_=subscription.other, to=to, call_id=subscription.id,
                        extra=[EVENT, "Subscription-State: active", *extra],
                        content_type="application/simple-message-summary",
                    )  # fmt: skip
                    assert answer is not None and answer.code == 481, answer
        assert phone.request("NOTIFY", 0.3) is None


@pytest.mark.usefixtures("mailbox")
def test_a_phone_learns_nothing_of_the_gateway(system: System) -> None:
    with desk_phones(system, 6001) as (phone,), subscribed(phone) as subscription:
        leave_message(phone)
        assert subscription.lamp(on=True)
        assert tag(subscription.other)
        for message in phone.heard:
            if b"SUBSCRIBE" in message or b"NOTIFY" in message:
                assert b"127.0.0.1" not in message and b"5080" not in message and b"Server:" not in message, message
