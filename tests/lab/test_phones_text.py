"""What phones write around a message and into what is for people to read (RFC 3261 §7)."""

from collections.abc import Callable, Iterator

import pytest

from sipstack.agent.message import Message
from tests.lab.deskcall import DeskCall, desk_phones, ring, turn_down
from tests.lab.deskphone import DeskPhone
from tests.lab.system import System
from tests.lab.wire import DOMAIN

Change = Callable[[bytes], bytes]


class Writer(DeskPhone):
    """A phone that changes what it sends.

    Attributes:
        change: makes of a message what is sent.
    """

    change: Change = staticmethod(lambda octets: octets)

    def send_raw(self, octets: bytes) -> None:
        super().send_raw(self.change(octets))


@pytest.fixture
def writer(system: System) -> Iterator[Writer]:
    with Writer(system.address, 6001, system.password(6001)) as phone:
        yield phone


@pytest.fixture
def other(system: System) -> Iterator[DeskPhone]:
    with desk_phones(system, 6003) as (phone,):
        yield phone


def header(line: bytes) -> Change:
    """Adds a header."""
    return lambda octets: octets.replace(b"Max-Forwards", line + b"\r\nMax-Forwards", 1)


def rung(caller: DeskPhone, callee: DeskPhone) -> tuple[DeskCall, Message]:
    """A call that the callee refuses, and the INVITE as it came there."""
    call, invite = ring(caller, callee)
    turn_down(call, callee, invite)
    return call, invite


LATIN_1: dict[str, Change] = {
    "From": lambda octets: octets.replace(b"From: <", b'From: "J\xfcrgen" <'),
    "From, without quotes": lambda octets: octets.replace(b"From: <", b"From: J\xfcrgen <"),
    "To": lambda octets: octets.replace(b"To: <", b'To: "B\xfcro 3" <'),
    "Contact": lambda octets: octets.replace(b"Contact: <", b'Contact: "J\xfcrgen" <'),
    "User-Agent": header(b"User-Agent: T\xe9l\xe9phone/1.0"),
    "an identity": header(f'P-Preferred-Identity: "J\xfcrgen" <sip:slot_6001@{DOMAIN}>'.encode("latin-1")),
}


@pytest.mark.parametrize("where", LATIN_1)
def test_a_name_in_an_older_alphabet_is_left_out(system: System, writer: Writer, other: DeskPhone, where: str) -> None:
    writer.change = LATIN_1[where]
    assert writer.register().code == 200
    call, invite = rung(writer, other)
    assert b"\xfc" not in other.heard[-1] and invite.get("From").startswith(f"<sip:slot_6001@{DOMAIN}>")
    missed = f"SELECT src_user, dst_user FROM missed_calls WHERE callid = '{call.id}'"
    assert system.sql(missed) == [["slot_6001", "slot_6003"]]
    assert writer.register(0).code == 200


@pytest.mark.parametrize(
    "change",
    [
        lambda octets: octets.replace(b"Busy Here", b"Occup\xe9"),
        lambda octets: octets.replace(b"To: <", b'To: "B\xfcro" <'),
        lambda octets: b"\r\n\r\n" + octets,
    ],
    ids=["reason", "name", "empty lines before"],
)
def test_an_answer_arrives(system: System, writer: Writer, change: Change) -> None:
    with desk_phones(system, 6003) as (caller,):
        assert writer.register().code == 200
        writer.change = change
        rung(caller, writer)
        assert caller.heard[-1].startswith(b"SIP/2.0 486 ")
        assert writer.register(0).code == 200


@pytest.mark.parametrize(
    "change",
    [
        lambda octets: octets.replace(b"slot_6001", b"slot_6001\xfc"),
        lambda octets: octets.replace(b";tag=", b";tag=\xfc"),
        header(b"X-Name: \xfc"),
        header(b"Subject: \xfc"),
        lambda octets: octets.replace(b"From: <", b'From: "\xfc\x01" <'),
        lambda octets: octets.replace(b"From: <", b'From: "\xc0\xaf" <'),
        lambda octets: octets.replace(b"From: <", b'From: "\xfc\0" <'),
    ],
    ids=["user", "tag", "another header", "subject", "a control character", "overlong", "NUL"],
)
def test_what_is_not_for_people_is_refused(writer: Writer, other: DeskPhone, change: Change) -> None:
    writer.change = change
    assert writer.call(other.number).code == 400
    assert other.request("INVITE", 0.3) is None


def test_empty_lines_before_a_request_go(writer: Writer, other: DeskPhone) -> None:
    writer.change = lambda octets: b"\r\n\r\n" + octets
    assert writer.register().code == 200
    rung(writer, other)
    assert all(octets[:1].isalpha() for octets in other.heard)
    assert writer.register(0).code == 200


@pytest.mark.parametrize(("old", "new"), [(b" SIP/2.0\r\n", b"  SIP/2.0\r\n"), (b" SIP/2.0\r\n", b" SIP/2.0 \r\n")])
def test_a_request_line_with_more_spaces_is_refused(writer: Writer, other: DeskPhone, old: bytes, new: bytes) -> None:
    """What others read otherwise is not sent on."""
    writer.change = lambda octets: octets.replace(old, new, 1)
    assert writer.call(other.number).code == 400
    assert other.request("INVITE", 0.3) is None
