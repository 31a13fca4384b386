"""The table subscriber becomes what is wanted, and only the difference is written. On a real PostgreSQL."""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from sipstack.database import subscribers
from sipstack.database.subscribers import Change, Connection, Rules, Subscriber, apply, difference
from sipstack.errors import OperatorError
from tests.unit.postgres import Server, throwaway_postgres

DOMAIN = "vss.internal"
SQL = Path(__file__).parents[2] / "sql"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with throwaway_postgres() as server, server.connect() as conn:
        for name in ("001_version.sql", "002_subscriber.sql"):
            conn.execute((SQL / name).read_bytes())
        yield server


@pytest.fixture
def conn(server: Server) -> Iterator[Connection]:
    with server.connect() as conn:
        conn.execute("TRUNCATE subscriber")
        yield conn


def user(name: str, password: str = "secret-12", domain: str = DOMAIN) -> Subscriber:
    return Subscriber.from_password(name, domain, password)


def users(count: int) -> list[Subscriber]:
    return [user(f"slot_{6001 + number}") for number in range(count)]


def rows(conn: Connection, columns: str = "username, domain, password, ha1, ha1b") -> list[tuple[object, ...]]:
    return conn.execute(f"SELECT {columns} FROM subscriber ORDER BY domain, username").fetchall()


def test_ha1_is_that_of_rfc_2617() -> None:
    """Section 3.5 gives the user, realm, password and, by way of its response, the HA1."""
    ha1 = user("Mufasa", "Circle Of Life", "testrealm@host.com").ha1
    ha2 = hashlib.md5(b"GET:/dir/index.html").hexdigest()
    nonce = "dcd98b7102dd2f0e8b11d0f600bfb0c093:00000001:0a4f113b:auth"
    response = hashlib.md5(f"{ha1}:{nonce}:{ha2}".encode()).hexdigest()
    # pragma: allowlist nextline secret
    assert response == "6629fae49393a05397450978507c4ef1"


def test_ha1b_names_the_user_with_its_domain() -> None:
    assert user("slot_6001").ha1b == hashlib.md5(b"slot_6001@vss.internal:vss.internal:secret-12").hexdigest()


def test_a_subscriber_does_not_show_its_digest() -> None:
    assert user("slot_6001").ha1 not in repr(user("slot_6001"))


def test_users_are_added_changed_and_removed(conn: Connection) -> None:
    apply(conn, DOMAIN, users(3))
    wanted = [user("slot_6001"), user("slot_6002", "another-one"), user("slot_7001", "пароль 'слота'")]
    expected = Change(added=["slot_7001"], changed=["slot_6002"], removed=["slot_6003"])
    assert difference(conn, DOMAIN, wanted) == expected
    assert apply(conn, DOMAIN, wanted) == expected
    assert rows(conn) == [(w.username, DOMAIN, "", w.ha1, w.ha1b) for w in wanted]
    assert expected.summary() == "1 added, 1 changed, 1 removed"


def test_the_second_time_there_is_nothing_to_do(conn: Connection) -> None:
    assert apply(conn, DOMAIN, users(50)).summary() == "50 added, 0 changed, 0 removed"
    before = rows(conn, "username, ctid::text, xmin::text")
    change = apply(conn, DOMAIN, users(50))
    assert change.summary() == "nothing to do"
    assert not change
    assert rows(conn, "username, ctid::text, xmin::text") == before


def test_a_right_row_is_not_written_again(conn: Connection) -> None:
    apply(conn, DOMAIN, users(50))
    before = rows(conn, "username, ctid::text, xmin::text")
    apply(conn, DOMAIN, [*users(49), user("slot_6050", "another-one")])
    after = rows(conn, "username, ctid::text, xmin::text")
    assert [old == new for old, new in zip(before, after, strict=True)] == [True] * 49 + [False]


def test_difference_changes_nothing(conn: Connection) -> None:
    apply(conn, DOMAIN, users(3))
    before = rows(conn)
    difference(conn, DOMAIN, users(1))
    assert rows(conn) == before


def test_other_domains_are_left_alone(conn: Connection) -> None:
    other = [user(f"slot_{number}", "their-own", "other.example") for number in (6001, 9999)]
    apply(conn, "other.example", other)
    before = rows(conn)
    apply(conn, DOMAIN, users(2))
    apply(conn, DOMAIN, [user("slot_6001", "another-one")])
    apply(conn, DOMAIN, [])
    assert rows(conn) == before


def test_a_user_of_another_domain_is_a_mistake_of_the_caller(conn: Connection) -> None:
    with pytest.raises(ValueError, match=r"other\.example"):
        apply(conn, DOMAIN, [user("slot_6001"), user("slot_6002", domain="other.example")])
    assert rows(conn) == []


def test_a_user_twice_changes_nothing(conn: Connection) -> None:
    with pytest.raises(psycopg.IntegrityError):
        apply(conn, DOMAIN, [*users(2), *users(1)])
    assert rows(conn) == []


def test_a_clear_password_of_an_older_table_goes(server: Server) -> None:
    """A table made as the platform's first page prints it has no check against clear passwords."""
    with server.connect() as conn:
        conn.execute("CREATE SCHEMA old; SET search_path = old")
        conn.execute(
            "CREATE TABLE subscriber (id serial PRIMARY KEY, username varchar(64) NOT NULL,"
            " domain varchar(190) NOT NULL, password varchar(64) NOT NULL, ha1 varchar(128) NOT NULL,"
            " ha1b varchar(128) NOT NULL, CONSTRAINT account_idx UNIQUE (username, domain))"
        )
        apply(conn, DOMAIN, users(2))
        # pragma: allowlist nextline secret
        conn.execute("UPDATE subscriber SET password = 'clear' WHERE username = 'slot_6001'")
        assert apply(conn, DOMAIN, users(2)).changed == ["slot_6001"]
        assert rows(conn, "password") == [("",), ("",)]


@pytest.mark.parametrize(
    ("present", "kept", "refused"),
    [(30, 14, True), (30, 15, False), (30, 0, True), (11, 0, True), (10, 0, False), (0, 0, False)],
)
def test_a_mass_removal_must_be_meant(conn: Connection, present: int, kept: int, refused: bool) -> None:
    """Refused when more than 10 go and these are more than half."""
    apply(conn, DOMAIN, users(present))
    if refused:
        with pytest.raises(OperatorError, match=f"{present - kept} of the {present} .*allow_mass_removal"):
            apply(conn, DOMAIN, [*users(kept), user("slot_8001")])
        assert len(rows(conn)) == present
    else:
        assert len(apply(conn, DOMAIN, users(kept)).removed) == present - kept
    apply(conn, DOMAIN, users(kept), Rules(mass_removal=True))
    assert len(rows(conn)) == kept


def test_a_password_that_nobody_here_knows_is_not_replaced(conn: Connection) -> None:
    """It was made with another state: its phone knows no other."""
    apply(conn, DOMAIN, [user("slot_6001", "one-before"), user("slot_6002", "of-another"), user("slot_6003")])
    known = {user("slot_6001", "one-before").ha1}
    rules = Rules(may_replace=lambda _, ha1: ha1 in known)
    before = rows(conn)
    for ask in (difference, apply):
        with pytest.raises(OperatorError, match="password of slot_6002 that this state does not know"):
            ask(conn, DOMAIN, users(3), rules)
    assert rows(conn) == before
    known.add(user("slot_6002", "of-another").ha1)
    assert apply(conn, DOMAIN, users(3), rules).changed == ["slot_6001", "slot_6002"]


def test_the_users_of_another_domain_do_not_hide_a_mass_removal(conn: Connection) -> None:
    apply(conn, "other.example", [user(f"slot_{number}", domain="other.example") for number in range(100)])
    apply(conn, DOMAIN, users(30))
    with pytest.raises(OperatorError, match="30 of the 30"):
        apply(conn, DOMAIN, [])


def test_deploys_at_the_same_time_wait_for_each_other(conn: Connection, server: Server) -> None:
    def deploy(_: int) -> Change:
        with server.connect() as own:
            return apply(own, DOMAIN, users(300))

    with ThreadPoolExecutor(6) as pool:
        changes = list(pool.map(deploy, range(6)))
    assert sorted(len(change.added) for change in changes) == [0] * 5 + [300]
    assert not any(change.changed or change.removed for change in changes)


def test_a_writer_that_does_not_end_is_said(conn: Connection, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscribers, "LOCK_TIMEOUT_S", 0.2)
    with server.connect() as writer, writer.transaction():
        writer.execute("LOCK TABLE subscriber IN ROW EXCLUSIVE MODE")
        with pytest.raises(OperatorError, match="something else has been writing"):
            apply(conn, DOMAIN, users(1))
    assert apply(conn, DOMAIN, users(1)).added == ["slot_6001"]


def test_kamailio_can_read_while_the_table_is_locked(conn: Connection, server: Server) -> None:
    apply(conn, DOMAIN, users(1))
    with conn.transaction():
        subscribers._lock(conn)
        with server.connect() as kamailio:
            kamailio.execute("SET statement_timeout = '10s'")
            assert len(rows(kamailio)) == 1


def test_a_connection_without_autocommit_keeps_the_change(conn: Connection, server: Server) -> None:
    with server.connect(autocommit=False) as other:
        apply(other, DOMAIN, users(2))
        assert len(rows(conn)) == 2
        other.execute("SELECT 1")
        with pytest.raises(ValueError, match="inside a transaction"):
            apply(other, DOMAIN, users(3))
