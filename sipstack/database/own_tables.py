"""Tables that one proxy has for itself, in a schema of its own that it finds before `public` (search_path).

Calls in progress: two proxies number theirs independently (hash_entry, hash_id), and one that wrote into the other's
rows would end its calls. The tables inherit from those in `public`, where operators see the calls of all proxies.
A release that is tried beside the running one has everything that it writes for itself: nothing of the trial stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow

from sipstack.database.gateways import COLUMNS, Gateway
from sipstack.database.roles import PRIVILEGES

Connection = psycopg.Connection[TupleRow]

OWN = ("dialog", "dialog_vars")
# All that a proxy writes: every table on which it has a right to.
WRITTEN = tuple(name for name, rights in PRIVILEGES.items() if {"INSERT", "UPDATE", "DELETE"} & set(rights))


def difference(conn: Connection, schemas: Iterable[str], proxy: str) -> list[str]:
    """What `apply` would change, a line each. Changes nothing.

    schemas: one for each proxy. proxy: the role of the proxies.
    """
    query = (
        "SELECT n.nspname FROM pg_namespace n, pg_roles r WHERE r.rolname = %s AND n.nspname = ANY(%s)"
        " AND has_schema_privilege(r.oid, n.oid, 'USAGE') AND (SELECT count(*) FROM pg_class c"
        " WHERE c.relnamespace = n.oid AND c.relname = ANY(%s) AND has_table_privilege(r.oid, c.oid, 'DELETE')) = %s"
    )
    wanted = list(schemas)
    with conn.transaction():
        present = {row[0] for row in conn.execute(query, [proxy, wanted, list(OWN), len(OWN)])}
    return [f"create {', '.join(OWN)} in schema {name}" for name in wanted if name not in present]


def apply(conn: Connection, schemas: Iterable[str], proxy: str) -> None:
    """Make what is missing, all or nothing. `conn` is the owner's, after the schema was applied."""
    with conn.transaction():
        for schema in schemas:
            _create(conn, schema, OWN, proxy, inherit=True)


def create_trial(conn: Connection, schema: str, proxy: str, destinations: Iterable[Gateway]) -> None:
    """A schema for a release on trial, empty but for gateways; one that a killed run has left is made anew.

    destinations: what the release would put into `dispatcher`. On trial it has these beside those of now: one of the
    two may not be there yet, or no longer.
    """
    with conn.transaction():
        drop_trial(conn, schema)
        _create(conn, schema, (*WRITTEN, "dispatcher"), proxy, inherit=False)
        table = sql.Identifier(schema, "dispatcher")
        # Without the id, which this table counts for itself.
        columns = sql.SQL(COLUMNS)
        conn.execute(sql.SQL("INSERT INTO {0} ({1}) SELECT {1} FROM public.dispatcher").format(table, columns))
        conn.cursor().executemany(
            sql.SQL(
                "INSERT INTO {} ({}) VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (setid, destination) DO NOTHING"
            ).format(table, columns),
            [gateway.row for gateway in destinations],
        )


def drop_trial(conn: Connection, schema: str) -> None:
    """Remove the schema of a trial with all that is in it."""
    conn.execute("SET LOCAL client_min_messages = warning")
    conn.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(schema)))


def _create(conn: Connection, schema: str, tables: Sequence[str], proxy: str, *, inherit: bool) -> None:
    conn.execute("SET LOCAL client_min_messages = warning")
    role = sql.Identifier(proxy)
    conn.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema)))
    conn.execute(sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(sql.Identifier(schema), role))
    for name in tables:
        table, model = sql.Identifier(schema, name), sql.Identifier("public", name)
        suffix = sql.SQL(" INHERITS ({})").format(model) if inherit else sql.SQL("")
        create = sql.SQL("CREATE TABLE IF NOT EXISTS {} (LIKE {} INCLUDING ALL)").format(table, model) + suffix
        conn.execute(create)
        privileges = sql.SQL(", ").join(map(sql.SQL, PRIVILEGES[name]))
        conn.execute(sql.SQL("GRANT {} ON TABLE {} TO {}").format(privileges, table, role))
