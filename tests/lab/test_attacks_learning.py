"""Nobody learns whether a slot exists, what answers, or what is behind it."""

import hashlib
import re
import statistics
import time

import pytest

from sipstack.lab.namespaces import Namespace
from tests.lab import attacks
from tests.lab.attacker import forget, stranger, there
from tests.lab.hostile import TELLTALE
from tests.lab.system import System
from tests.lab.wire import DOMAIN, Wire, digest

USERS = {"exists": "slot_6005", "does not": "slot_6905", "is no slot": "root"}
# What differs between any two answers.
VOLATILE = re.compile(
    r'nonce="[^"]*"|tag=[^\s;>]+|branch=[^\s;]+|rport=\d+|slot_6\d05|root|^Call-ID: .*$', re.MULTILINE
)


def refusals(proxy: str, method: str, user: str) -> list[str]:
    """What somebody hears who claims to be `user`: the challenge, and what a wrong password is answered."""
    uri = f"sip:{DOMAIN}" if method == "REGISTER" else f"sip:6001@{DOMAIN}"
    heard = []
    with Wire(proxy) as wire:
        credentials: tuple[str, ...] = ()
        for cseq in (1, 2):
            make = wire.invite if method == "INVITE" else lambda u, **o: wire.message("REGISTER", u, **o)
            wire.send(make(uri, user=user, call_id="same", cseq=cseq, headers=credentials))
            wire.socket.settimeout(3)
            answer = wire.socket.recv(65_536).decode()
            heard.append(VOLATILE.sub("", answer).replace(wire.contact, ""))
            found = re.search(r"-Authenticate: (.*)\r", answer)
            assert found, answer
            name = "Authorization" if method == "REGISTER" else "Proxy-Authorization"
            credentials = (f"{name}: {digest(found[1], user, 'wrong', method, uri)}",)
    return heard


@pytest.mark.parametrize("method", ["REGISTER", "INVITE"])
def test_users_and_others_are_refused_alike(system: System, method: str) -> None:
    with stranger(system) as place:
        answers = [there(place, refusals, system.address, method, user) for user in USERS.values()]
    assert answers[0] == answers[1] == answers[2]
    assert not TELLTALE.search("".join(answers[0]).encode())


@pytest.mark.parametrize("method", ["OPTIONS", "INVITE", "SUBSCRIBE", "MESSAGE", "PUBLISH", "BYE"])
def test_called_users_and_others_are_answered_alike(system: System, method: str) -> None:
    """Whom a stranger asks for makes no difference, whatever he asks."""
    with stranger(system) as place:
        codes = {there(place, attacks.code_of, system.address, method, f"sip:{user}@{DOMAIN}") for user in
                 ("6005", "6905", "slot_6005", "root", "9002", "00123456")}  # fmt: skip
    assert len(codes) == 1


def seconds(proxy: str, method: str, users: list[str], rounds: int) -> list[list[float]]:
    """How long wrong passwords of these users take, in turn."""
    uri = f"sip:{DOMAIN}" if method == "REGISTER" else f"sip:6001@{DOMAIN}"
    name = "Authorization" if method == "REGISTER" else "Proxy-Authorization"
    took: list[list[float]] = [[] for _ in users]
    with Wire(proxy) as wire:
        for _ in range(rounds):
            for user, times in zip(users, took, strict=True):
                make = wire.invite if method == "INVITE" else lambda u, **o: wire.message("REGISTER", u, **o)
                _, headers = wire.ask(make(uri, user=user))
                challenge = headers.get("www-authenticate") or headers["proxy-authenticate"]
                credentials = f"{name}: {digest(challenge, user, 'wrong', method, uri)}"
                message = make(uri, user=user, cseq=2, headers=(credentials,))
                start = time.perf_counter()
                wire.ask(message)
                times.append(time.perf_counter() - start)
    return took


@pytest.mark.parametrize("method", ["REGISTER", pytest.param("INVITE", marks=pytest.mark.slow)])
def test_users_and_others_are_refused_in_the_same_time(system: System, method: str) -> None:
    """One that is not looked up in the database would take half the time, whenever that is measured."""
    with stranger(system) as place:
        for _ in range(3):
            medians = seconds_of_a_refusal(system, place, method)
            # A machine with other work slows one more than another, for a moment.
            if max(medians.values()) < 1.2 * min(medians.values()):
                return
    raise AssertionError(medians)


def seconds_of_a_refusal(system: System, place: Namespace, method: str) -> dict[str, float]:
    """For each user the median of turns."""
    users = list(USERS.values())
    took: dict[str, list[float]] = {user: [] for user in users}
    for _ in range(15):
        # Before the address is banned for them.
        forget(system)
        # The first of a row pays for what is cold.
        users.append(users.pop(0))
        for user, more in zip(users, there(place, seconds, system.address, method, users, 3), strict=True):
            took[user] += more
    return {user: statistics.median(times) for user, times in took.items()}


def test_nobody_is_let_in_by_the_hash_of_nobody(system: System) -> None:
    """A response can be made from a hash without a password: none that is the same everywhere may be right."""

    def md5(text: str) -> str:
        return hashlib.md5(text.encode()).hexdigest()

    uri = f"sip:{DOMAIN}"
    for user in USERS.values():
        for ha1 in ("0" * 32, "", "0", md5(f"{user}:{DOMAIN}:")):
            with Wire(system.address) as wire:
                _, headers = wire.ask(wire.message("REGISTER", uri, user=user))
                found = re.search(r'nonce="([^"]*)"', headers["www-authenticate"])
                assert found
                response = md5(f"{ha1}:{found[1]}:{md5(f'REGISTER:{uri}')}")
                answer = (
                    f'Authorization: Digest username="{user}", realm="{DOMAIN}", nonce="{found[1]}", uri="{uri}", '
                    f'response="{response}"'
                )
                system.kamcmd("htable.flush", "ha1")
                forget(system)
                code, _ = wire.ask(wire.message("REGISTER", uri, user=user, cseq=2, headers=(answer, "Expires: 60")))
                assert code == 401, (user, ha1)
