"""Credentials are good once: whoever has overheard them has nothing."""

import re
from collections.abc import Iterator

import pytest

from sipstack.probe.message import parse_head
from tests.lab.system import System
from tests.lab.test_attacks_dialogs import restart
from tests.lab.wire import DOMAIN, Wire, digest, forget_bindings, md5

USER = "slot_6001"
URI = f"sip:{DOMAIN}"


@pytest.fixture
def wires(system: System) -> Iterator[tuple[Wire, Wire]]:
    """A phone, and somebody who has overheard it."""
    forget_bindings(system)
    with Wire(system.address) as phone, Wire(system.address) as thief:
        yield phone, thief
    forget_bindings(system)


def challenge(wire: Wire, method: str = "REGISTER", uri: str = URI) -> str:
    make = wire.invite if method == "INVITE" else lambda uri: wire.message(method, uri)
    _, headers = wire.ask(make(uri))
    return headers.get("www-authenticate") or headers["proxy-authenticate"]


def counting(
    asked: str, password: str, count: int, *, method: str = "REGISTER", uri: str = URI, user: str = USER
) -> str:
    """Credentials of a phone that counts (RFC 7616 §3.4)."""
    found = dict(re.findall(r'(\w+)="([^"]*)"', asked))
    ha1 = md5(f"{user}:{found['realm']}:{password}")
    response = md5(f"{ha1}:{found['nonce']}:{count:08x}:c:auth:{md5(f'{method}:{uri}')}")
    return (
        f'Digest username="{user}", realm="{found["realm"]}", nonce="{found["nonce"]}", uri="{uri}", '
        f'response="{response}", algorithm=MD5, qop=auth, nc={count:08x}, cnonce="c"'
    )


def register(wire: Wire, credentials: str) -> tuple[int, dict[str, str]]:
    return wire.ask(wire.message("REGISTER", URI, cseq=7, headers=(f"Authorization: {credentials}", "Expires: 300")))


def is_refused(system: System, wire: Wire, credentials: str, password: str) -> None:
    """Asked anew, and told that it was the nonce; nothing of it is bound. An honest answer to that is taken."""
    code, headers = register(wire, credentials)
    assert code == 401
    assert "stale=true" in headers["www-authenticate"]
    assert not bound(system, wire)
    assert register(wire, digest(headers["www-authenticate"], USER, password, "REGISTER", URI))[0] == 200


def bound(system: System, wire: Wire) -> bool:
    return system.sql(f"SELECT count(*) FROM location WHERE contact LIKE '%{wire.contact}%'") != [["0"]]


def test_used_credentials_register_nobody(system: System, wires: tuple[Wire, Wire]) -> None:
    phone, thief = wires
    password = system.password(6001)
    credentials = digest(challenge(phone), USER, password, "REGISTER", URI)
    assert register(phone, credentials)[0] == 200
    is_refused(system, thief, credentials, password)


def test_used_credentials_with_a_count_register_nobody(system: System, wires: tuple[Wire, Wire]) -> None:
    phone, thief = wires
    password = system.password(6001)
    credentials = counting(challenge(phone), password, 1)
    assert register(phone, credentials)[0] == 200
    is_refused(system, thief, credentials, password)


def test_a_phone_that_counts_goes_on_with_its_nonce(system: System, wires: tuple[Wire, Wire]) -> None:
    phone, thief = wires
    password = system.password(6001)
    asked = challenge(phone)
    assert 'qop="auth"' in asked
    for count in (1, 2, 3, 7):
        assert register(phone, counting(asked, password, count))[0] == 200
    is_refused(system, thief, counting(asked, password, 2), password)


@pytest.mark.parametrize("more", ["nc=00000002", 'nc=00000002, cnonce="c"', "nc=ffffffff", "NC = 00000002"])
def test_a_count_without_qop_counts_for_nothing(system: System, wires: tuple[Wire, Wire], more: str) -> None:
    """It is no part of what is hashed (RFC 2069), so anybody could raise it."""
    phone, thief = wires
    password = system.password(6001)
    credentials = digest(challenge(phone), USER, password, "REGISTER", URI)
    assert register(phone, credentials)[0] == 200
    code, _ = register(thief, f"{credentials}, {more}")
    assert code in (400, 401)
    assert not bound(system, thief)


def test_used_credentials_call_nobody(system: System, wires: tuple[Wire, Wire]) -> None:
    phone, thief = wires
    with Wire(system.address) as victim:
        password, uri = system.password(6001), f"sip:6003@{DOMAIN}"
        assert victim.register("slot_6003", system.password(6003)) == 200
        answer = digest(challenge(phone, "INVITE", uri), USER, password, "INVITE", uri)
        phone.send(phone.invite(uri, cseq=2, headers=(f"Proxy-Authorization: {answer}",)))
        _, invite = victim.next_request()
        victim.answer(invite, b"486 Busy Here", tag=b"busy")
        assert phone.reply()["code"] == "486"
        assert victim.next_request()[0].startswith("ACK ")
        for wire in (thief, phone):
            code, headers = wire.ask(wire.invite(uri, cseq=2, headers=(f"Proxy-Authorization: {answer}",)))
            assert code == 407
            assert "stale=true" in headers["proxy-authenticate"]
        with pytest.raises(TimeoutError):
            victim.next_request(timeout=0.3)


def test_a_registration_that_is_sent_again_gets_the_same_answer(system: System, wires: tuple[Wire, Wire]) -> None:
    """Its answer was lost on the way: the phone repeats it to the byte (RFC 3261 §17.1.2.2)."""
    phone, _ = wires
    credentials = counting(challenge(phone), system.password(6001), 1)
    message = phone.message("REGISTER", URI, cseq=7, headers=(f"Authorization: {credentials}", "Expires: 300"))
    call_id = parse_head(message.decode())[1]["call-id"]
    answers = []
    for _ in range(3):
        phone.send(message)
        answers.append(phone.reply())
    assert [answer["code"] for answer in answers] == ["200"] * 3
    assert answers[0] == answers[1] == answers[2]
    assert system.sql(f"SELECT count(*) FROM acc WHERE callid = '{call_id}'") == [["1"]]


def test_a_wrong_password_is_not_told_to_try_again(system: System, wires: tuple[Wire, Wire]) -> None:
    """stale=true would let a phone with an old password try for ever."""
    phone, _ = wires
    for _ in range(2):
        code, headers = register(phone, counting(challenge(phone), "wrong", 1))
        assert code == 401
        assert "stale" not in headers["www-authenticate"]


def test_credentials_from_before_a_restart_are_old(system: System, wires: tuple[Wire, Wire]) -> None:
    """What was used then is forgotten, so none of it is taken any more."""
    phone, thief = wires
    password = system.password(6001)
    credentials = counting(challenge(phone), password, 1)
    assert register(phone, credentials)[0] == 200
    restart(system)
    is_refused(system, thief, credentials, password)
