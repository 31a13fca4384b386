"""Registrations as phones say them: 200 means bound and reachable, and what is dead gives way to what lives."""

import re
import time

import pytest

from sipstack.agent.message import Message
from tests.lab.deskcall import desk
from tests.lab.deskphone import DeskPhone
from tests.lab.system import System

INSTANCE = "<urn:uuid:5f0c1c2e-7d43-4c0f-9d0e-3b1a6e2f9a10>"
LONG = "p" * 300  # as of a phone behind a gateway that writes what it knows into its Contact


@pytest.fixture(autouse=True)
def nobody_registered(system: System) -> None:
    with desk(system, 6002) as phone:
        assert phone.unregister().code == 200


def contacts(answer: Message) -> list[str]:
    """The URIs of an answer's Contacts."""
    return [uri for value in answer.all("Contact") for uri in re.findall(r"<([^>]+)>(?=;)", value)]


def bound(system: System, number: int) -> list[str]:
    """The contacts of a slot, as PostgreSQL has them, the oldest first."""
    rows = system.sql(f"SELECT contact FROM location WHERE username = 'slot_{number}' ORDER BY id")
    return [row[0] for row in rows]


def rings(system: System, *phones: DeskPhone) -> list[bool]:
    """Which of these phones, of one slot, are rung by a call to it; all that are rung refuse."""
    with desk(system, 6001) as caller:
        call = caller.call(phones[0].number, wait=False)
        invites = [phone.request("INVITE", 2.0, call_id=call.id) for phone in phones]
        for phone, invite in zip(phones, invites, strict=True):
            if invite is not None:
                phone.answer(invite, 486, "Busy Here", contact=False)
        assert call.code in (480, 486), call.final and call.final.first
        return [invite is not None for invite in invites]


# --- 200 means bound ---------------------------------------------------------------------------------------------

ODD = {
    "reg-id 0 (RFC 5626 §4.1 begins at 1)": f'<{{uri}}>;reg-id=0;+sip.instance="{INSTANCE}"',
    "a reg-id that is no number": f'<{{uri}}>;reg-id=abc;+sip.instance="{INSTANCE}"',
    "a huge reg-id": f'<{{uri}}>;reg-id=4294967296;+sip.instance="{INSTANCE}"',
    "reg-id and no instance": "<{uri}>;reg-id=1",
    "instance and no reg-id": f'<{{uri}}>;+sip.instance="{INSTANCE}"',
    "an instance that is no URN": '<{uri}>;+sip.instance="<00A859FF1234>"',
    "an empty instance": '<{uri}>;+sip.instance="<>"',
    "q above 1": "<{uri}>;q=5",
    "q that is no number": "<{uri}>;q=high",
    "methods without INVITE": '<{uri}>;methods="MESSAGE, OPTIONS"',
    "methods that nobody knows": '<{uri}>;methods="FOO, BAR"',
    "expires that is no number": "<{uri}>;expires=soon",
    "expires below 0": "<{uri}>;expires=-1",
    "huge expires": "<{uri}>;expires=99999999999",
    "2**32 - 1": "<{uri}>;expires=4294967295",
    "a scheme in capitals": "<SIP:{rest}>",
    "parameters in capitals": "<{uri};Transport=UDP>;EXPIRES=300",
    "a quoted name": '"Desk \\"1\\", 2nd floor" <{uri}>;expires=300',
    "a quoted name that holds a contact": '"Last, First; <x@y>" <{uri}>',
    "q with a dot and no digit": "<{uri}>;q=0.",
    "no brackets": "{uri};expires=300",
    "URI parameters": "<{uri};ob;lr;user=phone;x-what=1>",
    "unknown parameters": "<{uri}>;mobility=fixed;+g.3gpp.icsi-ref=\"urn%3Aurn-7\";x",
    "a long one": f"<{{uri}};x-{LONG}=1>",
    "an escaped user": "<sip:%73lot%2B1@{where}>",
    "no user": "<sip:{where}>",
}  # fmt: skip


def odd(phone: DeskPhone, what: str) -> str:
    uri = phone.contact.strip("<>")
    return ODD[what].format(uri=uri, rest=uri.removeprefix("sip:"), where=f"{phone.address}:{phone.port}")


@pytest.mark.parametrize("what", ODD)
def test_a_phone_that_is_told_200_is_bound(system: System, what: str) -> None:
    with desk(system, 6002) as phone:
        answer = phone.register(contacts=[odd(phone, what)])
        assert answer.code in (200, 400), answer.first
        here = [uri for uri in contacts(phone.register(contacts=[])) if f"{phone.address}:{phone.port}" in uri]
        assert len(here) == (answer.code == 200)
        assert len(contacts(answer)) == len(here)


@pytest.mark.parametrize("what", ["reg-id 0 (RFC 5626 §4.1 begins at 1)", "methods without INVITE", "a long one"])
def test_a_phone_that_is_bound_is_rung(system: System, what: str) -> None:
    with desk(system, 6002) as phone:
        assert phone.register(contacts=[odd(phone, what)]).code == 200
        assert rings(system, phone) == [True]


@pytest.mark.parametrize("transport", ["tls", "ws"])
def test_a_phone_that_says_a_transport_that_is_not_served_is_called_by_its_own(system: System, transport: str) -> None:
    with desk(system, 6002) as phone:
        uri = phone.contact.strip("<>")
        assert phone.register(contacts=[f"<{uri};transport={transport}>"]).code == 200
        assert rings(system, phone) == [True]
        assert phone.register(0, contacts=["*"]).code == 200


@pytest.mark.parametrize("expires", [2**32 - 1, 2**32, 2**32 + 1, 10**14])
def test_a_phone_that_wants_to_be_bound_for_ever(system: System, expires: int) -> None:
    """RFC 3261 §20.19: what is above 2**32 - 1 is malformed."""
    with desk(system, 6002) as phone:
        code = phone.register(expires).code
        assert code == 200 if expires < 2**32 else code in (200, 400)
        assert len(bound(system, 6002)) == (code == 200)
        assert phone.unregister().code == 200


def test_a_phone_that_allows_no_invite_is_called(system: System) -> None:
    """A list that its maker forgot to extend: the phone itself says what it takes."""
    with desk(system, 6002) as phone:
        assert phone.register(extra=["Allow: MESSAGE, NOTIFY, BYE"]).code == 200
        assert rings(system, phone) == [True]


def test_a_registrar_looks_at_no_dialog(system: System) -> None:
    """RFC 3261 §10.2: phones repeat the To of the answer before, with its tag."""
    with desk(system, 6002) as phone:
        phone.register()
        assert phone.register(to_tag=";tag=as1b2c3d").code == 200
        assert len(bound(system, 6002)) == 1


def test_several_contacts_are_several_bindings(system: System) -> None:
    with desk(system, 6002) as phone, desk(system, 6002) as other:
        third = f"<sip:b@{phone.address}:9>"
        answer = phone.register(contacts=[f"{phone.contact};q=0.5, {other.contact};expires=600", third])
        assert answer.code == 200
        assert len(contacts(answer)) == 3
        answer = phone.register(contacts=[f"{third};expires=0", phone.contact])
        assert sorted(contacts(answer)) == sorted(one.contact.strip("<>") for one in (phone, other))
        assert rings(system, phone, other) == [True, True]
        answer = phone.register(contacts=[f"{phone.contact};expires=0, {other.contact}"])
        assert contacts(answer) == [other.contact.strip("<>")]


def test_contacts_that_share_an_instance_are_all_bound(system: System) -> None:
    """A phone that can be reached over UDP and TCP says both."""
    with desk(system, 6002) as phone:
        first, second = phone.contact, phone.contact.replace(">", ";transport=tcp>")
        answer = phone.register(
            contacts=[f'{first};+sip.instance="{INSTANCE}"', f'{second};+sip.instance="{INSTANCE}"']
        )
        assert answer.code == 200
        assert sorted(contacts(answer)) == sorted(uri.strip("<>") for uri in (first, second))


UNFIT = {
    "a parameter without its semicolon": "<{uri}transport=udp>",
    "port 0": "<sip:6002@{address}:0>",
    "port 70000": "<sip:6002@{address}:70000>",
    "no host": "<sip:6002@>",
    "a blank": "<sip:6002@{address}:{port} ;ob>",
    "a header that is cut out": '<sip:6002@{address};m;q="x"addr={proxy}>;reg-id=0',
    "a bracket inside": "<sip:6002@{address}:{port};x=<y>",
}


@pytest.mark.parametrize("what", UNFIT)
def test_a_contact_that_others_cannot_read_is_refused(system: System, what: str) -> None:
    """Stored, it would be told in each answer to the phones of the slot."""
    with desk(system, 6002) as phone:
        said = {"uri": phone.contact.strip("<>"), "address": phone.address, "port": phone.port, "proxy": system.address}
        assert phone.register(contacts=[UNFIT[what].format_map(said)]).code in (400, 403)
        assert not bound(system, 6002)


@pytest.mark.parametrize("header", ['<{uri}>;received="sip:{proxy}:5432"', "<{uri};received=sip:{proxy}:5432>"])
def test_where_a_phone_is_received_from_is_not_its_own_to_say(system: System, header: str) -> None:
    with desk(system, 6002) as phone:
        contact = header.format(uri=phone.contact.strip("<>"), proxy=system.address)
        assert phone.register(contacts=[contact]).code == 403
        assert not bound(system, 6002)


def test_an_answer_fits_into_a_datagram(system: System) -> None:
    """RFC 3261 §18.1.1: what is longer than 1300 octets is cut into pieces, which some networks lose."""
    phones = [desk(system, 6002) for _ in range(6)]
    long = [phone.contact.replace(">", f";x={LONG}>") for phone in phones]
    for phone, contact in zip(phones, long, strict=True):
        assert phone.register(contacts=[contact]).code == 200
    for phone, contact in zip(phones, long, strict=True):
        with phone:
            answer = phone.register(contacts=[contact])
            assert contacts(answer) == [contact.strip("<>")]
            assert len(phone.heard[-1]) < 1300
    assert len(bound(system, 6002)) == 6


# --- one phone, one binding --------------------------------------------------------------------------------------


def test_a_phone_begins_its_cseq_again_and_keeps_its_call_id(system: System) -> None:
    """Its Call-ID is made of its serial number: Cisco SPA, some Panasonic."""
    with desk(system, 6002) as phone:
        for _ in range(3):
            assert phone.register(call_id="00085d1a2b3c@desk").code == 200
        assert phone.register(call_id="00085d1a2b3c@desk", cseq=1).code == 200
        assert len(bound(system, 6002)) == 1
        assert rings(system, phone) == [True]


def test_a_phone_comes_back_with_the_same_contact_and_another_call_id(system: System) -> None:
    """It is the same binding: refreshed, and not another one in its place."""
    with desk(system, 6002) as phone:
        first: list[str] = []
        for call_id in ("a", "b", "c"):
            answer = phone.register(call_id=call_id)
            assert (answer.code, len(contacts(answer))) == (200, 1)
            ((ruid, said),) = system.sql("SELECT ruid, callid FROM location WHERE username = 'slot_6002'")
            assert (ruid, said) == (*(first or [ruid]), call_id)
            first = [ruid]
        assert rings(system, phone) == [True]


@pytest.mark.parametrize("call_id", ["", "same"])
def test_a_phone_with_an_instance_moves(system: System, call_id: str) -> None:
    """Another port, as after a restart; only the newest is rung (RFC 5626 §4.1: the instance outlives it)."""
    with desk(system, 6002) as before, desk(system, 6002) as after:
        for phone in (before, after):
            contact = f'{phone.contact};+sip.instance="{INSTANCE}"'
            answer = phone.register(contacts=[contact], call_id=call_id)
            assert (answer.code, len(contacts(answer))) == (200, 1)
        assert bound(system, 6002) == [after.contact.strip("<>")]
        assert rings(system, before, after) == [False, True]


def test_flows_of_one_phone_stay_beside_each_other(system: System) -> None:
    """RFC 5626 §4.2: one for each reg-id."""
    with desk(system, 6002) as one, desk(system, 6002) as two:
        for flow, phone in enumerate((one, two), start=1):
            phone.register(contacts=[f'{phone.contact};reg-id={flow};+sip.instance="{INSTANCE}"'])
        assert len(bound(system, 6002)) == 2


def test_a_phone_changes_the_user_of_its_contact(system: System) -> None:
    """Softphones make one up at each start; the socket is the same."""
    with desk(system, 6002) as phone:
        for user in ("k3j2h1", "9f8e7d", "slot_6002"):
            answer = phone.register(contacts=[f"<sip:{user}@{phone.address}:{phone.port}>"], call_id=user)
            assert (answer.code, len(contacts(answer))) == (200, 1)
        assert rings(system, phone) == [True]


def test_a_nat_gives_a_phone_another_port(system: System) -> None:
    with desk(system, 6002, says="192.168.1.10") as before, desk(system, 6002, says="192.168.1.10") as after:
        after.contact = before.contact
        before.register(call_id="nat", cseq=10)
        assert after.register(call_id="nat", cseq=20).code == 200
        assert len(bound(system, 6002)) == 1
        assert rings(system, before, after) == [False, True]


@pytest.mark.parametrize("contact", ["its own", "the same"])
def test_the_newest_start_of_many_is_bound_and_rung(system: System, contact: str) -> None:
    """Another Call-ID and another port each time, as a NAT gives them: more starts than a slot may have bindings."""
    for start in range(12):
        with desk(system, 6002, says="192.168.1.10") as phone:
            if contact == "the same":
                phone.contact = "<sip:slot_6002@192.168.1.10:5060>"
            answer = phone.register(call_id=f"start-{start}")
            assert answer.code == 200, f"start {start}: {answer.first}"
            if start == 11:
                assert rings(system, phone) == [True]


# --- two phones, two bindings ------------------------------------------------------------------------------------


def test_two_phones_behind_two_nats_say_the_same_private_address(system: System) -> None:
    with desk(system, 6002, says="192.168.1.10") as one, desk(system, 6002, says="192.168.1.10") as two:
        two.contact = one.contact
        for phone in (one, two, one, two):
            answer = phone.register(contacts=[f"{phone.contact};q=0.5"])
            assert (answer.code, contacts(answer)[:1]) == (200, [one.contact.strip("<>")])
        assert len(bound(system, 6002)) == 2
        assert rings(system, one, two) == [True, True]
        assert one.register(0).code == 200
        assert rings(system, one, two) == [False, True]
        assert two.register(0).code == 200
        assert bound(system, 6002) == []


def test_each_is_called_by_the_contact_that_it_has_said(system: System) -> None:
    """Whatever tells the two apart here: a phone may take nothing else for itself. A new Call-ID changes nothing."""
    with (
        desk(system, 6001) as caller,
        desk(system, 6002, says="192.168.1.10") as one,
        desk(system, 6002, says="192.168.1.10") as two,
    ):
        two.contact = one.contact
        for phone in (one, two, two, one):
            assert phone.register(call_id=f"{phone.port}-{len(phone.heard)}").code == 200
        assert len(bound(system, 6002)) == 2
        call = caller.call(one.number, wait=False)
        for phone in (one, two):
            invite = phone.expect("INVITE", call_id=call.id)
            assert invite.first == f"INVITE {one.contact.strip('<>')} SIP/2.0"
            phone.answer(invite, 486, "Busy Here", contact=False)
        assert call.code == 486


def test_two_phones_of_a_slot_are_both_rung(system: System) -> None:
    with desk(system, 6002) as one, desk(system, 6002) as two:
        for phone in (one, two):
            assert phone.register(extra=["User-Agent: Desk 1.0"]).code == 200
        assert rings(system, one, two) == [True, True]


# --- nobody there ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_phone_that_started_anew_is_not_rung_where_it_was(system: System) -> None:
    """Without an instance, on another port: nobody answers there, while a phone beside it does."""
    with desk(system, 6002) as beside, desk(system, 6002) as after:
        with desk(system, 6002) as before:
            before.register(extra=["User-Agent: Soft 2"])
        beside.register(extra=["User-Agent: Soft 2"])
        after.register(extra=["User-Agent: Soft 2"])
        deadline = time.monotonic() + 60
        while len(bound(system, 6002)) > 2 and time.monotonic() < deadline:
            for phone in (beside, after):
                phone.request("NONE", 1.0)  # answers what asks whether it is there
        assert bound(system, 6002) == [phone.contact.strip("<>") for phone in (beside, after)]
        deadline = time.monotonic() + 45
        while time.monotonic() < deadline:
            for phone in (beside, after):
                phone.request("NONE", 1.0)
        assert rings(system, beside, after) == [True, True]
