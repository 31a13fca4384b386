"""Malformed credentials, smuggled headers, and messages larger than any phone's."""

import secrets
from collections.abc import Iterator

import pytest

from tests.lab.hostile import TELLTALE, Heard, Watch, answers_options, header, over_tcp, over_udp, phones_are_served
from tests.lab.system import System
from tests.lab.wire import DOMAIN, SDP, Wire, digest, forget_bindings
from tests.torture.digests import BROKEN, ODD, TOLERATED
from tests.torture.oversized import OVERSIZED
from tests.torture.smuggled import ASSERTED, BOSS, KEPT, REFUSED

REGISTRAR = f"sip:{DOMAIN}"
NUMBER = f"sip:6002@{DOMAIN}"


@pytest.fixture(scope="module", autouse=True)
def unharmed(system: System) -> Iterator[None]:
    with Watch(system):
        yield
        assert phones_are_served(system) < 5
    forget_bindings(system)


@pytest.fixture
def callee(system: System) -> Iterator[Wire]:
    """A phone of slot 6002."""
    forget_bindings(system)
    with Wire(system.address) as wire:
        assert wire.register("slot_6002", system.password(6002)) == 200
        yield wire


def request(method: str, uri: str, *, to: str, extra: str = "", body: str = "", cseq: int = 1) -> bytes:
    """A request of slot 6001 with more lines in its head, as they stand."""
    head = (
        f"{method} {uri} SIP/2.0\r\n"
        f"Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK{secrets.token_hex(8)};rport\r\n"
        f"Max-Forwards: 70\r\nFrom: <sip:slot_6001@{DOMAIN}>;tag={secrets.token_hex(4)}\r\nTo: <{to}>\r\n"
        f"Call-ID: {secrets.token_hex(8)}\r\nCSeq: {cseq} {method}\r\nContact: <sip:slot_6001@192.0.2.1>\r\n"
    )
    if body:
        head += "Content-Type: application/sdp\r\n"
    return (head + extra + f"Content-Length: {len(body)}\r\n\r\n" + body).encode("utf-8", "surrogateescape")


def authorization(system: System, method: str, uri: str, to: str) -> str:
    """Right credentials of slot 6001, as a line of a head."""
    challenged = over_udp(system.address, request(method, uri, to=to)).messages[-1]
    name = "WWW-Authenticate" if method == "REGISTER" else "Proxy-Authenticate"
    value = digest(header(challenged, name), "slot_6001", system.password(6001), method, uri)
    return f"{'Authorization' if method == 'REGISTER' else 'Proxy-Authorization'}: {value}\r\n"


def with_credentials(system: System, form: str) -> Heard:
    """A REGISTER with credentials in that form."""
    to = f"sip:slot_6001@{DOMAIN}"
    challenge = header(over_udp(system.address, request("REGISTER", REGISTRAR, to=to)).messages[-1], "WWW-Authenticate")
    right = digest(challenge, "slot_6001", system.password(6001), "REGISTER", REGISTRAR)
    values = {name: right.split(f'{name}="')[1].split('"')[0] for name in ("realm", "nonce", "uri", "response")}
    for name, value in (*values.items(), ("user", "slot_6001")):
        form = form.replace(f"{{{name}}}", value)
    line = f"Authorization: {form}\r\nExpires: 60\r\n"
    return over_udp(system.address, request("REGISTER", REGISTRAR, to=to, extra=line), timeout=3)


@pytest.mark.parametrize("form", ODD.values(), ids=ODD)
def test_odd_credentials_register(system: System, form: str) -> None:
    assert with_credentials(system, form).code == 200


@pytest.mark.parametrize("form", BROKEN.values(), ids=BROKEN)
def test_broken_credentials_are_refused(system: System, form: str) -> None:
    heard = with_credentials(system, form)
    assert heard.code in (400, 401, 403), "a stranger's mistake is answered as his"
    assert not TELLTALE.search(heard.messages[-1])
    assert answers_options(system) < 1.0


@pytest.mark.parametrize("form", TOLERATED.values(), ids=TOLERATED)
def test_who_knows_the_password_may_write_badly(system: System, form: str) -> None:
    assert with_credentials(system, form).code in (200, 400, 401, 403)


def call(system: System, extra: str) -> Heard:
    """An INVITE to slot 6002 with right credentials and more in its head; the first answer that says how it fared."""
    credentials = authorization(system, "INVITE", NUMBER, NUMBER)
    invite = request("INVITE", NUMBER, to=NUMBER, extra=credentials + extra, body=SDP.format("192.0.2.1"))
    return over_udp(system.address, invite, timeout=0.5)


@pytest.mark.parametrize("lines", ASSERTED.values(), ids=ASSERTED)
def test_nobody_says_who_he_is_however_he_writes_it(system: System, callee: Wire, lines: str) -> None:
    heard = call(system, lines)
    if heard.code:
        assert heard.code == 400
        return
    _, headers = callee.next_request()
    callee.answer(headers, b"486 Busy Here", tag=b"busy")
    assert BOSS not in str(headers)


@pytest.mark.parametrize("lines", REFUSED.values(), ids=REFUSED)
def test_what_two_readers_read_differently_reaches_nobody(system: System, callee: Wire, lines: str) -> None:
    assert call(system, lines).code == 400
    with pytest.raises(TimeoutError):
        callee.next_request(timeout=0.2)


@pytest.mark.parametrize("lines", KEPT.values(), ids=KEPT)
def test_what_phones_write_gets_through(system: System, callee: Wire, lines: str) -> None:
    assert call(system, lines).code == 0
    _, headers = callee.next_request()
    callee.answer(headers, b"486 Busy Here", tag=b"busy")


FOLDED = (
    "To:\r\n <sip:vss.internal>\r\n", "From: caller\r\n <sip:x@vss.internal>\r\n ;tag=1\r\n", "Call-ID:\r\n\tabc\r\n",
    "Via: SIP/2.0/UDP\r\n 192.0.2.1\r\n ;branch=z9hG4bKfold\r\n ;rport\r\n", "Max-Forwards:\r\n 70\r\n",
    "CSeq:\r\n 1 OPTIONS\r\n", "Contact:\r\n <sip:x@192.0.2.1>\r\n", "Content-Length:\r\n 0\r\n",
)  # fmt: skip


def test_folds_are_read(system: System) -> None:
    """Every header that Kamailio reads itself, folded where phones fold."""
    assert over_udp(system.address, f"OPTIONS {REGISTRAR} SIP/2.0\r\n{''.join(FOLDED)}\r\n".encode()).code == 200


@pytest.mark.parametrize(
    "value", ["-1", "+4", "0x4", "4,4", "4 4", "4abc", "", " ", "1e1", "99999", "4294967300", "9" * 30]
)
def test_a_length_that_is_none(system: System, value: str) -> None:
    """Of a datagram: a length that cannot be read is refused, and one that is too large is too (RFC 3261 §18.3)."""
    octets = request("OPTIONS", REGISTRAR, to=REGISTRAR, body="body").replace(
        b"Content-Length: 4\r\n", f"Content-Length: {value}\r\n".encode()
    )
    assert over_udp(system.address, octets).code == 400


def test_what_is_behind_a_body_is_not_passed_on(system: System, callee: Wire) -> None:
    """It would be a message of its own on a stream to the next hop."""
    credentials = authorization(system, "INVITE", NUMBER, NUMBER)
    invite = request("INVITE", NUMBER, to=NUMBER, extra=credentials)
    assert over_udp(system.address, invite + b"OPTIONS sip:x SIP/2.0\r\n\r\n", timeout=0.3).code == 0
    callee.socket.settimeout(5)
    received = callee.socket.recv(65_536)
    assert received.startswith(b"INVITE ")
    assert b"OPTIONS sip:x" not in received


def test_a_stray_answer_goes_nowhere(system: System) -> None:
    """Else a stranger could have answers sent to anybody: a response is sent on to the Via behind ours."""
    with Wire(system.address) as victim:
        stray = (
            f"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP {system.address};branch=z9hG4bKours\r\n"
            f"Via: SIP/2.0/UDP {victim.contact};branch=z9hG4bKtheirs\r\nFrom: <sip:a@{DOMAIN}>;tag=1\r\n"
            f"To: <sip:b@{DOMAIN}>;tag=2\r\nCall-ID: {secrets.token_hex(8)}\r\nCSeq: 1 INVITE\r\n"
            "Content-Length: 0\r\n\r\n"
        )
        over_udp(system.address, stray.encode(), timeout=0.1)
        assert victim.final_code(timeout=0.5) == 0


@pytest.mark.parametrize("name", OVERSIZED)
@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_oversized(system: System, name: str, transport: str) -> None:
    """Refused or dropped, or taken for what it is; whatever it is, the next one does not wait."""
    message, codes = OVERSIZED[name]
    if transport == "udp" and len(message) > 65_000:
        pytest.skip("no datagram is that large")
    heard = (over_udp if transport == "udp" else over_tcp)(system.address, message, timeout=1.5)
    assert heard.code in codes
    for answer in heard.messages:
        assert len(answer) <= len(message) + 500, "an answer that is larger than what it answers"
    assert answers_options(system) < 1.0
