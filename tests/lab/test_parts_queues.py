"""What waits for the database is written in pieces, and one row that it refuses keeps no other one waiting."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.lab.attacker import bans, forget
from tests.lab.outage import await_that, stopped
from tests.lab.system import System
from tests.lab.wire import Wire, forget_bindings

# Keys are written every ten seconds, bans and bindings every two.
WRITTEN_SECONDS = 40.0
SLOTS = range(5000, 8000)
REFUSED = 5007


@contextmanager
def refusing(system: System, table: str, condition: str) -> Iterator[None]:
    """The database takes no row of a table for which that condition is not true."""
    system.sql(f"ALTER TABLE {table} ADD CONSTRAINT test_refuses CHECK ({condition}) NOT VALID")
    try:
        yield
    finally:
        system.sql(f"ALTER TABLE {table} DROP CONSTRAINT test_refuses")


@pytest.fixture
def day(system: System) -> Iterator[str]:
    """What the keys of today at this proxy begin with; the counts of nobody are kept."""

    def nothing() -> None:
        system.sql("DELETE FROM outside_calls")
        for table in ("changed", "outside", "refused"):
            system.kamcmd("htable.flush", table)

    nothing()
    server = system.host.exec(
        "docker", "exec", "vss-kamailio", "sh", "-c", "sed -n s/^server_id=//p /etc/kamailio/values.cfg"
    )
    yield f"{int(time.time()) // 86400}:{server.stdout.strip()}"
    nothing()


def change(system: System, day: str, slots: range) -> None:
    """As if those slots had called outside: each so many times as its number says modulo 50."""
    for first in range(slots.start, slots.stop, 250):
        some = [f"{day}:slot_{slot} {slot % 50}" for slot in slots[first - slots.start :][:250]]
        lines = [f"htable.seti outside {key}\nhtable.seti changed {key}\n" for key in some]
        system.host.exec("docker", "exec", "-i", "vss-kamailio", "/usr/sbin/kamcmd", stdin="".join(lines), timeout=60)


def counted(system: System) -> list[str]:
    """How many slots have a count in the database, and the sum of all."""
    return system.sql("SELECT count(*), coalesce(sum(key_value::integer), 0) FROM outside_calls")[0]


def test_the_counts_of_three_thousand_slots_are_written(system: System, day: str) -> None:
    """Also those of a slot that comes after one whose row the database refuses, and that one when it does no more."""
    wanted = [str(len(SLOTS)), str(sum(slot % 50 for slot in SLOTS))]
    without = [str(len(SLOTS) - 1), str(sum(slot % 50 for slot in SLOTS) - REFUSED % 50)]
    with refusing(system, "outside_calls", f"key_name NOT LIKE '%:slot_{REFUSED}'"):
        change(system, day, SLOTS)
        await_that(lambda: counted(system) == without, WRITTEN_SECONDS, f"not {without} but {counted(system)}")
    system.kamcmd("htable.flush", "refused")  # as after a minute
    await_that(lambda: counted(system) == wanted, WRITTEN_SECONDS, f"not {wanted} but {counted(system)}")


def test_counts_and_bans_of_an_outage_are_written_afterwards(system: System, day: str) -> None:
    forget(system)
    with stopped(system, "vss-postgres"):
        change(system, day, range(6000, 6010))
        banned(system, "192.0.2.1")
        # The timers run while the database is away: every two seconds and every ten.
        time.sleep(11)
    await_that(lambda: counted(system)[0] == "10", WRITTEN_SECONDS, "the counts are not written")
    await_that(lambda: written(system) == ["192.0.2.1"], WRITTEN_SECONDS, "the ban is not written")
    forget(system)


def test_a_ban_that_the_database_refuses_keeps_no_other_one_waiting(system: System) -> None:
    forget(system)
    with refusing(system, "ban", "who NOT LIKE '192.0.2.%'"):
        for who in (*(f"192.0.2.{last}" for last in range(10)), "198.18.0.1"):
            banned(system, who)
        await_that(lambda: written(system) == ["198.18.0.1"], WRITTEN_SECONDS, f"{written(system)} are written")
        assert len(bans(system)) == 11
    system.kamcmd("htable.flush", "refused")
    await_that(lambda: len(written(system)) == 11, WRITTEN_SECONDS, f"{written(system)} are written")
    forget(system)


def test_a_binding_that_the_database_refuses_keeps_no_other_one_waiting(system: System) -> None:
    forget_bindings(system)
    numbers = (6001, 6002, 6003)
    with Wire(system.address) as phone, refusing(system, "location", "username <> 'slot_6001'"):
        for number in numbers:
            assert phone.register(f"slot_{number}", system.password(number)) == 200
            system.sql(f"DELETE FROM location WHERE username = 'slot_{number}'")
            system.kamcmd("htable.seti", "owed", f"slot_{number}", "1")
        query = "SELECT username FROM location ORDER BY 1"
        await_that(lambda: system.sql(query) == [["slot_6002"], ["slot_6003"]], WRITTEN_SECONDS, "not written")
    forget_bindings(system)
    system.kamcmd("htable.flush", "refused")


def banned(system: System, who: str) -> None:
    """As the proxy bans it, which leaves the writing to another process."""
    now = int(time.time())
    system.kamcmd("htable.sets", "ban", who, f"flood:{now}:{now + 600}:1")
    system.kamcmd("htable.sets", "unwritten", who, "new")


def written(system: System) -> list[str]:
    return [who for (who,) in system.sql("SELECT who FROM ban ORDER BY 1")]
