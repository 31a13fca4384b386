"""PostgreSQL that answers, but late: tables locked by somebody, or a disk that takes its time. No phone notices."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager

import pytest

from tests.lab.outage import await_that, frozen, serves
from tests.lab.system import System
from tests.lab.test_parts_database import WRITTEN_SECONDS, nobody_registered, outlives
from tests.lab.test_parts_watch import cut
from tests.lab.wire import Wire

__all__ = ["nobody_registered"]

# Tables that the proxy writes to while it works.
WRITTEN = ("location", "acc", "acc_cdrs", "missed_calls", "dialog", "dialog_vars")
HOLDER = "somebody else"
SECONDS = 12

Slowness = Callable[[System], AbstractContextManager[None]]


def locked(*tables: str) -> Slowness:
    """Somebody holds tables for himself, as ALTER TABLE does, and does not come to an end."""

    @contextmanager
    def block(system: System) -> Iterator[None]:
        others = f"SELECT pid FROM pg_stat_activity WHERE application_name = '{HOLDER}'"
        held = f"SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted AND pid = ({others})"
        script = f"BEGIN; LOCK TABLE {', '.join(tables)} IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(600)"
        system.host.exec(
            "sh", "-c",
            f"docker exec -d -e PGPASSWORD={system.admin_password} -e PGAPPNAME='{HOLDER}' vss-postgres"
            f" psql -h 127.0.0.1 -U postgres -d vss_db -c \"{script}\"",
        )  # fmt: skip
        try:
            await_that(lambda: int(system.sql(held)[0][0]) >= len(tables), 10, "the tables are not locked")
            yield
        finally:
            system.sql(f"SELECT pg_terminate_backend(pid) FROM ({others}) AS holder")

    return block


def slow(seconds: float) -> Slowness:
    """Every write takes so long."""

    @contextmanager
    def block(system: System) -> Iterator[None]:
        system.sql(
            "CREATE FUNCTION take_time() RETURNS trigger LANGUAGE plpgsql AS"
            f" $$ BEGIN PERFORM pg_sleep({seconds}); RETURN NULL; END $$;"
            + "".join(
                f"CREATE TRIGGER take_time BEFORE INSERT OR UPDATE OR DELETE ON {table}"
                " FOR EACH STATEMENT EXECUTE FUNCTION take_time();"
                for table in WRITTEN
            )
        )
        try:
            yield
        finally:
            # One at a time: writes are going on.
            for table in WRITTEN:
                system.sql(f"DROP TRIGGER take_time ON {table}")
            system.sql("DROP FUNCTION take_time")

    return block


@contextmanager
def stuttering(system: System) -> Iterator[None]:
    """It stands still most of the time, as with a disk that cannot keep up."""
    ended = threading.Event()

    def stutter() -> None:
        while not ended.wait(0.3):
            with frozen(system, "vss-postgres"):
                ended.wait(1.2)

    with ThreadPoolExecutor() as pool:
        stutters = pool.submit(stutter)
        try:
            yield
        finally:
            ended.set()
        stutters.result()


@pytest.mark.slow
@pytest.mark.parametrize("how", [locked("acc"), locked(*WRITTEN)], ids=["acc", "all"])
def test_locked_tables(system: System, how: Slowness) -> None:
    outlives(system, how(system), SECONDS)


@pytest.mark.slow
@pytest.mark.parametrize("each", [0.4, 1.5, 2.5])
def test_slow_writes(system: System, each: float) -> None:
    outlives(system, slow(each)(system), SECONDS)


@pytest.mark.slow
def test_stuttering(system: System) -> None:
    outlives(system, stuttering(system), SECONDS)


def test_a_question_that_waits_alone_cuts_nobody_off(system: System) -> None:
    """The other workers go on."""
    await_that(lambda: serves(system), 20, "the database is not used")
    with Wire(system.address) as wire, slow(1.0)(system):
        assert wire.register("slot_6001", system.password(6001), call_id=f"alone-{wire.port}") == 200
        assert not cut(system)
    assert system.sql(f"SELECT count(*) FROM acc WHERE callid = 'alone-{wire.port}'") == [["1"]]


def test_a_question_that_waits_for_a_lock_is_given_up(system: System) -> None:
    """What it was to write is written later."""
    query = "SELECT count(*) FROM location WHERE callid = 'locked-{0}'"
    with Wire(system.address) as wire:
        with locked("location")(system):
            begin = time.monotonic()
            assert wire.register("slot_6001", system.password(6001), call_id=f"locked-{wire.port}") == 200
            assert time.monotonic() - begin < 2.0
        wanted = [["1"]]
        await_that(lambda: system.sql(query.format(wire.port)) == wanted, WRITTEN_SECONDS, "it is not bound")
