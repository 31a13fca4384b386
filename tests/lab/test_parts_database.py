"""PostgreSQL frozen, stopped, or out of disk, under load: no phone notices, and nothing is lost."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from tests.lab.load import Load
from tests.lab.outage import (
    Outage,
    Pulse,
    Registrations,
    await_that,
    frozen,
    serves,
    stopped,
    takes_questions,
    wait_for_proxy,
)
from tests.lab.system import System
from tests.lab.wire import DOMAIN, Wire, forget_bindings

DATA = "/var/lib/docker/volumes/vss_postgres_data/_data"
HEALED_SECONDS = 5.0
# Records that waited are written every two seconds, a file at a time.
WRITTEN_SECONDS = 20.0
HELD = "SELECT (SELECT count(*) FROM dialog), (SELECT count(*) FROM dialog_vars)"
LENGTHS = [10, pytest.param(60, marks=pytest.mark.slow)]


@pytest.fixture
def small_disk(system: System) -> Iterator[None]:
    """PostgreSQL has a disk of its own for the time of a test, with little room."""
    size = int(system.host.exec("sh", "-c", f"du -sm {DATA}").stdout.split()[0]) + 64
    system.host.exec(
        "sh", "-euc",
        f"docker stop vss-postgres; mkdir {DATA}.kept; cp -a {DATA}/. {DATA}.kept;"
        f" mount -t tmpfs -o size={size}m tmpfs {DATA}; cp -a {DATA}.kept/. {DATA};"
        f" chown --reference={DATA}.kept/base {DATA}; chmod 700 {DATA}; docker start vss-postgres",
        timeout=120,
    )  # fmt: skip
    yield
    system.host.exec(
        "sh", "-euc",
        f"docker stop vss-postgres; find {DATA}.kept -mindepth 1 -delete; cp -a {DATA}/. {DATA}.kept; umount {DATA};"
        f" find {DATA} -mindepth 1 -delete; cp -a {DATA}.kept/. {DATA}; rm -r {DATA}.kept; docker start vss-postgres",
        timeout=120,
    )  # fmt: skip


@contextmanager
def disk_full(system: System) -> Iterator[None]:
    """No room is left for the time of the block."""
    filler = f"{DATA}/filler"
    system.host.exec("sh", "-euc", f"fallocate -l $(df -B1 --output=avail {DATA} | tail -n 1) {filler}")
    try:
        yield
    finally:
        system.host.exec("rm", filler)


@pytest.fixture(autouse=True)
def nobody_registered(system: System) -> None:
    await_that(lambda: takes_questions(system), 20, "PostgreSQL is not up")
    forget_bindings(system)


def outlives(system: System, outage: AbstractContextManager[None], seconds: float) -> None:
    """Phones register and call while it lasts, and all of it is in the database afterwards, once."""
    await_that(lambda: serves(system), 20, "the database is not used")
    calls = system.sql(HELD)
    ((cdrs,),) = system.sql("SELECT count(*) FROM acc_cdrs")
    phones = [(number, system.password(number)) for number in range(7001, 7013)]
    with (
        Pulse(system.address) as pulse,
        Registrations(system, range(8001, 8009)) as registrations,
        Load([system.address], phones, calls=5, hold=(2, 6)) as load,
    ):
        begin = time.monotonic()
        with outage:
            time.sleep(seconds)  # as long as it is away
        end = time.monotonic()
        healed = await_that(lambda: serves(system), 20, "the database is not used again")
        time.sleep(2)  # phones go on
    slow = pulse.percentile(0.99, begin, end)
    print(f"OPTIONS p50 {pulse.percentile(0.5, begin, end):.3f} s, p99 {slow:.3f} s, healed after {healed:.1f} s")
    assert slow < 1.0
    assert healed < HEALED_SECONDS
    assert set(registrations.codes) == {200}, registrations.codes
    load.assert_unharmed()
    on_record(system, registrations)
    answered = int(cdrs) + load.report["answered"]
    count = "SELECT count(*) FROM acc_cdrs"
    await_that(lambda: system.sql(count) == [[str(answered)]], WRITTEN_SECONDS, f"there are not {answered} CDRs")
    bound(system, registrations)
    # A call that has ended meanwhile is not left for the next start to find.
    await_that(lambda: system.sql(HELD) == calls, WRITTEN_SECONDS, f"not {calls} but {system.sql(HELD)} calls are held")


def on_record(system: System, registrations: Registrations) -> None:
    """Each registration that was granted is in acc, once."""
    first = min(ids[0].rsplit("-", 1)[1] for ids in registrations.call_ids.values())
    query = (
        "SELECT count(*), count(DISTINCT callid) FROM acc WHERE callid LIKE 'outage-%'"
        f" AND split_part(callid, '-', 3)::bigint >= {first}"
    )
    wanted = [[str(registrations.granted)] * 2]
    await_that(lambda: system.sql(query) == wanted, WRITTEN_SECONDS, f"not {wanted} but {system.sql(query)} in acc")
    assert system.sql("SELECT count(*) FROM late_record") == [["0"]]


def bound(system: System, registrations: Registrations) -> None:
    """The last registration of each slot is its row in location, and its only one."""
    wanted = sorted([f"slot_{number}", ids[-1]] for number, ids in registrations.call_ids.items())
    query = "SELECT username, callid FROM location WHERE username LIKE 'slot_8%' ORDER BY username"
    await_that(lambda: system.sql(query) == wanted, WRITTEN_SECONDS, f"{system.sql(query)} is bound, not {wanted}")


@pytest.mark.parametrize("seconds", LENGTHS)
def test_frozen(system: System, seconds: int) -> None:
    outlives(system, frozen(system, "vss-postgres"), seconds)


@pytest.mark.parametrize("seconds", LENGTHS)
def test_stopped(system: System, seconds: int) -> None:
    outlives(system, stopped(system, "vss-postgres"), seconds)


@pytest.mark.parametrize("seconds", LENGTHS)
def test_disk_full(system: System, small_disk: None, seconds: int) -> None:
    outlives(system, disk_full(system), seconds)


@pytest.mark.parametrize("how", [frozen, stopped])
def test_a_binding_of_an_outage_is_written_afterwards(system: System, how: Outage) -> None:
    """And one that was removed meanwhile goes: whoever reads the table next, as after a restart, finds what is true."""
    forget_bindings(system)
    with Wire(system.address) as stays, Wire(system.address) as leaves, Wire(system.address) as comes:
        password = {number: system.password(number) for number in (6001, 6002, 6003)}
        assert stays.register("slot_6001", password[6001], call_id=f"first-{stays.port}") == 200
        assert leaves.register("slot_6002", password[6002]) == 200
        assert comes.register("slot_6003", password[6003], headers=("Expires: 0",)) == 200
        with how(system, "vss-postgres"):
            assert stays.register("slot_6001", password[6001], call_id=f"second-{stays.port}") == 200
            assert leaves.register("slot_6002", password[6002], headers=("Expires: 0",)) == 200
            instance = f'Contact: <sip:slot_6003@{comes.contact}>;+sip.instance="<urn:uuid:o\'brien>"'
            headers = ("Expires: 300", instance, "User-Agent: it's \\ mine")
            assert comes.register("slot_6003", password[6003], headers=headers, contact=False) == 200
        mine = "'slot_6001', 'slot_6002', 'slot_6003'"
        query = (
            f"SELECT username, callid LIKE 'second-%', user_agent FROM location WHERE username IN ({mine}) ORDER BY 1"
        )
        wanted = [["slot_6001", "t", "n/a"], ["slot_6003", "f", "it's \\ mine"]]
        await_that(lambda: system.sql(query) == wanted, 20, f"{system.sql(query)} is in location")
        assert system.sql("SELECT instance FROM location WHERE username = 'slot_6003'") == [["<urn:uuid:o'brien>"]]


def test_who_cannot_be_known_is_neither_refused_nor_let_in(system: System) -> None:
    """A slot that the proxy has not seen, and a password that it does not know: 503, with a time to come back."""
    password = {number: system.password(number) for number in (6001, 6002)}
    system.kamcmd("htable.delete", "ha1", "slot_6002")
    with Wire(system.address) as wire:
        assert wire.register("slot_6001", password[6001]) == 200
        with stopped(system, "vss-postgres"):
            assert wire.register("slot_6001", password[6001]) == 200
            for user, secret in (("slot_6002", password[6002]), ("slot_6001", "wrong"), ("slot_6999", "wrong")):
                code, headers = wire.ask_as(user, secret, "REGISTER", f"sip:{DOMAIN}", user=user)
                assert (code, "retry-after" in headers) == (503, True)
        await_that(lambda: serves(system), 20, "the database is not used again")
        assert wire.register("slot_6002", password[6002]) == 200


def test_every_slot_is_known_from_the_start(system: System) -> None:
    """Also one that has not registered since."""
    system.host.exec("docker", "restart", "vss-kamailio")
    wait_for_proxy(system)
    with Wire(system.address) as wire, stopped(system, "vss-postgres"):
        assert wire.register("slot_7020", system.password(7020)) == 200


def test_a_password_known_for_long_holds_while_the_database_is_away(system: System) -> None:
    with Wire(system.address) as wire:
        password = system.password(6001)
        assert wire.register("slot_6001", password) == 200
        with stopped(system, "vss-postgres"):
            system.kamcmd("htable.flush", "fresh")  # as after an hour
            assert wire.register("slot_6001", password) == 200
