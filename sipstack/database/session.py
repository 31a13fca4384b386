"""Connections to the platform's database, through the SSH connection of a host that reaches it."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg.rows import TupleRow
from pyinfra.api.host import Host

from sipstack.errors import OperatorError
from sipstack.node import Node
from sipstack.reach import reach
from sipstack.site import all_nodes
from sipstack.tunnel import forward, transport_of

Connection = psycopg.Connection[TupleRow]
CONNECT_TIMEOUT_S = 10
# What the proxies need and a pooler does not keep: a search path, a lock timeout, locks of a session.
PGBOUNCER = ": that is PgBouncer, as it seems: set postgres_host and postgres_port to the server itself"


def database_host(host: Host) -> tuple[Host, Node]:
    """The host through which the database is reached for all, connected, and its Node. Raises OperatorError."""
    nodes = all_nodes(host.state.inventory)
    through = next(one for one in host.state.inventory if nodes[one.name].provisions_database)
    reach(through, "for the database")
    return through, nodes[through.name]


@contextmanager
def as_owner(host: Host, node: Node) -> Iterator[Connection]:
    """Connected as the role that owns the schema. Raises OperatorError when the server cannot be used."""
    settings = node.settings
    with _connect(host, node, settings.postgres_owner, node.database_secret("postgres_owner_password")) as conn:
        yield conn


@contextmanager
def as_proxy(host: Host, node: Node) -> Iterator[Connection]:
    """Connected as the role of the proxies, and as they connect: with settings of the session."""
    options = f"-c search_path={node.me.schema},public"
    password = node.database_secret("postgres_password")
    with _connect(host, node, node.settings.postgres_user, password, options=options) as conn:
        row = conn.execute("SHOW search_path").fetchone()
        if row is None or not str(row[0]).startswith(node.me.schema):
            raise OperatorError(f"PostgreSQL at {node.database.host} takes no settings of a session{PGBOUNCER}")
        yield conn


@contextmanager
def as_admin(host: Host, node: Node, database: str | None = None) -> Iterator[Connection]:
    """Connected as the superuser, to the platform's database or another one."""
    password = node.database_secret("postgres_admin_password")
    with _connect(host, node, node.settings.postgres_admin, password, database) as conn:
        yield conn


@contextmanager
def _connect(
    host: Host, node: Node, user: str, password: str, database: str | None = None, options: str = ""
) -> Iterator[Connection]:
    where = f"PostgreSQL at {node.database.host}:{node.database.port}, as seen from {host.name}"
    with forward(transport_of(host), node.database.host, node.database.port) as (address, port):
        try:
            conn = psycopg.connect(
                host=address,
                port=port,
                user=user,
                password=password,
                dbname=database or node.settings.postgres_db,
                connect_timeout=CONNECT_TIMEOUT_S,
                autocommit=True,
                options=options,
            )
        except psycopg.OperationalError as error:
            said = str(error).strip().splitlines()[-1]
            raise OperatorError(f"{where}: {said}{_hint(said, user, node)}") from None
        with conn:
            try:
                yield conn
            except psycopg.Error as error:
                raise OperatorError(f"{where}: {str(error).strip().splitlines()[0]}") from error


def _hint(said: str, user: str, node: Node) -> str:
    """What to do about what PostgreSQL says, for what it says in words that help nobody."""
    if "password authentication failed" in said:
        if user == node.settings.postgres_admin:
            return ": postgres_admin_password is set when the database is made, and cannot be changed later"
        return f": the secrets of {node.secrets.directory} are not those that it was deployed with"
    if "unsupported startup parameter" in said:
        return PGBOUNCER
    return ""
