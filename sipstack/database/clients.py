"""Which proxies have the database open at this moment: two fleets must not share one."""

from collections.abc import Iterable

import psycopg
from psycopg.rows import TupleRow

from sipstack.errors import OperatorError

Connection = psycopg.Connection[TupleRow]
# libpq's application_name, of which PostgreSQL keeps 63 octets (NAMEDATALEN).
_PREFIX, _LENGTH = "vss-proxy ", 63


def client_name(proxy: str) -> str:
    """What a proxy calls itself to PostgreSQL; a release of before does not."""
    return f"{_PREFIX}{proxy}"[:_LENGTH]


def refuse_others(conn: Connection, role: str, proxies: Iterable[str]) -> None:
    """Raises OperatorError if a proxy has the database open that is none of `proxies`, names in the inventory.

    conn: as a superuser, or as `role` itself, for others do not see its sessions. role: that of the proxies.
    """
    query = "SELECT DISTINCT application_name FROM pg_stat_activity WHERE usename = %s AND application_name LIKE %s"
    ours = {client_name(proxy) for proxy in proxies}
    there = {row[0] for row in conn.execute(query, [role, f"{_PREFIX}%"])}
    if others := sorted(name.removeprefix(_PREFIX) for name in there - ours):
        raise OperatorError(
            f"this database serves {', '.join(others)}, which is not in this inventory: set another postgres_db;"
            " or, if it was removed from the inventory, end it there first: docker rm -f vss-kamailio"
        )
