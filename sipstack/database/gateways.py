"""The table `dispatcher` as a set: it holds what the deploy wants, and only differences are written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import psycopg
from psycopg.rows import TupleRow

from sipstack.errors import OperatorError

Connection = psycopg.Connection[TupleRow]


# Of table `dispatcher`, in the order of a Gateway's fields; its id is the table's own.
COLUMNS = "setid, destination, flags, priority, attrs, description"


@dataclass(frozen=True, order=True)
class Gateway:
    """A destination of external calls, one row of `dispatcher`. A destination stands in a set once.

    `flags` and `attrs` are module dispatcher's (bit 3 of flags, value 8: probe with OPTIONS); a higher
    `priority` comes first.
    """

    setid: int
    destination: str
    flags: int = 0
    priority: int = 0
    attrs: str = ""
    description: str = ""

    @property
    def key(self) -> tuple[int, str]:
        """What makes two rows the same gateway."""
        return self.setid, self.destination

    @property
    def row(self) -> tuple[int, str, int, int, str, str]:
        """Its values, as COLUMNS has them."""
        return self.setid, self.destination, self.flags, self.priority, self.attrs, self.description


@dataclass(frozen=True)
class Change:
    """What differs; `changed` holds the gateways as wanted. False when nothing does."""

    added: list[Gateway]
    changed: list[Gateway]
    removed: list[Gateway]

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)


def difference(conn: Connection, wanted: Iterable[Gateway]) -> Change:
    """What `apply` would change. Raises OperatorError when `wanted` names a gateway twice in a set."""
    goal: dict[tuple[int, str], Gateway] = {}
    for gateway in wanted:
        if gateway.key in goal:
            raise OperatorError(
                f"gateway {gateway.destination} stands twice in set {gateway.setid}; remove one, or give it another set"
            )
        goal[gateway.key] = gateway
    with conn.transaction():
        rows = conn.execute(f"SELECT {COLUMNS} FROM dispatcher".encode())
        present = {gateway.key: gateway for gateway in (Gateway(*row) for row in rows)}
    return Change(
        added=sorted(goal[key] for key in goal.keys() - present.keys()),
        changed=sorted(goal[key] for key in goal.keys() & present.keys() if goal[key] != present[key]),
        removed=sorted(present[key] for key in present.keys() - goal.keys()),
    )


def apply(conn: Connection, wanted: Iterable[Gateway]) -> Change:
    """Make the table hold `wanted` and nothing else, in one transaction, and return what was changed.

    The proxies go on with what they have until `dispatcher.reload`. Raises OperatorError as
    `difference` does.
    """
    with conn.transaction():
        # Keeps a second deploy from writing between our look and our change; readers are not held up.
        conn.execute("LOCK TABLE dispatcher IN SHARE ROW EXCLUSIVE MODE")
        change = difference(conn, wanted)
        cursor = conn.cursor()
        cursor.executemany(
            "DELETE FROM dispatcher WHERE setid = %s AND destination = %s", [g.key for g in change.removed]
        )
        cursor.executemany(
            f"INSERT INTO dispatcher ({COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s)"
            " ON CONFLICT (setid, destination) DO UPDATE SET (flags, priority, attrs, description)"
            " = (excluded.flags, excluded.priority, excluded.attrs, excluded.description)".encode(),
            [gateway.row for gateway in change.added + change.changed],
        )
    return change
