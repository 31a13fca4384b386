"""Numbers as people and phones write them: in every form they are called, closed, limited and on record alike."""

from collections.abc import Iterator

import pytest

from sipstack.agent.message import Message, token, uri_in
from sipstack.lab.outside import Outside
from tests.lab.deskcall import DeskCall, desk_phones
from tests.lab.deskphone import DeskPhone
from tests.lab.gateway import Gateway
from tests.lab.system import System
from tests.lab.wire import DOMAIN

CALLER, CALLEE = 6001, 6003
GATEWAYS = "1"  # the set in table dispatcher

SLOT = {
    "plain": "sip:6003@DOMAIN",
    "by its user name": "sip:slot_6003@DOMAIN",
    "tel": "tel:6003",
    "tel, with our domain as context": "tel:6003;phone-context=DOMAIN",
    "tel, with our domain in capitals": "tel:6003;phone-context=VSS.INTERNAL",
    "tel, with the proxy's address as context": "tel:6003;phone-context=PROXY",
    "tel, with leading digits as context": "tel:6003;phone-context=+1-914-555",
    "tel, with separators": "TEL:60-03",
    "user=phone, RFC 3261 §19.1.6": "sip:6003@DOMAIN;user=phone",
    "sips": "sips:6003@DOMAIN",
    "sips, by address": "sips:6003@PROXY",
    "the scheme in capitals": "SIP:6003@DOMAIN",
    "the domain in capitals": "sip:6003@VSS.Internal",
    "the domain with a dot at its end": "sip:6003@DOMAIN.",
    "a port": "sip:6003@DOMAIN:5060",
    "another port": "sip:6003@DOMAIN:5062",
    "our address": "sip:6003@PROXY",
    "our address and port": "sip:6003@PROXY:5060;transport=udp",
    "escapes": "sip:%36%30%303@DOMAIN",
    "an escape in the user name": "sip:slot%5f6003@DOMAIN",
    "separators": "sip:60-03@DOMAIN",
    "brackets and dots": "sip:(60).03@DOMAIN;user=phone",
    "a space": "sip:60%2003@DOMAIN",
    "parameters in the user part": "sip:6003;phone-context=DOMAIN@DOMAIN;user=phone",
    "an escaped parameter in the user part": "sip:6003%3Bphone-context=x@DOMAIN",
    "a user with a second part": "sip:6003:secret@DOMAIN",
    "a user with an empty second part": "sip:6003:@DOMAIN",
    "a domain in the user part": "sip:6003%40DOMAIN@DOMAIN",
    "an address in the user part": "sip:6003%40PROXY@PROXY",
    "other parameters": "sip:6003@DOMAIN;transport=tcp;x=y",
    "a method": "sip:6003@DOMAIN;method=INVITE",
    "header fields": "sip:6003@DOMAIN?Subject=x",
}
OUTSIDE = {
    "plain": ("sip:+12025550123@DOMAIN", "+12025550123"),
    "tel": ("tel:+12025550123", "+12025550123"),
    "tel, with separators": ("tel:+1-(202)-555.0123", "+12025550123"),
    "tel, with a subaddress": ("tel:+1-202-555-0123;isub=1411", "+12025550123"),
    "tel, as ported (RFC 4694)": ("tel:+12025550123;npdi;rn=+12025550000", "+12025550123"),
    "separators and user=phone": ("sip:+1%20(202)%20555-0123@DOMAIN;user=phone", "+12025550123"),
    "an escaped plus": ("sip:%2B12025550123@DOMAIN", "+12025550123"),
    "parameters in the user part": ("sip:+12025550123;isub=1411;postd=pp22@DOMAIN;user=phone", "+12025550123"),
    "local": ("tel:030-123-4567;phone-context=+49", "0301234567"),
    "a service": ("tel:9002", "9002"),
}
CLOSED = [
    "tel:+1-900-555",
    "tel:+1900555;phone-context=DOMAIN",
    "TEL:1900555",
    "sip:+1%20900%20555@DOMAIN",
    "sip:%2B1900555@DOMAIN",
    "sip:+1900555;phone-context=x@DOMAIN;user=phone",
    "sip:(1)900.555@DOMAIN",
    "sip:+1900555%40DOMAIN@DOMAIN",
    "sip:%30%301900555:pw@DOMAIN",
    "sips:+1900555@DOMAIN",
    "sip:+1900555@PROXY",
    "sip:0%2D900%2D1234@DOMAIN",
]
NOBODY = {
    "a code of a switchboard": ("sip:*43@DOMAIN", 404),
    "another one": ("sip:%2331%23+1900555@DOMAIN", 404),
    "no user": ("sip:DOMAIN", 484),
    "a name": ("sip:anna@DOMAIN", 404),
    "a name with escapes": ("sip:%61nna%00@DOMAIN", 404),
    "letters in a number": ("sip:60o3@DOMAIN", 404),
    "a number of somebody else's plan": ("tel:6003;phone-context=example.org", 404),
    "garbage in the user part": ("sip:6003%40%20x%22@DOMAIN", 404),
    "garbage as a context": ("tel:6003;phone-context=x_y", 404),
    "another domain in the user part": ("sip:6003%40example.org@DOMAIN", 404),
    "only separators": ("sip:-.()@DOMAIN", 404),
    "another domain": ("sip:6003@example.org", 403),
    "another host of the network": ("sip:6003@192.168.7.7:5060", 403),
    "another scheme": ("http:6003@DOMAIN", 416),
}


@pytest.fixture(scope="module")
def phones(system: System) -> Iterator[tuple[DeskPhone, DeskPhone]]:
    with desk_phones(system, CALLER, CALLEE) as (caller, callee):
        yield caller, callee


@pytest.fixture(scope="module")
def gateway(system: System) -> Iterator[Gateway]:
    """In place of Asterisk: it shows what a gateway is asked for."""
    with Outside(system.lab) as outside, Gateway(outside.public("gateway"), busy=True) as gateway:
        system.kamcmd("dispatcher.add", GATEWAYS, f"sip:{gateway.address}")
        system.kamcmd("dispatcher.set_state", "d", GATEWAYS, "sip:127.0.0.1:5080")
        try:
            yield gateway
        finally:
            reload_gateways(system)


def reload_gateways(system: System) -> None:
    """Those of the database; module dispatcher does that once in five seconds."""
    again = "until docker exec vss-kamailio kamcmd dispatcher.reload; do sleep 0.2; done"
    system.host.exec("sh", "-c", again, timeout=30)


def form(system: System, uri: str) -> str:
    return uri.replace("DOMAIN", DOMAIN).replace("PROXY", system.address)


def refused(callee: DeskPhone, call: DeskCall, invite: Message) -> None:
    callee.answer(invite, 486, "Busy Here")
    callee.expect("ACK", call_id=call.id)
    assert call.code == 486


def on_record(system: System, *calls: DeskCall) -> list[list[str]]:
    """Who was called, by the records, once each."""
    ids = ", ".join(f"'{call.id}'" for call in calls)
    return system.sql(f"SELECT DISTINCT dst_user, dst_domain FROM missed_calls WHERE callid IN ({ids})")


@pytest.mark.parametrize("how", SLOT)
def test_a_slot_rings(system: System, phones: tuple[DeskPhone, DeskPhone], how: str) -> None:
    caller, callee = phones
    call = caller.call(CALLEE, uri=form(system, SLOT[how]), wait=False)
    refused(callee, call, callee.expect("INVITE", call_id=call.id))


def test_the_record_has_the_slot(system: System, phones: tuple[DeskPhone, DeskPhone]) -> None:
    """In whatever form it was called, and whatever To says: who is called is in the Request-URI (RFC 3261 §16.5)."""
    caller, callee = phones
    forms = [
        SLOT[how] for how in ("plain", "tel", "our address", "the domain in capitals", "an escape in the user name")
    ]
    calls = []
    for uri in forms:
        call = caller.call("6999", uri=form(system, uri), wait=False)
        refused(callee, call, callee.expect("INVITE", call_id=call.id))
        calls.append(call)
    assert on_record(system, *calls) == [[f"slot_{CALLEE}", DOMAIN]]


@pytest.mark.parametrize("how", OUTSIDE)
def test_a_gateway_is_asked_for_the_number(
    system: System, phones: tuple[DeskPhone, DeskPhone], gateway: Gateway, how: str
) -> None:
    caller, _ = phones
    uri, number = OUTSIDE[how]
    call = caller.call(number, uri=form(system, uri))
    invite = gateway.asked()
    assert invite.first == f"INVITE sip:{number}@{DOMAIN} SIP/2.0"
    assert uri_in(invite.get("P-Asserted-Identity")) == f"sip:slot_{CALLER}@{DOMAIN}"
    assert call.code == 486
    if how in ("tel, with separators", "parameters in the user part"):
        assert on_record(system, call) == [[number, DOMAIN]]


@pytest.mark.parametrize("from_", ['"Anonymous" <sip:anonymous@anonymous.invalid>', f"<sip:slot_{CALLER}@{DOMAIN}>"])
def test_a_gateway_is_told_who_calls_and_that_it_is_not_to_say_so(
    phones: tuple[DeskPhone, DeskPhone], gateway: Gateway, from_: str
) -> None:
    """RFC 3325 §7: P-Asserted-Identity has the slot, whatever From says."""
    call = phones[0].call("+12025550123", from_=from_, extra=["Privacy: header;id"])
    assert call.code == 486
    invite = gateway.asked()
    assert [value for name, value in invite.headers if name == "P-Asserted-Identity"] == [
        f"<sip:slot_{CALLER}@{DOMAIN}>"
    ]
    assert [value for name, value in invite.headers if name == "Privacy"] == ["id"]
    assert "sip:anonymous@anonymous.invalid" in invite.get("From")


def test_a_gateway_hears_no_name_of_another_slot(phones: tuple[DeskPhone, DeskPhone], gateway: Gateway) -> None:
    call = phones[0].call("+12025550123", from_=f'"6002" <sip:slot_6002@{DOMAIN}>')
    assert call.code == 486
    invite = gateway.asked()
    assert invite.get("From").startswith(f"<sip:slot_{CALLER}@{DOMAIN}>;tag=")
    assert "Privacy" not in [name for name, _ in invite.headers]


@pytest.mark.parametrize("uri", CLOSED)
def test_a_closed_number_is_closed_in_every_form(system: System, phones: tuple[DeskPhone, DeskPhone], uri: str) -> None:
    call = phones[0].call("+1900555", uri=form(system, uri))
    assert call.final is not None
    assert call.final.first == "SIP/2.0 403 Number Barred"


@pytest.mark.parametrize("what", NOBODY)
def test_who_is_nobody(system: System, phones: tuple[DeskPhone, DeskPhone], what: str) -> None:
    uri, code = NOBODY[what]
    assert phones[0].call(CALLEE, uri=form(system, uri)).code == code


@pytest.mark.parametrize("private", [False, True])
def test_a_gateway_is_believed_and_its_secret_kept(
    system: System, phones: tuple[DeskPhone, DeskPhone], gateway: Gateway, private: bool
) -> None:
    """RFC 3325 §9.3: a name that phones are not to know is not passed on to one."""
    _, callee = phones
    name, call_id = '"Carol 4930" <sip:+493012345@gateway.example>', token()
    lines = [f"INVITE sip:{CALLEE}@{DOMAIN} SIP/2.0", f"Via: SIP/2.0/UDP {gateway.address};branch=z9hG4bK{token()}"]
    lines += ["Max-Forwards: 70", f"From: {name};tag=1", f"To: <sip:{CALLEE}@{DOMAIN}>", f"Call-ID: {call_id}"]
    lines += ["CSeq: 1 INVITE", f"Contact: <sip:carol@{gateway.address}>", f"P-Asserted-Identity: {name}"]
    lines += ["Privacy: id"] if private else []
    gateway.send("\r\n".join([*lines, "Content-Length: 0", "", ""]).encode(), system.address)
    invite = callee.expect("INVITE", call_id=call_id)
    callee.answer(invite, 486, "Busy Here")
    callee.expect("ACK", call_id=call_id)
    assert invite.get("From").startswith(name)
    assert bool(invite.get("P-Asserted-Identity")) is not private
