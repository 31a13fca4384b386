"""Nobody is banned, and no phone refused, for what others do in its name or beside it.

What strangers can forge is sent from another address in the name of `home`, where the phone is.
"""

import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from sipstack.lab.namespaces import Namespace
from tests.lab import attacks, newcomer
from tests.lab.attacker import bans, stranger, there
from tests.lab.system import System
from tests.lab.wire import forget_bindings

GUESSES = 10  # limit_failures_a_minute
STRANGERS = 60  # limit_strangers_a_minute
REQUESTS = 100  # twice limit_requests_a_second: counted over up to two seconds
# Honest names that have a scanner's as a part: of a product (RFC 3261 §20.41), or in a comment.
HONEST = (
    "PythonSIPClient/1.0", "Kiwari Phone 2.1", "SmapOne/3", "Gulpfone/1.2", "my-sipcli-dialer/2", "iwar-desk/1.0",
    "sipvicious-free phone", "MegaSipScanner/1", "Phone/1.0 (not gulp)", "Phone/2 (friendly-scanner safe; smap)",
)  # fmt: skip


@contextmanager
def at_home(system: System) -> Iterator[tuple[Namespace, Namespace]]:
    """Where the attacker is, and where the phone is; the proxy knows neither."""
    with stranger(system) as place, stranger(system, "home") as home:
        yield place, home
    forget_bindings(system)


def forge(system: System, place: Namespace, home: Namespace, messages: Sequence[bytes], pause: float = 0.0) -> None:
    texts = [message.decode() for message in messages]
    there(place, attacks.forge, home.address, system.address, texts, 5070, pause)


def registers(system: System, home: Namespace, transport: str, number: int = 6005) -> list[int]:
    return there(home, newcomer.register, system.address, number, system.password(number), transport)


def challenges(count: int) -> list[bytes]:
    """REGISTERs that collect challenges, no two alike."""
    return [attacks.request("REGISTER", newcomer.URI) for _ in range(count)]


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_a_phone_whose_address_is_forged_by_a_scanner_comes(system: System, transport: str) -> None:
    """One such datagram must not ban it."""
    with at_home(system) as (place, home):
        names = ("friendly-scanner", "sipvicious", "sipcli/v1.8")
        forge(system, place, home, [attacks.options(name) for name in names])
        assert bans(system) == {}
        assert registers(system, home, transport) == [200]


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_a_phone_whose_challenges_others_have_used_up_comes(system: System, transport: str) -> None:
    """61 forged REGISTERs a minute. Over UDP its REGISTER is challenged when it is sent again (RFC 3261 §17.1.2.2)."""
    with at_home(system) as (place, home):
        forge(system, place, home, challenges(STRANGERS + 5))
        assert registers(system, home, transport) == [200]
        assert bans(system) == {}
        # From now on the address is known.
        forge(system, place, home, challenges(STRANGERS + 5))
        assert there(home, newcomer.keep_registering, system.address, 6005, system.password(6005), 2) == [200, 200]


@pytest.mark.parametrize(
    ("transport", "kind"),
    [
        ("udp", "REGISTER"),
        ("tcp", "OPTIONS"),
        pytest.param("udp", "OPTIONS", marks=pytest.mark.slow),
        pytest.param("udp", "ACK", marks=pytest.mark.slow),
        pytest.param("tcp", "REGISTER", marks=pytest.mark.slow),
        pytest.param("tcp", "ACK", marks=pytest.mark.slow),
    ],
)
def test_a_phone_comes_while_its_address_is_forged_in_a_flood(system: System, transport: str, kind: str) -> None:
    """Twice as much as an address may send, before and while the phone is new there."""
    flood = [attacks.request(kind, newcomer.URI) for _ in range(16 * REQUESTS)]
    with at_home(system) as (place, home), ThreadPoolExecutor() as pool:
        forge(system, place, home, flood[:REQUESTS])
        forging = pool.submit(forge, system, place, home, flood, 1 / REQUESTS / 2)
        assert registers(system, home, transport) == [200]
        forging.result()
        assert bans(system) == {}


def test_a_phone_whose_address_shares_a_counter_with_a_flood_is_served(system: System) -> None:
    """Counters are of a fixed number: two addresses may have the same."""
    with at_home(system) as (place, home):
        twin = _twin(home.address)
        flood = [attacks.options().decode()] * (8 * REQUESTS)
        assert there(home, attacks.code_over_udp, system.address) == 200
        assert f"name: {_bucket(home.address)}\n" in system.kamcmd("htable.dump", "rate"), "not how it is counted"
        with ThreadPoolExecutor() as pool:
            forging = pool.submit(there, place, attacks.forge, twin, system.address, flood, 5070, 1 / REQUESTS / 4)
            codes = [there(home, attacks.code_over_udp, system.address) for _ in range(4)]
            forging.result()
        assert codes == [200] * 4


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_a_phone_with_a_part_of_a_scanners_name_registers(system: System, transport: str) -> None:
    """PythonSIPClient has `sipcli` in it."""
    with at_home(system) as (_, home):
        codes = there(home, newcomer.register, system.address, 6005, system.password(6005), transport, HONEST, 3.0)
        assert dict(zip(HONEST, codes, strict=True)) == dict.fromkeys(HONEST, 200)
        assert bans(system) == {}


@pytest.mark.parametrize("realm", ["vss.internal", "another.invalid"])
def test_a_wrong_answer_that_is_sent_again_is_one_wrong_answer(system: System, realm: str) -> None:
    """Its nonce is used, which is no failure (RFC 2617 §3.3); nor are credentials of another realm, or an old nonce."""
    with at_home(system) as (_, home):
        codes = there(home, newcomer.one_wrong_answer, system.address, "slot_6005", GUESSES + 3, realm)
        assert set(codes) == {401}
        assert bans(system) == {}
        assert registers(system, home, "udp") == [200]


@pytest.mark.parametrize("transport", ["udp", pytest.param("tcp", marks=pytest.mark.slow)])
def test_a_phone_with_a_second_account_of_a_wrong_password_keeps_the_first(system: System, transport: str) -> None:
    """Desk phones with several lines use one socket for all."""
    with at_home(system) as (_, home):
        right = system.password(6005)
        codes = there(home, newcomer.guess_beside, system.address, 6005, right, 6006, GUESSES + 3, transport)
        assert codes == [200] * (GUESSES + 3)
        assert bans(system) == {f"slot_6006@{home.address}": "guesses"}


def test_a_phone_beside_one_that_guesses_at_its_password_is_served(system: System) -> None:
    """Both are behind one NAT. Who guesses gets no further, with the right password either."""
    with at_home(system) as (_, home):
        right = system.password(6005)
        assert there(home, newcomer.keep_registering, system.address, 6005, right, 1, 5070) == [200]
        there(home, attacks.guess, system.address, "slot_6005", [f"wrong{n}" for n in range(GUESSES + 1)])
        assert bans(system) == {f"slot_6005@{home.address}": "guesses"}
        assert there(home, attacks.guess, system.address, "slot_6005", [right]) == [0]
        assert there(home, newcomer.keep_registering, system.address, 6005, right, 2, 5070) == [200, 200]


def test_a_phone_is_served_at_an_address_that_is_banned(system: System) -> None:
    """Somebody behind the same NAT has guessed at many users; another proxy, or this one, has banned the address."""
    with at_home(system) as (_, home):
        right = system.password(6005)
        assert there(home, newcomer.keep_registering, system.address, 6005, right, 1, 5070) == [200]
        system.kamcmd("htable.sets", "ban", home.address, "guesses:1:9999999999:1")
        assert there(home, newcomer.keep_registering, system.address, 6005, right, 2, 5070) == [200, 200]
        assert registers(system, home, "udp", 6006) == [0]
        assert there(home, attacks.code_over_udp, system.address) == 0


def test_who_has_a_password_and_guesses_others_is_ignored_like_anybody(system: System) -> None:
    """From the very source that has proved itself: its next guess after the ban of its address is dropped."""
    with at_home(system) as (_, home):
        right = system.password(6005)
        codes = there(home, newcomer.guess_beside, system.address, 6005, right, 6006, GUESSES + 1, "udp")
        assert codes == [200] * (GUESSES + 1)
        assert there(home, attacks.guess, system.address, "slot_6006", [system.password(6006)]) == [0]


@pytest.mark.slow
def test_a_known_phone_is_served_in_a_flood_beyond_all_that_its_address_may_send(system: System) -> None:
    """In the name of its address, but not of its port, which nobody else can see behind NAT."""
    system.deploy(limit_requests_a_second=10)
    try:
        with at_home(system) as (place, home), ThreadPoolExecutor() as pool:
            right = system.password(6005)
            assert there(home, newcomer.keep_registering, system.address, 6005, right, 1, 5080) == [200]
            forging = pool.submit(forge, system, place, home, [attacks.options()] * 20_000, 0.0002)
            while there(home, attacks.code_over_udp, system.address) == 200:
                assert not forging.done(), "the flood was none"
            assert there(home, newcomer.keep_registering, system.address, 6005, right, 4, 5080) == [200] * 4
            assert not forging.done(), "the flood was over too soon"
            forging.result()
    finally:
        system.deploy()


def _twin(address: str) -> str:
    """Another address with the same counter."""
    wanted, chance = _bucket(address), random.Random(address)
    tries = (".".join(str(chance.randrange(1, 224)) for _ in range(4)) for _ in range(10**6))
    return next(other for other in tries if _bucket(other) == wanted)


def _bucket(address: str) -> int:
    """The counter of an address: transformation s.corehash of Kamailio, of 65536."""
    octets, mask, total = address.encode(), 0xFFFFFFFF, 0
    whole = len(octets) // 4 * 4
    for start in range(0, whole, 4):
        value = int.from_bytes(octets[start : start + 4], "big")
        total = total + (value ^ (value >> 3)) & mask
    value = int.from_bytes(octets[whole:], "big")
    total = total + (value ^ (value >> 3)) & mask
    return ((total + (total >> 11)) + ((total >> 13) + (total >> 23)) & mask) & 0xFFFF
