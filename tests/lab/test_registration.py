"""Who may register, with what, and what is kept of it."""

import hashlib
from collections.abc import Iterator

import pytest

from tests.lab.system import System
from tests.lab.wire import DOMAIN, Wire, forget_bindings


def bindings(system: System, number: int) -> list[str]:
    """The contacts of a slot, as PostgreSQL has them."""
    rows = system.sql(f"SELECT contact FROM location WHERE username = 'slot_{number}' ORDER BY id")
    return [row[0] for row in rows]


@pytest.fixture(autouse=True)
def nobody_registered(system: System) -> None:
    forget_bindings(system)


@pytest.fixture
def wire(system: System) -> Iterator[Wire]:
    with Wire(system.address) as wire:
        yield wire


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_a_slot_registers_and_unregisters(system: System, transport: str) -> None:
    with system.phone(6001, transport=transport) as phone:
        assert phone.register() == 200
        assert bindings(system, 6001), "no row in PostgreSQL although the phone has its 200"
        assert "slot_6001" in system.kamcmd("ul.show")
        assert phone.unregister() == 200
        assert not bindings(system, 6001)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_a_wrong_password_never_registers(system: System, transport: str) -> None:
    # pragma: allowlist nextline secret
    with system.phone(6001, transport=transport, password="wrong") as phone:
        assert phone.register() in (401, 403)
    assert not bindings(system, 6001)


def test_an_unknown_user_is_refused_like_a_wrong_password(system: System, wire: Wire) -> None:
    """Else the answers tell a stranger which slots exist."""
    uri = f"sip:{DOMAIN}"
    codes, names = [], []
    for user in ("slot_6001", "slot_6999"):
        for password in ("wrong", ""):
            code, headers = wire.ask_as(user, password, "REGISTER", uri, user=user)
            codes.append(code)
            names.append(sorted(headers))
    assert set(codes) == {401}
    assert names[0] == names[2]
    # The operator is told.
    log = system.logs()
    assert f"REGISTER of slot_6001 from udp:{wire.contact} refused: wrong password" in log
    assert f"REGISTER of slot_6999 from udp:{wire.contact} refused: no such user" in log


def test_nobody_registers_for_another(system: System, wire: Wire) -> None:
    good = system.password(6001)
    code, _ = wire.ask_as("slot_6001", good, "REGISTER", f"sip:{DOMAIN}", user="slot_6002")
    assert code == 403
    code, _ = wire.ask_as("slot_6001", good, "REGISTER", f"sip:{DOMAIN}", user="slot_6001", to="slot_6002")
    assert code == 403
    assert not bindings(system, 6002)


def test_only_our_own_domain_is_registered_with(system: System, wire: Wire) -> None:
    code, _ = wire.ask_as("slot_6001", system.password(6001), "REGISTER", "sip:elsewhere.invalid", user="slot_6001")
    assert code == 403
    assert not bindings(system, 6001)


def test_a_slot_may_have_several_phones(system: System) -> None:
    with system.phone(6003) as first, system.phone(6003, transport="tcp") as second, system.phone(6004) as caller:
        for phone in (first, second, caller):
            phone.register(check=True)
        assert len(bindings(system, 6003)) == 2
        call = caller.call("6003")
        taken, other = first.expect_call(), second.expect_call()
        taken.answer()
        call.wait_state("confirmed")
        other.wait_state("disconnected")
        call.hangup()


def test_the_newest_of_too_many_is_bound_and_the_oldest_gives_way(system: System) -> None:
    password = system.password(6005)
    wires = [Wire(system.address) for _ in range(12)]
    assert {wire.register("slot_6005", password) for wire in wires} == {200}
    kept = bindings(system, 6005)
    assert kept == [f"sip:slot_6005@{wire.contact}" for wire in wires[2:]]
    assert wires[0].register("slot_6005", password, headers=("Expires: 0", "Contact: *"), contact=False) == 200
    assert not bindings(system, 6005)


@pytest.mark.parametrize(("asked", "granted"), [(100, 100), (90_000, 7200)])
def test_the_expiry_is_granted_within_the_bounds(system: System, asked: int, granted: int) -> None:
    with system.phone(6001) as phone:
        phone.register(expires=asked, check=True)
        assert phone.expires == granted
        left = system.sql("SELECT extract(epoch FROM expires - now() AT TIME ZONE 'UTC') FROM location")
        assert granted - 10 <= float(left[0][0]) <= granted + 1


def test_too_short_an_expiry_is_raised(system: System) -> None:
    with system.phone(6001) as phone:
        phone.register(expires=10, check=True)
        assert phone.expires == 60


def test_a_changed_password_counts_at_once(system: System) -> None:
    old = system.password(6006)
    with system.phone(6006) as phone:
        phone.register(check=True)
    before = system.sql("SELECT ha1 FROM subscriber WHERE username = 'slot_6006'")[0][0]
    changed = hashlib.md5(f"slot_6006:{DOMAIN}:new".encode()).hexdigest()
    try:
        system.sql(f"UPDATE subscriber SET ha1 = '{changed}' WHERE username = 'slot_6006'")
        # pragma: allowlist nextline secret
        with system.phone(6006, password="new") as phone:
            assert phone.register() == 200
        with system.phone(6006, password=old) as phone:
            assert phone.register() in (401, 403)
    finally:
        system.sql(f"UPDATE subscriber SET ha1 = '{before}' WHERE username = 'slot_6006'")
    with system.phone(6006) as phone:
        assert phone.register() == 200
