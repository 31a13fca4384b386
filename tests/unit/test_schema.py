"""Schema, roles and gateways against a real PostgreSQL."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import unicodedata
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from psycopg import errors, sql
from psycopg.rows import TupleRow

from sipstack.database import gateways, roles, schema
from sipstack.database.gateways import Gateway
from sipstack.errors import OperatorError
from tests.unit.postgres import Server, throwaway_postgres

ROOT = Path(__file__).parents[2]
SQL = ROOT / "sql"
SCRIPT = ROOT / "files" / "kamailio" / "bin" / "schema"
NEWEST = schema.migrations(SQL)[-1].number
NASTY = ' it\'s "q" \\ $HOME `id` #;%s {0} '
CYRILLIC = "Пароль Ёжик ½"
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Database:
    """An empty database of its own, with an owner and a proxy."""

    server: Server
    name: str
    owner: str
    proxy: str
    owner_password: str = NASTY
    proxy_password: str = CYRILLIC

    def as_superuser(self) -> psycopg.Connection[TupleRow]:
        return self.server.connect(dbname=self.name)

    def as_owner(self) -> psycopg.Connection[TupleRow]:
        return self.server.connect(self.owner, self.owner_password, self.name)

    def as_proxy(self) -> psycopg.Connection[TupleRow]:
        return self.server.connect(self.proxy, self.proxy_password, self.name)

    def start_script(self, folder: Path = SQL, *, user: str | None = None) -> subprocess.Popen[str]:
        """The script as the image's entrypoint runs it, by default as the owner."""
        password = self.proxy_password if user == self.proxy else self.owner_password
        environment = os.environ | self.server.environment(user or self.owner, password, self.name)
        pipe = subprocess.PIPE
        return subprocess.Popen(["bash", SCRIPT, folder], env=environment, stdout=pipe, stderr=pipe, text=True)

    def script(self, folder: Path = SQL, *, user: str | None = None) -> tuple[int, str]:
        """Exit code of the script, and what it says to the operator."""
        process = self.start_script(folder, user=user)
        _, said = process.communicate(timeout=60)
        return process.returncode, said

    def roles(self) -> tuple[str, str, str, str, str]:
        return self.name, self.owner, self.owner_password, self.proxy, self.proxy_password


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    with throwaway_postgres() as running:
        yield running


@pytest.fixture
def bare(server: Server) -> Iterator[Database]:
    """A database without roles; both are removed afterwards, so that no test can lean on another."""
    number = next(_numbers)
    database = Database(server, f"vss_{number}", f"owner-{number}", f'proxy "{number}"')
    with server.connect() as conn:
        conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database.name)))
    yield database
    with server.connect() as conn:
        conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(database.name)))
        for role in (database.owner, database.proxy):
            conn.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(role)))


@pytest.fixture
def empty(bare: Database) -> Database:
    """A database with its two roles and no table."""
    with bare.as_superuser() as conn:
        roles.ensure(conn, *bare.roles())
    return bare


@pytest.fixture
def ready(empty: Database) -> Database:
    """A database as a deploy leaves it."""
    with empty.as_owner() as conn:
        schema.apply(conn, SQL)
        roles.grant(conn, empty.proxy)
    return empty


def one(conn: psycopg.Connection[TupleRow], query: str) -> object:
    row = conn.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def with_file(folder: Path, name: str, text: str) -> Path:
    """The schema of a later release: today's files and one more."""
    shutil.copytree(SQL, folder)
    (folder / name).write_text(text)
    return folder


# Applying


def test_apply_makes_everything_once(empty: Database) -> None:
    with empty.as_owner() as conn:
        assert schema.current(conn) == 0
        announced = schema.pending(conn, SQL)
        assert schema.apply(conn, SQL) == announced == schema.migrations(SQL)
        assert schema.current(conn) == NEWEST
        assert schema.pending(conn, SQL) == schema.apply(conn, SQL) == []


def test_files_may_run_again(ready: Database) -> None:
    with ready.as_owner() as conn:
        before = conn.execute("SELECT table_name, table_version FROM version ORDER BY 1").fetchall()
        for migration in schema.migrations(SQL):
            conn.execute(migration.sql.encode())
        assert conn.execute("SELECT table_name, table_version FROM version ORDER BY 1").fetchall() == before


def test_versions_are_those_of_kamailio_6_0(ready: Database) -> None:
    with ready.as_owner() as conn:
        found: dict[str, int] = dict(conn.execute("SELECT table_name, table_version FROM version").fetchall())
    # From the create scripts of Debian 13's package kamailio-postgres-modules 6.0.1.
    assert found == {
        "version": 1,
        "subscriber": 7,
        "location": 9,
        "location_attrs": 1,
        "acc": 5,
        "missed_calls": 4,
        "acc_cdrs": 2,
        "dialog": 7,
        "dialog_vars": 1,
        "dispatcher": 4,
        "address": 6,
        "htable": 2,
        "topos_d": 2,
        "topos_t": 2,
    }


def test_a_later_file_is_applied_alone(ready: Database, tmp_path: Path) -> None:
    later = with_file(tmp_path / "sql", "900_later.sql", "CREATE TABLE IF NOT EXISTS later (id integer);")
    with ready.as_owner() as conn:
        assert [migration.number for migration in schema.apply(conn, later)] == [900]


def test_newer_schema_is_refused(ready: Database, tmp_path: Path) -> None:
    later = with_file(tmp_path / "sql", "900_later.sql", "CREATE TABLE IF NOT EXISTS later (id integer);")
    with ready.as_owner() as conn:
        schema.apply(conn, later)
        for refuses in (schema.pending, schema.apply):
            with pytest.raises(OperatorError, match=f"schema is 900, newer than the {NEWEST} known"):
                refuses(conn, SQL)


def test_wrong_version_row_is_refused(ready: Database) -> None:
    with ready.as_owner() as conn:
        conn.execute("UPDATE version SET table_version = 8 WHERE table_name = 'location'")
        with pytest.raises(OperatorError, match=r"location is 8, Kamailio 6\.0 wants 9"):
            schema.apply(conn, SQL)


def test_foreign_table_is_refused_and_left_alone(empty: Database) -> None:
    with empty.as_owner() as conn:
        conn.execute("CREATE TABLE location (something text)")
        with pytest.raises(OperatorError, match="holds location, which this project did not make"):
            schema.apply(conn, SQL)
        assert schema.current(conn) == 0
        assert one(conn, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 1


def test_failing_file_leaves_nothing(empty: Database, tmp_path: Path) -> None:
    broken = with_file(tmp_path / "sql", "900_broken.sql", "CREATE TABLE nothing (id no_such_type);")
    with empty.as_owner() as conn:
        with pytest.raises(OperatorError, match=r"900_broken\.sql: .*no_such_type"):
            schema.apply(conn, broken)
        assert schema.current(conn) == 0
        assert one(conn, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0


@pytest.mark.parametrize("name", ["9_short.sql", "900-dash.sql", "001_again.sql"])
def test_misnamed_file_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(OperatorError, match=name.removesuffix(".sql")):
        schema.migrations(with_file(tmp_path / "sql", name, "SELECT 1;"))


def test_renamed_file_is_refused(ready: Database, tmp_path: Path) -> None:
    folder = with_file(tmp_path / "sql", "900_later.sql", "SELECT 1;")
    (folder / "008_topos.sql").rename(folder / "008_other.sql")
    with ready.as_owner() as conn, pytest.raises(OperatorError, match="migration 8 is 008_topos there"):
        schema.apply(conn, folder)


def test_five_at_once_apply_once(empty: Database) -> None:
    def deploy(_: int) -> int:
        with empty.as_owner() as conn:
            return len(schema.apply(conn, SQL))

    with ThreadPoolExecutor(5) as pool:
        applied = sorted(pool.map(deploy, range(5)))
    assert applied == [0, 0, 0, 0, len(schema.migrations(SQL))]


# The script in the image


def test_five_scripts_at_once(empty: Database) -> None:
    running = [empty.start_script() for _ in range(5)]
    said = [process.communicate(timeout=120) for process in running]
    assert [process.returncode for process in running] == [0] * 5, said
    # Each migration was applied by one of them.
    assert sum(out.count("applied") for out, _ in said) == len(schema.migrations(SQL))
    with empty.as_owner() as conn:
        assert schema.pending(conn, SQL) == []


def test_script_applies_what_lacks(ready: Database, tmp_path: Path) -> None:
    later = with_file(tmp_path / "sql", "900_later.sql", "CREATE TABLE IF NOT EXISTS later (id integer);")
    assert ready.script(later) == (0, "")
    with ready.as_owner() as conn:
        assert schema.current(conn) == 900


def test_script_is_content_for_the_proxy_when_nothing_lacks(ready: Database) -> None:
    assert ready.script(user=ready.proxy) == (0, "")


def test_script_says_when_the_role_may_not(ready: Database, tmp_path: Path) -> None:
    later = with_file(tmp_path / "sql", "900_later.sql", "CREATE TABLE IF NOT EXISTS later (id integer);")
    code, said = ready.script(later, user=ready.proxy)
    assert (code, said.count("\n")) == (1, 1)
    assert f"has schema {NEWEST}, this image needs 900" in said


def test_script_refuses_a_newer_schema(ready: Database, tmp_path: Path) -> None:
    with ready.as_owner() as conn:
        conn.execute("INSERT INTO schema_migration VALUES (900, '900_later')")
    code, said = ready.script()
    assert (code, said.count("\n")) == (1, 1)
    assert f"has schema 900, this image knows {NEWEST}" in said


def test_script_lets_a_release_start_again_after_the_next_ones_migration(ready: Database) -> None:
    with ready.as_owner() as conn:
        conn.execute("INSERT INTO schema_migration VALUES (900, '900_later')")
    code, said = ready.script(user=ready.proxy)
    assert (code, said.count("\n")) == (0, 1)
    assert f"has schema 900, this image knows {NEWEST} and goes on" in said


def test_script_refuses_foreign_tables(empty: Database) -> None:
    with empty.as_owner() as conn:
        conn.execute("CREATE TABLE subscriber (something text)")
    code, said = empty.script()
    assert (code, said.count("\n")) == (1, 1)
    assert "not made here" in said


def test_script_leaves_nothing_of_a_failure(empty: Database, tmp_path: Path) -> None:
    broken = with_file(tmp_path / "sql", "900_broken.sql", "CREATE TABLE nothing (id no_such_type);")
    code, said = empty.script(broken)
    assert (code, said.count("\n")) == (1, 1)
    assert "no_such_type" in said
    with empty.as_owner() as conn:
        assert one(conn, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0


def test_script_without_a_database_says_so(empty: Database) -> None:
    code, said = Database(empty.server, "no_such_database", "nobody", "nobody").script()
    assert (code, said.count("\n")) == (1, 1)


# Roles


def test_ensure_announces_does_and_rests(bare: Database) -> None:
    with bare.as_superuser() as conn:
        announced = roles.difference(conn, *bare.roles())
        assert one(conn, f"SELECT count(*) FROM pg_roles WHERE rolname = '{bare.owner}'") == 0
        assert roles.ensure(conn, *bare.roles()) == announced != []
        assert roles.ensure(conn, *bare.roles()) == roles.difference(conn, *bare.roles()) == []


# What SASLprep maps (spaces, a soft hyphen, a ligature), and what it would forbid and PostgreSQL then takes
# as it is: a control character, mixed directions, a character that Unicode 3.2 did not have.
MAPPED = ["a\u00a0b", "a\u1680b", "a\u200bb", "soft\u00adhyphen", "ﬁ"]
FORBIDDEN = ["ﬁ\u0007", "אaﬁ", "ﬁ\u0221"]
PASSWORDS = [NASTY, CYRILLIC, "x", "a b", "й", *MAPPED, *FORBIDDEN]


@pytest.mark.parametrize("password", PASSWORDS)
def test_any_password_logs_in_and_is_recognised(bare: Database, password: str) -> None:
    wanted = (bare.name, bare.owner, password, bare.proxy, bare.proxy_password)
    with bare.as_superuser() as conn:
        roles.ensure(conn, *wanted)
        assert roles.ensure(conn, *wanted) == []
        # The server's own verifier of the same password is recognised, too.
        role = sql.Identifier(bare.owner)
        conn.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(role, sql.Literal(password)))
        assert roles.difference(conn, *wanted) == []
    bare.server.connect(bare.owner, password, bare.name).close()


def test_equivalent_spelling_of_a_password_is_the_same_password(bare: Database) -> None:
    composed, decomposed = (unicodedata.normalize(form, "Ёжик й") for form in ("NFC", "NFD"))
    assert composed != decomposed
    with bare.as_superuser() as conn:
        roles.ensure(conn, bare.name, bare.owner, composed, bare.proxy, "x")
        assert roles.difference(conn, bare.name, bare.owner, decomposed, bare.proxy, "x") == []


def test_other_password_is_set(empty: Database) -> None:
    wanted = (empty.name, empty.owner, empty.owner_password + " ", empty.proxy, empty.proxy_password)
    with empty.as_superuser() as conn:
        assert roles.ensure(conn, *wanted) == [f"role {empty.owner}: set password"]
    with pytest.raises(psycopg.OperationalError):
        empty.as_owner()
    empty.server.connect(empty.owner, empty.owner_password + " ", empty.name).close()


def test_raised_proxy_is_put_back(empty: Database) -> None:
    with empty.as_superuser() as conn:
        proxy = sql.Identifier(empty.proxy)
        conn.execute(sql.SQL("ALTER ROLE {} SUPERUSER CREATEDB INHERIT").format(proxy))
        conn.execute(sql.SQL("GRANT pg_read_all_data TO {}").format(proxy))
        assert len(roles.ensure(conn, *empty.roles())) == 4
        assert roles.difference(conn, *empty.roles()) == []


@pytest.mark.parametrize("other", ["postgres", "template1"])
def test_proxy_enters_only_its_database(empty: Database, other: str) -> None:
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        empty.server.connect(empty.proxy, empty.proxy_password, other)
    empty.as_proxy().close()


def test_ensure_refuses_what_it_cannot_do(bare: Database) -> None:
    with bare.as_superuser() as conn:
        with pytest.raises(OperatorError, match="empty"):
            roles.ensure(conn, bare.name, bare.owner, "", bare.proxy, "x")
        with pytest.raises(OperatorError, match="owner and proxy"):
            roles.ensure(conn, bare.name, bare.owner, "x", bare.owner, "x")
        with pytest.raises(OperatorError, match="connect to elsewhere"):
            roles.ensure(conn, "elsewhere", bare.owner, "x", bare.proxy, "x")


# Rights


def test_grant_announces_does_and_rests(empty: Database) -> None:
    with empty.as_owner() as conn:
        early = roles.grant_difference(conn, empty.proxy)
        with pytest.raises(OperatorError, match="apply the schema first"):
            roles.grant(conn, empty.proxy)
        schema.apply(conn, SQL)
        assert roles.grant(conn, empty.proxy) == early != []
        assert roles.grant(conn, empty.proxy) == roles.grant_difference(conn, empty.proxy) == []


def test_excess_right_is_taken(ready: Database) -> None:
    with ready.as_owner() as conn:
        conn.execute("GRANT UPDATE ON subscriber TO PUBLIC")
        conn.execute(sql.SQL("GRANT SELECT ON accounting TO {}").format(sql.Identifier(ready.proxy)))
        assert roles.grant(conn, ready.proxy) == [
            f"table accounting: SELECT revoked from {ready.proxy}",
            f"table subscriber: UPDATE revoked from {ready.proxy}",
        ]
        assert roles.grant_difference(conn, ready.proxy) == []


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT username, domain, ha1 FROM subscriber",
        "INSERT INTO location (ruid, username) VALUES ('r', 'u')",
        "UPDATE location SET expires = now() WHERE ruid = 'r'",
        "DELETE FROM location WHERE ruid = 'r'",
        "INSERT INTO outside_calls (key_name) VALUES ('k') ON CONFLICT (key_name) DO UPDATE SET key_value = '1'",
        "SELECT key_name, key_type, value_type, key_value, expires FROM outside_calls",
        "DELETE FROM outside_calls WHERE expires < 1",
        "INSERT INTO acc (method, time) VALUES ('INVITE', now())",
        "INSERT INTO missed_calls (method, time) VALUES ('INVITE', now())",
        "INSERT INTO acc_cdrs (callid, duration) VALUES ('c', 1)",
        "SELECT table_version FROM version WHERE table_name = 'location'",
        "SELECT setid, destination, flags, priority, attrs FROM dispatcher",
        "SELECT grp, ip_addr, mask, port, tag FROM address",
    ],
)
def test_proxy_may(ready: Database, statement: str) -> None:
    with ready.as_proxy() as conn:
        conn.execute(statement.encode())


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE mine (id integer)",
        "CREATE TEMP TABLE mine (id integer)",
        "ALTER TABLE location ADD COLUMN mine integer",
        "DROP TABLE location",
        "TRUNCATE location",
        "UPDATE subscriber SET ha1 = ha1",
        "INSERT INTO subscriber (username, domain, ha1) VALUES ('u', 'd', repeat('0', 32))",
        "SELECT * FROM acc",
        "DELETE FROM acc",
        "UPDATE acc_cdrs SET duration = 0",
        "SELECT * FROM accounting",
        "UPDATE dispatcher SET destination = 'sip:elsewhere'",
        "UPDATE version SET table_version = 0",
        "DELETE FROM schema_migration",
    ],
)
def test_proxy_may_not(ready: Database, statement: str) -> None:
    with ready.as_proxy() as conn, pytest.raises(errors.InsufficientPrivilege):
        conn.execute(statement.encode())


# What the tables hold


@pytest.mark.parametrize(
    ("password", "ha1"), [("secret", "0" * 32), ("", ""), ("", "secret"), ("", "0" * 31), ("", "G" * 32)]
)
def test_subscriber_holds_a_digest_and_no_password(ready: Database, password: str, ha1: str) -> None:
    with ready.as_owner() as conn, pytest.raises(errors.CheckViolation):
        insert = "INSERT INTO subscriber (username, domain, password, ha1) VALUES ('u', 'd', %s, %s)"
        conn.execute(insert, [password, ha1])


def test_long_header_values_of_strangers_are_recorded(ready: Database) -> None:
    random = os.urandom(5000).hex()  # a length that no compression brings under a B-tree's limit
    with ready.as_proxy() as conn:
        for table in ("acc", "missed_calls"):
            insert = f"INSERT INTO {table} (method, from_tag, callid, time) VALUES (%s, %s, %s, now())"
            conn.execute(insert.encode(), [random, random, random])
        conn.execute("INSERT INTO acc_cdrs (callid, duration) VALUES (%s, 1)", [random])


def test_refresh_is_a_hot_update(ready: Database) -> None:
    with ready.as_proxy() as conn:
        conn.execute("INSERT INTO location (ruid, username, contact) VALUES ('r', 'u', 'sip:u@192.0.2.1')")
        for number in range(20):
            refresh = "UPDATE location SET expires = now(), cseq = %s, contact = %s, connection_id = %s"
            conn.execute(refresh, [number, f"sip:u@192.0.2.1:{number}", number])
    with ready.as_superuser() as conn:
        conn.execute("SELECT pg_stat_force_next_flush()")
        ratio = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'location'"
        assert conn.execute(ratio.encode()).fetchone() == (20, 20)


def record(conn: psycopg.Connection[TupleRow], table: str, method: str, callid: str, code: str) -> None:
    insert = (
        f"INSERT INTO {table} (method, from_tag, callid, sip_code, sip_reason, time,"
        " src_user, src_domain, dst_user, dst_domain)"
        " VALUES (%s, 'f', %s, %s, 'reason', '2025-11-29 12:00',"
        " 'slot_6001', 'vss.internal', '6002', 'vss.internal')"
    )
    conn.execute(insert.encode(), [method, callid, code])


def test_view_shows_each_event_once(ready: Database) -> None:
    with ready.as_proxy() as conn:
        record(conn, "acc", "INVITE", "answered", "200")
        record(conn, "acc", "BYE", "answered", "200")
        conn.execute("INSERT INTO acc_cdrs (callid, duration) VALUES ('answered', 41.7)")
        record(conn, "acc", "INVITE", "ringing still", "200")
        record(conn, "acc", "REGISTER", "registration", "200")
        record(conn, "acc", "INVITE", "busy", "486")
        record(conn, "missed_calls", "INVITE", "busy", "486")
        record(conn, "missed_calls", "INVITE", "answered", "480")  # one branch did, another took the call
    with ready.as_owner() as conn:
        rows = conn.execute(
            "SELECT event, method, callid, src_user, src_domain, dst_user, dst_domain, sip_code, sip_reason,"
            " duration, missed FROM accounting WHERE time = '2025-11-29 12:00' ORDER BY callid, sip_code"
        ).fetchall()
    who = ("slot_6001", "vss.internal", "6002", "vss.internal")
    assert rows == [
        ("call", "INVITE", "answered", *who, "200", "reason", 42, False),
        ("call", "INVITE", "answered", *who, "480", "reason", None, True),
        ("call", "INVITE", "busy", *who, "486", "reason", None, True),
        ("register", "REGISTER", "registration", *who, "200", "reason", None, False),
        ("call", "INVITE", "ringing still", *who, "200", "reason", None, False),
    ]


# Gateways


def test_gateways_are_a_set(ready: Database) -> None:
    first = Gateway(1, "sip:192.0.2.1:5060", 8, 10, "duid=a", "Основной")
    second = Gateway(1, "sip:192.0.2.2:5060")
    moved = Gateway(1, "sip:192.0.2.1:5060", 8, 5, "duid=a", "it's \\ $1")
    with ready.as_owner() as conn:
        assert gateways.difference(conn, [second, first]) == gateways.Change([first, second], [], [])
        assert gateways.apply(conn, [second, first]) == gateways.Change([first, second], [], [])
        assert not gateways.apply(conn, [first, second])
        kept = one(conn, "SELECT id FROM dispatcher WHERE destination = 'sip:192.0.2.1:5060'")
        assert gateways.apply(conn, [moved]) == gateways.Change([], [moved], [second])
        assert not gateways.difference(conn, [moved])
        assert one(conn, "SELECT id FROM dispatcher") == kept
        assert gateways.apply(conn, []).removed == [moved]


def test_gateway_twice_in_a_set_is_refused(ready: Database) -> None:
    same = [Gateway(1, "sip:192.0.2.1"), Gateway(1, "sip:192.0.2.1", priority=1)]
    with ready.as_owner() as conn, pytest.raises(OperatorError, match="twice in set 1"):
        gateways.apply(conn, same)
