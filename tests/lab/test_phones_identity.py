"""Who calls is who has proved it: whatever From and credentials look like, phones are served, nobody is told a lie."""

import re
from collections.abc import Callable, Iterator

import pytest

from sipstack.agent.digest import credentials
from sipstack.agent.message import Message, token, uri_in
from tests.lab.deskcall import DeskCall, desk, desk_phones, establish, hang_up, ring, tag, turn_down
from tests.lab.deskphone import DeskPhone
from tests.lab.system import System
from tests.lab.test_gateways import ASTERISK
from tests.lab.wire import DOMAIN

CALLER, CALLEE = 6001, 6003
ANONYMOUS = '"Anonymous" <sip:anonymous@anonymous.invalid>'
OWN = f"sip:slot_{CALLER}@{DOMAIN}"
TRUE = f'"Anna" <{OWN}>'


@pytest.fixture(scope="module")
def phones(system: System) -> Iterator[tuple[DeskPhone, DeskPhone]]:
    with desk_phones(system, CALLER, CALLEE) as (caller, callee):
        yield caller, callee


def headers(message: Message) -> str:
    return "\n".join(f"{name}: {value}" for name, value in message.headers if name.lower() not in ("via", "v"))


# --- names -------------------------------------------------------------------------------------------------------

PRIVATE = {
    "the anonymous From": (ANONYMOUS, []),
    "anonymous in our domain": (f"<sip:anonymous@{DOMAIN}>", []),
    "anonymous by its display name": (f'"Anonymous" <{OWN}>', []),
    "anonymous without quotes, in capitals": ("ANONYMOUS <sip:Anonymous@Anonymous.Invalid>", []),
    "restricted, as gateways of Cisco say": ("<sip:restricted@192.0.2.7>", []),
    "Privacy: id": (TRUE, ["Privacy: id", f"P-Preferred-Identity: <{OWN}>"]),
    "Privacy: header": (TRUE, ["Privacy: header"]),
    "Privacy: user": (TRUE, ["Privacy: user"]),
    "Privacy: session": (TRUE, ["Privacy: session"]),
    "Privacy with several values, critical": (ANONYMOUS, ["Privacy: header;user;id;critical"]),
    "Proxy-Require: privacy": (ANONYMOUS, ["Privacy: id;critical", "Proxy-Require: privacy"]),
    "compact forms": (ANONYMOUS, ["s: Anna", "b: <sip:anna@x>", "y: anna"]),
    "other headers": (ANONYMOUS, ["Identity: anna", "Geolocation: <anna@x>", "In-Reply-To: anna@x"]),
    "Remote-Party-ID, before RFC 3323": (TRUE, [f"Remote-Party-ID: <{OWN}>;party=calling;privacy=full"]),
}


@pytest.mark.parametrize("how", PRIVATE)
def test_an_anonymous_call_does_not_tell_who_calls(phones: tuple[DeskPhone, DeskPhone], how: str) -> None:
    """A button on many desk phones. RFC 3323 §4.1 and §5, RFC 3325 §9.3."""
    caller, callee = phones
    from_, extra = PRIVATE[how]
    extra = [
        *extra,
        "Subject: Anna",
        "Call-Info: <http://anna.invalid/>",
        "Organization: Anna",
        "Reply-To: <sip:anna@x>",
    ]
    call, invite = ring(caller, callee, from_=from_, extra=extra)
    told = [line for line in headers(invite).splitlines() if re.search(r"6001|anna", line, re.IGNORECASE)]
    assert not told
    assert "sip:anonymous@anonymous.invalid" in invite.get("From")
    answer = turn_down(call, callee, invite)
    assert answer.get("From") == call.local, "RFC 3261 §8.2.6.2"


def test_an_anonymous_call_lives(phones: tuple[DeskPhone, DeskPhone]) -> None:
    """Both sides go on in the names that each of them knows."""
    caller, callee = phones
    call, invite = establish(caller, callee, from_=ANONYMOUS, extra=["Privacy: id"])
    cseq = call.within("INFO")
    info = callee.expect("INFO", call_id=call.id)
    assert info.get("From") == invite.get("From")
    callee.answer(info, 200)
    answer = caller.reply("INFO", cseq, call.id)
    assert answer is not None
    assert answer.get("From") == call.local
    hang_up(call, callee)


def test_an_anonymous_caller_stays_anonymous_in_what_it_asks(phones: tuple[DeskPhone, DeskPhone]) -> None:
    """Phones write their own name into a REFER (RFC 3892)."""
    caller, callee = phones
    call, _ = establish(caller, callee, from_=TRUE, extra=["Privacy: id"])
    names = [f"Referred-By: <{OWN}>", "Subject: Anna", "Call-Info: <http://anna.invalid/>", "Organization: Anna"]
    for method in ("REFER", "INFO", "UPDATE"):
        cseq = call.within(method, extra=[*names, f"Refer-To: <sip:6004@{DOMAIN}>"])
        came = callee.expect(method, call_id=call.id)
        assert not re.search(rf"{CALLER}|anna", headers(came).replace(came.first, ""), re.IGNORECASE)
        callee.answer(came, 202)
        assert caller.reply(method, cseq, call.id) is not None
    hang_up(call, callee)


@pytest.mark.parametrize("header", ["Referred-By", "b"])
def test_who_transfers_a_call_is_who_asks_for_it(phones: tuple[DeskPhone, DeskPhone], header: str) -> None:
    """RFC 3892. A phone may be told that somebody else has sent it elsewhere."""
    caller, callee = phones
    call, invite = establish(caller, callee)
    for side, other in ((call, callee), (DeskCall.called(callee, invite), caller)):
        extra = [f"Refer-To: <sip:6004@{DOMAIN}>", f"{header}: <sip:slot_6002@{DOMAIN}>"]
        cseq = side.within("REFER", extra=extra)
        came = other.expect("REFER", call_id=call.id)
        own = CALLER if side is call else CALLEE
        assert re.fullmatch(rf"<sip:(slot_)?{own}@{DOMAIN}>", came.get("Referred-By")), came.get("Referred-By")
        assert not came.get("b")
        other.answer(came, 202)
        assert side.phone.reply("REFER", cseq, call.id) is not None
    hang_up(call, callee)


def test_an_anonymous_caller_stays_anonymous_in_its_answers(phones: tuple[DeskPhone, DeskPhone]) -> None:
    """The called side asks something inside the call: both see the names that they know."""
    caller, callee = phones
    call, invite = establish(caller, callee, from_=TRUE, extra=["Privacy: id"])
    mine = invite.get("To") + f";tag={tag(call.remote)}"
    target = uri_in(invite.get("Contact"))
    for number, method in enumerate(("INFO", "UPDATE", "INVITE"), 70):
        body = "" if method == "INFO" else callee.sdp()
        head = [callee.via(), "Max-Forwards: 70", f"From: {mine}", f"To: {invite.get('From')}", f"Call-ID: {call.id}"]
        head += [f"CSeq: {number} {method}", f"Contact: {callee.contact}"]
        head += [f"Route: {route}" for route in invite.all("Record-Route")]
        callee.send(f"{method} {target} SIP/2.0", head, body)
        came = caller.expect(method, call_id=call.id)
        assert came.get("To") == call.local.replace('"Anna" ', "")
        caller.answer(came, 200, body=body and caller.sdp())
        answer = callee.reply(method, number, call.id)
        assert answer is not None
        assert answer.get("To") == invite.get("From")
        assert not re.search(rf"{CALLER}|anna", headers(answer), re.IGNORECASE)
        if method == "INVITE":
            callee.send(f"ACK {target} SIP/2.0", [line.replace("INVITE", "ACK") for line in head])
            caller.expect("ACK", call_id=call.id)
    hang_up(call, callee)


def test_a_gateway_ends_an_anonymous_call(system: System, phones: tuple[DeskPhone, DeskPhone]) -> None:
    """Asterisk knows the caller as anonymous; the caller is told its own name, which some phones compare."""
    caller, _ = phones
    call = caller.call("9002", from_=ANONYMOUS.replace("anonymous.invalid", "example.invalid"))
    assert call.code == 200
    call.within("ACK", cseq=call.cseq)
    system.host.exec(*ASTERISK, "channel request hangup all")
    bye = caller.expect("BYE", call_id=call.id)
    caller.answer(bye, 200, contact=False)
    assert bye.get("To").rpartition(" ")[2] == call.local.rpartition(" ")[2]


def test_a_call_that_we_end_keeps_its_names(system: System, phones: tuple[DeskPhone, DeskPhone]) -> None:
    """The BYE of the proxy, as after `call_max_seconds`."""
    caller, callee = phones
    call, _ = establish(caller, callee, from_=TRUE, extra=["Privacy: id"])
    system.kamcmd("dlg.terminate_dlg", call.id, tag(call.local), tag(call.remote))
    for phone, name in ((caller, f"<sip:{CALLEE}@{DOMAIN}>"), (callee, ANONYMOUS)):
        bye = phone.expect("BYE", call_id=call.id)
        phone.answer(bye, 200, contact=False)
        assert bye.get("From").startswith(name)


def test_a_name_stays_what_it_was(phones: tuple[DeskPhone, DeskPhone]) -> None:
    """RFC 4916 lets a side say another name inside a call; phones show that."""
    caller, callee = phones
    call, _ = establish(caller, callee)
    mine = call.local.partition(";")[2]
    for said in (f'"6002" <{OWN}>;{mine}', f'"Boss" <sip:slot_6002@{DOMAIN}>;{mine}', f"<sip:112@example.org>;{mine}"):
        cseq = call.within("INFO", from_=said)
        info = callee.expect("INFO", call_id=call.id)
        assert info.get("From") == f"<{OWN}>;{mine}"
        callee.answer(info, 200)
        answer = caller.reply("INFO", cseq, call.id)
        assert answer is not None
        assert answer.get("From") == said
    hang_up(call, callee)


def test_a_body_does_not_tell_who_calls(phones: tuple[DeskPhone, DeskPhone]) -> None:
    """Grandstream writes its user into o= of the SDP, others the name into s=."""
    caller, callee = phones
    body = caller.sdp().replace("o=desk", f"o={CALLER}").replace("s=-", f"s=Anna {CALLER}\r\ni=Anna\r\ne=anna@x")
    call, invite = ring(caller, callee, body=body, from_=ANONYMOUS)
    assert b"v=0" in invite.body
    assert not re.search(rf"(?<!\d){CALLER}(?!\d)|anna", invite.body.decode(), re.IGNORECASE)
    turn_down(call, callee, invite)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_a_name_that_is_folded(system: System, phones: tuple[DeskPhone, DeskPhone], transport: str) -> None:
    """RFC 3261 §7.3.1 lets a header go on in the next line, within a quoted name, too."""
    with desk(system, CALLER, transport) as caller:
        call, invite = ring(caller, phones[1], from_=f'"Front\r\n Desk" <{OWN}>')
        assert invite.get("From") == f'"Front Desk" <{OWN}>;tag={tag(call.local)}'
        assert len(invite.body) > 100
        turn_down(call, phones[1], invite)


def test_privacy_none_hides_nothing(phones: tuple[DeskPhone, DeskPhone]) -> None:
    """RFC 3323 §4.2: it overrides whatever else would ask for privacy."""
    call, invite = ring(*phones, from_=TRUE, extra=["Privacy: none"])
    assert invite.get("From") == call.local
    turn_down(call, phones[1], invite)


def test_what_is_critical_and_unknown_is_refused(phones: tuple[DeskPhone, DeskPhone]) -> None:
    """RFC 3323 §5: 500, rather than a call that is not as private as it has to be."""
    assert phones[0].call(CALLEE, from_=ANONYMOUS, extra=["Privacy: telepathy;critical"]).code == 500


FORGED = {
    "another slot": f"<sip:slot_6002@{DOMAIN}>",
    "another slot's number": f"<sip:6002@{DOMAIN}>",
    "a number outside": f"<sip:+12025550123@{DOMAIN}>",
    "the called slot itself": f"<sip:slot_{CALLEE}@{DOMAIN}>",
    "its own address as the domain": f"<sip:slot_{CALLER}@192.168.1.7>",
    "another domain": f"<sip:slot_{CALLER}@example.org>",
    "no user at all": f"<sip:{DOMAIN}>",
    "a tel: number": "<tel:+12025550123>",
    "the name of its owner": f"<sip:anna@{DOMAIN}>",
    "another slot by the display name": f'"6002" <{OWN}>',
    "another slot within the display name": f'"Desk 6002" <{OWN}>',
    "another slot in fullwidth digits": f'"\uff16\uff10\uff10\uff12" <{OWN}>',
    "another slot in Arabic digits": f'"٦٠٠٢" <{OWN}>',
    "another slot, digit by digit": f'"6-0-0-2" <{OWN}>',
    "an address as the display name": f'"boss@example.org" <{OWN}>',
}


@pytest.mark.parametrize("what", FORGED)
def test_a_name_that_is_not_the_callers_is_replaced(phones: tuple[DeskPhone, DeskPhone], what: str) -> None:
    """Phones are set up with all kinds of names. None calls in the name of another one, and none is refused."""
    caller, callee = phones
    call, invite = ring(caller, callee, from_=FORGED[what])
    assert re.fullmatch(rf"<{re.escape(OWN)}>;tag={tag(call.local)}", invite.get("From"))
    assert turn_down(call, callee, invite).get("From") == call.local, "RFC 3261 §8.2.6.2"


HONEST = (f"<{OWN}>", f'"Anna" <{OWN}>', f"<sip:{CALLER}@{DOMAIN}>", f'"{CALLER}" <{OWN}>', f'"Anna {CALLER}" <{OWN}>')


@pytest.mark.parametrize("from_", [*HONEST, f"Анна <{OWN}>", f'"Room 12" <{OWN}>'])
def test_an_honest_name_stays(phones: tuple[DeskPhone, DeskPhone], from_: str) -> None:
    call, invite = ring(*phones, from_=from_)
    assert invite.get("From") == call.local
    turn_down(call, phones[1], invite)


def test_a_display_name_stays_when_the_address_is_replaced(phones: tuple[DeskPhone, DeskPhone]) -> None:
    call, invite = ring(*phones, from_="Anna <sip:anna@example.org>")
    assert invite.get("From").startswith(f"Anna <{OWN}>;")
    turn_down(call, phones[1], invite)


def test_a_caller_that_gives_up_cancels_the_call_it_made(phones: tuple[DeskPhone, DeskPhone]) -> None:
    """RFC 3261 §9.1: the CANCEL has the From of the INVITE that the called phone knows."""
    caller, callee = phones
    call, invite = ring(caller, callee, from_=FORGED["another slot"])
    callee.answer(invite, 180, "Ringing")
    call.cancel()
    cancel = callee.expect("CANCEL", call_id=call.id)
    assert cancel.get("From") == invite.get("From")
    callee.answer(cancel, 200)
    callee.answer(invite, 487)
    callee.expect("ACK", call_id=call.id)
    assert call.code == 487


def test_the_record_has_who_called(system: System, phones: tuple[DeskPhone, DeskPhone]) -> None:
    """Whatever From says."""
    calls = []
    for from_ in (ANONYMOUS, FORGED["another slot"], FORGED["a tel: number"], FORGED["no user at all"]):
        call, invite = ring(*phones, from_=from_)
        turn_down(call, phones[1], invite)
        calls.append(f"'{call.id}'")
    rows = system.sql(
        f"SELECT src_user, src_domain, count(*) FROM missed_calls WHERE callid IN ({', '.join(calls)}) GROUP BY 1, 2"
    )
    assert rows == [[f"slot_{CALLER}", DOMAIN, str(len(calls))]]


# --- credentials -------------------------------------------------------------------------------------------------


class Odd(DeskPhone):
    """A phone that writes its credentials in another way.

    Attributes:
        write: makes of the header as it should be the lines that are sent.
        login: the user name in the credentials.
    """

    write: Callable[[str], list[str]] = staticmethod(lambda line: [line])
    login = ""

    def credentials(self, challenge: Message, method: str, uri: str) -> str:
        kind = "WWW" if challenge.code == 401 else "Proxy"
        asked = challenge.get(f"{kind}-Authenticate")
        name = "Authorization" if challenge.code == 401 else "Proxy-Authorization"
        right = credentials(asked, self.login or self.user, self.password, method, uri)
        return "\r\n".join(self.write(f"{name}: {right}"))


@pytest.fixture
def odd(system: System) -> Iterator[Odd]:
    with Odd(system.address, CALLER, system.password(CALLER)) as phone:
        yield phone


OTHER = 'Digest username="anna", realm="example.org", nonce="n", uri="sip:x", response="' + 32 * "0" + '"'
WRITTEN: dict[str, Callable[[str], list[str]]] = {
    "ours behind those of another realm": lambda line: [f"{line.partition(':')[0]}: {OTHER}", line],
    "ours before those of another realm": lambda line: [line, f"{line.partition(':')[0]}: {OTHER}"],
    "behind another scheme": lambda line: [f"{line.partition(':')[0]}: Basic YTpi", line],
    "in the header of the other challenge": lambda line: [
        re.sub(r"^(Proxy-)?Authorization", lambda found: "Authorization" if found[1] else "Proxy-Authorization", line)
    ],
    "those of another realm in the other header": lambda line: [
        f"{'Authorization' if line.startswith('Proxy') else 'Proxy-Authorization'}: {OTHER}",
        line,
    ],
    "the scheme in small letters": lambda line: [line.replace(": Digest", ": digest")],
    "parameters in capitals": lambda line: [re.sub(r"(\w+)=", lambda found: found[1].upper() + "=", line, count=3)],
    "algorithm in small letters": lambda line: [line.replace("algorithm=MD5", "algorithm=md5")],
    "no algorithm": lambda line: [re.sub(r", *algorithm=[^,]*", "", line)],
    "unknown parameters": lambda line: [line + ', opaque="", auth-param=1, x="y, z=1"'],
}


@pytest.mark.parametrize("how", WRITTEN)
def test_credentials_are_found(odd: Odd, phones: tuple[DeskPhone, DeskPhone], how: str) -> None:
    """RFC 3261 §22.3: for each realm a header of its own. The called phone gets none for ours."""
    odd.write = WRITTEN[how]
    assert odd.register(contacts=[]).code == 200
    call, invite = ring(odd, phones[1])
    shown = [value for name, value in invite.headers if "authorization" in name.lower()]
    assert not [value for value in shown if DOMAIN in value]
    turn_down(call, phones[1], invite)


def test_credentials_of_a_user_with_a_domain(odd: Odd, phones: tuple[DeskPhone, DeskPhone]) -> None:
    """Many phones have one field for both: the user name in the digest is slot_6001@vss.internal."""
    odd.login = f"slot_{CALLER}@{DOMAIN}"
    assert odd.register(contacts=[]).code == 200
    call, invite = ring(odd, phones[1])
    turn_down(call, phones[1], invite)


@pytest.mark.parametrize(
    "login", [f"slot_6002@{DOMAIN}", "slot_6001@example.org", "@", "slot_6001@", "x'y", f"{DOMAIN}"]
)
def test_credentials_of_somebody_else_prove_nothing(system: System, odd: Odd, login: str) -> None:
    """With its own password, or under a name that nobody has."""
    odd.login = login
    assert odd.register(contacts=[]).code in (401, 403)
    assert odd.call(CALLEE).code in (403, 407)
    system.kamcmd("htable.flush", "failures")


def test_credentials_do_not_leave_inside_a_call(phones: tuple[DeskPhone, DeskPhone]) -> None:
    """linphone puts them into every request of a call; those for another realm may be for the called phone."""
    caller, callee = phones
    call, _ = establish(caller, callee)
    ours = OTHER.replace("example.org", DOMAIN)
    lines = [f"Proxy-Authorization: {ours}", f"Authorization: {ours}", f"Authorization: {OTHER}"]
    for method in ("INFO", "UPDATE", "INVITE", "REFER", "ACK"):
        more = [*lines, "Refer-To: <sip:6004@vss.internal>"] if method == "REFER" else lines
        body = caller.sdp() if method in ("INVITE", "UPDATE") else ""
        cseq = call.within(method, body, extra=more, cseq=call.cseq - 1 if method == "ACK" else None)
        came = callee.expect(method, call_id=call.id)
        assert [value for name, value in came.headers if "authorization" in name.lower()] == [OTHER]
        if method != "ACK":
            callee.answer(came, 200, body=callee.sdp() if body else "")
            assert caller.reply(method, cseq, call.id) is not None
    hang_up(call, callee)


# --- registrations -----------------------------------------------------------------------------------------------

TO = {
    "the number": f"<sip:{CALLER}@{DOMAIN}>",
    "an escape": f"<sip:slot%5F{CALLER}@{DOMAIN}>",
    "the scheme and the domain in capitals": f"<SIP:slot_{CALLER}@{DOMAIN.upper()}>",
    "a port": f"<sip:slot_{CALLER}@{DOMAIN}:5060>",
    "parameters": f"<sip:slot_{CALLER}@{DOMAIN};user=phone;transport=udp>",
    "a domain in the user part": f"<sip:slot_{CALLER}%40{DOMAIN}@{DOMAIN}>",
    "the domain with a dot at its end": f"<sip:slot_{CALLER}@{DOMAIN}.>",
    "the proxy's address": f"<sip:slot_{CALLER}@PROXY>",
    "the proxy's address and port": f"<sip:slot_{CALLER}@PROXY:5060>",
}


@pytest.mark.parametrize("how", TO)
def test_a_registration_binds_the_slot_that_it_means(system: System, how: str) -> None:
    """The server by name or by address, a field for the user and one for the authentication user: phones vary."""
    to = TO[how].replace("PROXY", system.address)
    uri = "sip:" + to.rpartition("@")[2].rstrip(">").partition(";")[0]
    with desk(system, CALLER) as phone:
        call_id, authorization, code = token(), "", 0
        for cseq in (1, 2):
            lines = [phone.via(), "Max-Forwards: 70", f"From: {to};tag={token()}", f"To: {to}", f"Call-ID: {call_id}"]
            lines += [f"CSeq: {cseq} REGISTER", f"Contact: {phone.contact}", "Expires: 60", authorization]
            phone.send(f"REGISTER {uri} SIP/2.0", lines)
            answer = phone.reply("REGISTER", cseq, call_id)
            assert answer is not None
            code = answer.code
            if code == 401:
                authorization = phone.credentials(answer, "REGISTER", uri)
        assert code == 200
        bound = f"SELECT username FROM location WHERE contact LIKE '%:{phone.port}%'"
        assert system.sql(bound) == [[f"slot_{CALLER}"]]
        assert system.sql(f"SELECT src_user, dst_user FROM acc WHERE callid = '{call_id}'") == [[f"slot_{CALLER}"] * 2]
        assert phone.register(0).code == 200
