"""What a proxy has for itself in the database, and who writes a binding, against a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from psycopg.rows import TupleRow

from sipstack.database import gateways, own_tables, roles, schema
from sipstack.database.gateways import Gateway
from tests.unit.postgres import throwaway_postgres
from tests.unit.test_schema import SQL, Database

ONE, OTHER = "proxy_1", "proxy_2"
BINDING = "INSERT INTO location (ruid, username, server_id, expires, connection_id) VALUES (%s, 'slot_6001', %s, {}, 7)"
# What a proxy writes for an outage (files/kamailio/bin/late-records).
LATE = "missed_calls|INVITE|f|t|call|480|Away|1790000000|slot_6001|d|6002|d|192.0.2.1"
VALID, EXPIRED = "now() + interval '1 hour'", "now() - interval '1 hour'"


@pytest.fixture(scope="module")
def database() -> Iterator[Database]:
    with throwaway_postgres() as server:
        with server.connect() as conn:
            conn.execute("CREATE DATABASE own_tables")
        made = Database(server, "own_tables", "own_owner", "own_proxy")
        with made.as_superuser() as conn:
            roles.ensure(conn, "own_tables", made.owner, made.owner_password, made.proxy, made.proxy_password)
        with made.as_owner() as conn:
            schema.apply(conn, SQL)
            roles.grant(conn, made.proxy)
            own_tables.apply(conn, [ONE, OTHER], made.proxy)
        yield made


@pytest.fixture(autouse=True)
def no_bindings(database: Database) -> None:
    with database.as_owner() as conn:
        conn.execute("TRUNCATE location, location_gone, dialog")


def as_proxy(database: Database, number: int) -> psycopg.Connection[TupleRow]:
    """Connected as a proxy is: with its server_id, and its own schema first."""
    conn = database.as_proxy()
    conn.execute(f"SET search_path = proxy_{number}, public; SET vss.server_id = {number}")
    return conn


def one(conn: psycopg.Connection[TupleRow], query: str) -> object:
    row = conn.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def test_they_are_made_once(database: Database) -> None:
    with database.as_owner() as conn:
        assert own_tables.difference(conn, [ONE, OTHER], database.proxy) == []
        assert own_tables.difference(conn, [ONE, "proxy_3"], database.proxy) == [
            "create dialog, dialog_vars in schema proxy_3"
        ]


def test_each_proxy_sees_its_own_calls_and_operators_see_all(database: Database) -> None:
    columns = "hash_entry, hash_id, callid, from_uri, from_tag, to_uri, to_tag, caller_cseq, callee_cseq, "
    columns += "caller_contact, callee_contact, caller_sock, callee_sock, state, start_time, req_uri"
    for number in (1, 2):
        with as_proxy(database, number) as conn:
            # The same numbers at both: each counts for itself.
            values = f"5, 5, 'call{number}', '', '', '', '', '', '', '', '', '', '', 4, 0, ''"
            conn.execute(f"INSERT INTO dialog ({columns}) VALUES ({values})".encode())
    with as_proxy(database, 1) as conn:
        assert conn.execute("SELECT callid FROM dialog").fetchall() == [("call1",)]
        conn.execute("DELETE FROM dialog WHERE hash_entry = 5 AND hash_id = 5")
    with database.as_owner() as conn:
        assert conn.execute("SELECT callid FROM dialog").fetchall() == [("call2",)]


def test_a_binding_is_written_by_the_proxy_that_has_it(database: Database) -> None:
    with as_proxy(database, 1) as first, as_proxy(database, 2) as second:
        second.execute(BINDING.format(VALID).encode(), ["ruid", 1])
        assert one(second, "SELECT count(*) FROM location") == 0
        first.execute(BINDING.format(VALID).encode(), ["ruid", 1])
        first.commit()
        second.execute("UPDATE location SET contact = 'copy', server_id = 1 WHERE ruid = 'ruid'")
        assert one(second, "SELECT contact FROM location") == ""
        # The phone has registered there now.
        second.execute("UPDATE location SET contact = 'moved', server_id = 2 WHERE ruid = 'ruid'")
        assert one(second, "SELECT contact FROM location") == "moved"


def test_a_proxy_that_is_alone_writes_everything(database: Database) -> None:
    with database.as_proxy() as conn:
        conn.execute(BINDING.format(VALID).encode(), ["ruid", 99])
        assert one(conn, "SELECT count(*) FROM location") == 1


def test_connections_are_not_remembered(database: Database) -> None:
    with as_proxy(database, 1) as conn:
        conn.execute(BINDING.format(VALID).encode(), ["ruid", 1])
        assert one(conn, "SELECT connection_id FROM location") == -1


@pytest.mark.parametrize(("expires", "noted"), [(VALID, 1), (EXPIRED, 0)])
def test_what_is_removed_before_its_time_is_noted(database: Database, expires: str, noted: int) -> None:
    with as_proxy(database, 1) as conn:
        conn.execute(BINDING.format(expires).encode(), ["ruid", 1])
        conn.execute("DELETE FROM location WHERE ruid = 'ruid'")
        assert one(conn, "SELECT count(*) FROM location_gone WHERE username = 'slot_6001'") == noted
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute("DELETE FROM location_gone")


def test_a_binding_is_removed_by_the_proxy_that_has_it(database: Database) -> None:
    """Or by one at which the phone has left, which says so; and by anybody once it has expired."""
    with as_proxy(database, 1) as first, as_proxy(database, 2) as second:
        first.execute(BINDING.format(VALID).encode(), ["ruid", 1])
        first.execute(BINDING.format(EXPIRED).encode(), ["old", 1])
        first.commit()
        second.execute("DELETE FROM location")
        assert second.execute("SELECT ruid FROM location").fetchall() == [("ruid",)]
        second.execute("INSERT INTO location_gone (ruid, username) VALUES ('ruid', 'slot_6001')")
        second.execute("DELETE FROM location WHERE ruid = 'ruid'")
        assert one(second, "SELECT count(*) FROM location") == 0


def test_what_was_removed_does_not_come_back(database: Database) -> None:
    """As when another proxy, which has not heard of it, tells it to the owner."""
    with as_proxy(database, 1) as conn:
        for _ in range(2):
            conn.execute(BINDING.format(VALID).encode(), ["ruid", 1])
            conn.execute("DELETE FROM location WHERE ruid = 'ruid'")
        conn.execute(BINDING.format(VALID).encode(), ["ruid", 1])
        assert one(conn, "SELECT count(*) FROM location") == 0
        conn.execute(BINDING.format(VALID).encode(), ["another", 1])
        assert one(conn, "SELECT count(*) FROM location") == 1


def test_a_trial_leaves_nothing(database: Database) -> None:
    with database.as_owner() as conn:
        own_tables.create_trial(conn, "trial_1", database.proxy, [])
        own_tables.create_trial(conn, "trial_1", database.proxy, [])  # one that a killed run has left
    with database.as_proxy() as conn:
        conn.execute("SET search_path = trial_1, public")
        conn.execute(BINDING.format(VALID).encode(), ["ruid", 1])
        conn.execute("INSERT INTO acc (method, time) VALUES ('INVITE', now())")
        conn.execute("DELETE FROM location")
        conn.execute("INSERT INTO late_record (line) VALUES (%s)", [LATE])
    with database.as_owner() as conn:
        with conn.transaction():
            own_tables.drop_trial(conn, "trial_1")
        for table in own_tables.WRITTEN:
            assert one(conn, f"SELECT count(*) FROM {table}") == 0
        assert one(conn, "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'trial%'") == 0


def test_a_trial_can_write_into_no_table_of_production(database: Database) -> None:
    """Asked of the database itself, whatever this project takes for complete."""
    query = """SELECT c.relname FROM pg_class c, pg_roles r
        WHERE r.rolname = %s AND c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v')
        AND has_table_privilege(r.oid, c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE')"""
    with database.as_owner() as conn:
        own_tables.create_trial(conn, "trial_1", database.proxy, [])
        writable = {row[0] for row in conn.execute(query, [database.proxy])}
    assert "late_record" in writable
    with database.as_proxy() as conn:
        conn.execute("SET search_path = trial_1, public")
        where = "SELECT relnamespace::regnamespace FROM pg_class WHERE oid = '{}'::regclass"
        found = {name: one(conn, where.format(name)) for name in writable}
    with database.as_owner() as conn, conn.transaction():
        own_tables.drop_trial(conn, "trial_1")
    assert found == dict.fromkeys(writable, "trial_1")


def test_a_proxy_that_starts_counts_its_own_calls_of_slots(database: Database) -> None:
    """Not those of another proxy, of a gateway, or of long ago."""
    columns = "hash_entry, hash_id, callid, from_uri, from_tag, to_uri, to_tag, caller_cseq, callee_cseq, "
    columns += "caller_contact, callee_contact, caller_sock, callee_sock, state, start_time, req_uri, timeout"
    calls = {1: [("slot_6001", 60), ("slot_6001", 60), ("slot_6002", -300), ("+4930", 60)], 2: [("slot_6001", 60)]}
    for number, of in calls.items():
        with as_proxy(database, number) as conn:
            conn.execute("DELETE FROM dialog")
            for entry, (slot, left) in enumerate(of):
                values = f"{entry}, 7, 'x', '', '', '', '', '', '', '', '', '', '', 4, 0, '', "
                values += f"extract(epoch FROM now()) + {left}"
                conn.execute(f"INSERT INTO dialog ({columns}) VALUES ({values})".encode())
                said = "INSERT INTO dialog_vars (hash_entry, hash_id, dialog_key, dialog_value) VALUES (%s, 7, %s, %s)"
                conn.execute(said, [entry, "src_user", slot])
                conn.execute(said, [entry, "dst_user", "slot_6009"])
    with as_proxy(database, 1) as conn:
        rows = conn.execute("SELECT key_name, key_value FROM calling_loaded ORDER BY 1").fetchall()
        assert rows == [("0:7", "slot_6001"), ("1:7", "slot_6001")]
        assert conn.execute("SELECT key_name, key_value FROM at_once_loaded").fetchall() == [("slot_6001", "2")]
    with as_proxy(database, 2) as conn:
        assert conn.execute("SELECT key_name, key_value FROM at_once_loaded").fetchall() == [("slot_6001", "1")]


def test_a_trial_has_the_gateways_of_now_and_its_own(database: Database) -> None:
    now, wanted = Gateway(1, "sip:192.0.2.1:5080"), Gateway(1, "sip:192.0.2.2:5080")
    with database.as_owner() as conn:
        gateways.apply(conn, [now])
        own_tables.create_trial(conn, "trial_1", database.proxy, [wanted, now])
    with database.as_proxy() as conn:
        conn.execute("SET search_path = trial_1, public")
        rows = conn.execute("SELECT destination FROM dispatcher ORDER BY 1").fetchall()
        assert [row[0] for row in rows] == [now.destination, wanted.destination]
    with database.as_owner() as conn:
        assert one(conn, "SELECT count(*) FROM public.dispatcher") == 1


def test_trials_of_several_proxies_at_once(database: Database) -> None:
    def trial(number: int) -> None:
        with database.as_owner() as conn:
            own_tables.create_trial(conn, f"trial_{number}", database.proxy, [])
            with conn.transaction():
                own_tables.drop_trial(conn, f"trial_{number}")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(trial, range(8)))
