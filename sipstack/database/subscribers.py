"""Bring Kamailio's table `subscriber` to the wanted users: only the difference is written.

Everything in the domain is managed: a user of the domain that is not wanted is removed, whatever its name.
Other domains are never touched.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import psycopg
from psycopg.pq import TransactionStatus

from sipstack.errors import OperatorError

Connection = psycopg.Connection[Any]

# A mass removal is one of more than this many users and more than half of the domain.
SMALL_REMOVAL = 10
LOCK_TIMEOUT_S = 30
ALL = ("added", "changed", "removed")

# `wanted` on the left, the rows of the domain on the right; only rows that differ. `password` is compared
# too: a clear password that something else wrote is a difference.
_DIFFERENCE = """
    SELECT coalesce(w.username, s.username), s.ha1,
           CASE WHEN s.username IS NULL THEN 'added' WHEN w.username IS NULL THEN 'removed' ELSE 'changed' END
    FROM wanted w
    FULL JOIN (SELECT username::text, ha1, ha1b, password FROM subscriber WHERE domain = %s) s
        USING (username)
    WHERE s.username IS NULL OR w.username IS NULL OR (w.ha1, w.ha1b, '') <> (s.ha1, s.ha1b, s.password)
    ORDER BY 1
"""
_INSERT = """
    INSERT INTO subscriber (username, domain, password, ha1, ha1b)
    SELECT username, %s, '', ha1, ha1b FROM wanted WHERE username = ANY(%s)
"""
_UPDATE = """
    UPDATE subscriber s SET password = '', ha1 = w.ha1, ha1b = w.ha1b
    FROM wanted w WHERE s.domain = %s AND s.username = w.username AND w.username = ANY(%s)
"""
_DELETE = "DELETE FROM subscriber WHERE domain = %s AND username = ANY(%s)"


@dataclass(frozen=True, slots=True)
class Subscriber:
    """A row of `subscriber`: what Kamailio needs to check a digest, without the password."""

    username: str
    domain: str
    ha1: str
    ha1b: str

    @classmethod
    def from_password(cls, username: str, domain: str, password: str) -> Self:
        """HA1 = MD5(username:realm:password), RFC 2617 section 3.2.2.2; the realm is the domain.

        ha1b has `username@domain` for the username: for phones that send it so (auth_db, parameter
        password_column_2).
        """
        return cls(
            username,
            domain,
            _md5(f"{username}:{domain}:{password}"),
            _md5(f"{username}@{domain}:{domain}:{password}"),
        )

    def __repr__(self) -> str:
        # An HA1 is as good as the password.
        return f"Subscriber({self.username}@{self.domain})"


@dataclass(frozen=True, slots=True)
class Change:
    """The usernames that differ from the wanted ones, each list in order."""

    added: list[str]
    changed: list[str]
    removed: list[str]

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)

    def summary(self) -> str:
        if not self:
            return "nothing to do"
        return f"{len(self.added)} added, {len(self.changed)} changed, {len(self.removed)} removed"

    def only(self, kinds: Iterable[str]) -> Change:
        """The same without what is not of these kinds: added, changed, removed."""
        return Change(*(getattr(self, kind) if kind in kinds else [] for kind in ALL))


@dataclass(frozen=True)
class Rules:
    """What of a difference is taken for a mistake.

    mass_removal: allow more than 10 users to be removed who are more than half of the domain.
    may_replace: whether a user may get another password than the one with that HA1.
    """

    mass_removal: bool = False
    may_replace: Callable[[str, str], bool] = lambda *_: True


STRICT = Rules()


def difference(conn: Connection, domain: str, wanted: Iterable[Subscriber], rules: Rules = STRICT) -> Change:
    """What `apply` would change; it refuses what `apply` refuses.

    Needs SELECT on subscriber and the right to make temporary tables.

    conn: not inside a transaction (ValueError).
    wanted: every user that the domain shall have, each once (psycopg.IntegrityError).
    """
    with _uploaded(conn, domain, wanted):
        return _allowed_difference(conn, domain, rules)


def apply(
    conn: Connection,
    domain: str,
    wanted: Iterable[Subscriber],
    rules: Rules = STRICT,
    kinds: Sequence[str] = ALL,
) -> Change:
    """Make the users of `domain` the wanted ones, in one transaction; rows that are right are not written.

    kinds: what is done: users are added, changed, removed. The rules are those for all three.

    Readers (Kamailio) are never blocked; other writers of the table wait for each other.
    Raises OperatorError for what the rules forbid and when another writer keeps the table for 30 s.
    See `difference` for the other arguments; needs INSERT, UPDATE and DELETE as well.
    """
    with _uploaded(conn, domain, wanted):
        _lock(conn)
        change = _allowed_difference(conn, domain, rules).only(kinds)
        for statement, usernames in (
            (_DELETE, change.removed),
            (_UPDATE, change.changed),
            (_INSERT, change.added),
        ):
            if usernames:
                conn.execute(statement, (domain, usernames))
        return change


@contextmanager
def _uploaded(conn: Connection, domain: str, wanted: Iterable[Subscriber]) -> Iterator[None]:
    """A transaction in which the temporary table `wanted` holds the wanted users."""
    if conn.info.transaction_status != TransactionStatus.IDLE:
        # Inside another transaction this one would be a savepoint: not committed when it is left.
        raise ValueError("the connection is inside a transaction")
    with conn.transaction():
        conn.execute("CREATE TEMPORARY TABLE wanted (username text PRIMARY KEY, ha1 text, ha1b text) ON COMMIT DROP")
        with conn.cursor().copy("COPY wanted FROM STDIN") as copy:
            for user in wanted:
                if user.domain != domain:
                    raise ValueError(f"{user!r} is not in the domain {domain}")
                copy.write_row((user.username, user.ha1, user.ha1b))
        yield


def _allowed_difference(conn: Connection, domain: str, rules: Rules) -> Change:
    change, strange = Change([], [], []), []
    for username, ha1, kind in conn.execute(_DIFFERENCE, (domain,)):
        getattr(change, kind).append(username)
        if kind == "changed" and not rules.may_replace(username, ha1):
            strange.append(username)
    if strange:
        _refuse_strange(strange)
    if not rules.mass_removal:
        _refuse_mass_removal(conn, domain, len(change.removed))
    return change


def _refuse_strange(usernames: list[str]) -> None:
    """Only who has another state would write another password over one that it does not know."""
    who = usernames[0] if len(usernames) == 1 else f"{usernames[0]} and {len(usernames) - 1} more"
    raise OperatorError(
        f"the database has a password of {who} that this state does not know, nothing was changed: get the state of"
        " whoever deployed last (README, Several operators); if new passwords are meant, set"
        " slots_allow_new_passwords = True for this run"
    )


def _lock(conn: Connection) -> None:
    conn.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_S}s'")
    try:
        conn.execute("LOCK TABLE subscriber IN SHARE ROW EXCLUSIVE MODE")
    except psycopg.errors.LockNotAvailable:
        raise OperatorError(
            f"table subscriber: something else has been writing it for {LOCK_TIMEOUT_S} s (another deploy?):"
            " nothing was changed, run again when it is done"
        ) from None


def _refuse_mass_removal(conn: Connection, domain: str, removed: int) -> None:
    if removed <= SMALL_REMOVAL:
        return
    row = conn.execute("SELECT count(*) FROM subscriber WHERE domain = %s", (domain,)).fetchone()
    present = row[0] if row else 0
    if removed * 2 > present:
        raise OperatorError(
            f"{removed} of the {present} users of {domain} would be removed, nothing was changed:"
            " if that is meant, set slots_allow_mass_removal = True for this run"
        )


def _md5(text: str) -> str:
    # RFC 2617 asks for MD5; it is no choice of ours, and hosts in FIPS mode must allow it.
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
