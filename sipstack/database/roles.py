"""The two roles of the database: the owner, who makes the schema, and the proxy, who may only use it.

Every change is a Step, an SQL statement with its description: `ensure` and `grant` run the steps that
are needed, `difference` and `grant_difference` only name them.
"""

from __future__ import annotations

from typing import NamedTuple

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow

from sipstack.database.scram import password_matches
from sipstack.errors import OperatorError

Connection = psycopg.Connection[TupleRow]

# What Kamailio's modules do with each table, and no more. Records of calls can be written by a proxy but
# neither read nor altered, so that who breaks into one cannot cover their traces. Not named: no right at all.
PRIVILEGES: dict[str, tuple[str, ...]] = {
    "schema_migration": ("SELECT",),  # the image compares the number at start
    "version": ("SELECT",),
    "subscriber": ("SELECT",),
    "known_ha1": ("SELECT",),
    "dispatcher": ("SELECT",),
    "address": ("SELECT",),
    "location": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "location_gone": ("SELECT", "INSERT"),  # by hand only for what another proxy owns (routes/fleet.cfg)
    "location_attrs": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "dialog": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "dialog_vars": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "topos_d": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "topos_t": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "htable": ("SELECT", "INSERT", "DELETE"),  # read at start, emptied and written at stop
    "ban": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "ban_loaded": ("SELECT",),
    "known_loaded": ("SELECT",),
    "outside_calls": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "calling_loaded": ("SELECT",),
    "at_once_loaded": ("SELECT",),
    "acc": ("INSERT",),
    "missed_calls": ("INSERT",),
    "acc_cdrs": ("INSERT",),
    "late_record": ("INSERT",),
}
ALL_PRIVILEGES = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")

# pg_roles column -> the keyword that turns it off
_ATTRIBUTES = {
    "rolsuper": "NOSUPERUSER",
    "rolcreatedb": "NOCREATEDB",
    "rolcreaterole": "NOCREATEROLE",
    "rolinherit": "NOINHERIT",
    "rolreplication": "NOREPLICATION",
    "rolbypassrls": "NOBYPASSRLS",
}


class Step(NamedTuple):
    """One change: for the operator, and for PostgreSQL."""

    text: str
    statement: sql.SQL | sql.Composed


def difference(
    conn: Connection, database: str, owner: str, owner_password: str, proxy: str, proxy_password: str
) -> list[str]:
    """What `ensure` would change, one line each. Changes nothing."""
    with conn.transaction():
        return [step.text for step in _plan(conn, database, (owner, owner_password), (proxy, proxy_password))]


def ensure(
    conn: Connection, database: str, owner: str, owner_password: str, proxy: str, proxy_password: str
) -> list[str]:
    """Create or correct both roles and who may enter `database`; return what was changed, empty for nothing.

    `conn` is a superuser's, idle, and connected to `database`, which exists. Passwords may hold any character
    but NUL; they reach the server as SCRAM verifiers only, so that none can end in its log. The proxy gets
    its rights on tables from `grant`, after the schema is there. Raises OperatorError for an empty password,
    one role in two parts, and a connection to another database or without a superuser's rights.
    """
    with conn.transaction():
        steps = _plan(conn, database, (owner, owner_password), (proxy, proxy_password))
        return _run(conn, steps)


def grant_difference(conn: Connection, proxy: str) -> list[str]:
    """What `grant` would change, one line each; every right when role or tables are yet to come.

    Changes nothing.
    """
    with conn.transaction():
        return [step.text for step in _grants(conn, proxy)]


def grant(conn: Connection, proxy: str) -> list[str]:
    """Give `proxy` the rights in PRIVILEGES and take others on the owner's tables; return what was changed.

    `conn` is the owner's, idle, after `schema.apply`. Raises OperatorError when role or tables are absent.
    """
    with conn.transaction():
        where = f"database {conn.info.dbname}"
        if not _exists(conn, proxy):
            raise OperatorError(f"{where}: no role {proxy}; create it before granting it rights")
        if missing := sorted(PRIVILEGES.keys() - _privileges(conn, proxy).keys()):
            raise OperatorError(f"{where}: {conn.info.user} has no table {', '.join(missing)}; apply the schema first")
        return _run(conn, _grants(conn, proxy))


def _run(conn: Connection, steps: list[Step]) -> list[str]:
    for step in steps:
        conn.execute(step.statement)
    return [step.text for step in steps]


def _plan(conn: Connection, database: str, owner: tuple[str, str], proxy: tuple[str, str]) -> list[Step]:
    if conn.info.dbname != database:
        raise OperatorError(f"connected to database {conn.info.dbname}; connect to {database} to set up its roles")
    if conn.info.parameter_status("is_superuser") != "on":
        raise OperatorError(f"role {conn.info.user} is no superuser; connect as one to set up roles")
    if proxy[0] == conn.info.user:
        raise OperatorError(f"role {proxy[0]} is the superuser; give the proxy a role of its own")
    if owner[0] == proxy[0]:
        raise OperatorError(f"role {owner[0]} cannot be both owner and proxy; give the proxy a role of its own")
    steps = _role(conn, *owner) + _role(conn, *proxy) + _restrict(conn, proxy[0])
    return steps + _ownership(conn, database, owner[0]) + _entry(conn, database, proxy[0])


def _role(conn: Connection, role: str, password: str) -> list[Step]:
    """The role exists, may log in, and has this password."""
    if not password or "\0" in password:
        raise OperatorError(f"password of database role {role}: empty or with a NUL character; give another")
    name = sql.Identifier(role)
    row = conn.execute("SELECT rolcanlogin, rolpassword FROM pg_authid WHERE rolname = %s", [role]).fetchone()
    steps = []
    if row is None:
        steps.append(Step(f"create role {role}", sql.SQL("CREATE ROLE {} LOGIN").format(name)))
    elif not row[0]:
        steps.append(Step(f"role {role}: may log in", sql.SQL("ALTER ROLE {} LOGIN").format(name)))
    if row is None or not password_matches(row[1], password):
        # libpq makes the verifier here, so the statement, which servers log, does not hold the password.
        verifier = conn.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
        alter = sql.SQL("ALTER ROLE {} PASSWORD {}").format(name, sql.Literal(verifier))
        steps.append(Step(f"role {role}: set password", alter))
    return steps


def _restrict(conn: Connection, role: str) -> list[Step]:
    """The role has no attribute and no other role that would give it more than its own rights."""
    name = sql.Identifier(role)
    columns = sql.SQL(", ").join(map(sql.Identifier, _ATTRIBUTES))
    row = conn.execute(sql.SQL("SELECT {} FROM pg_roles WHERE rolname = %s").format(columns), [role]).fetchone()
    # A new role starts with INHERIT and nothing else.
    has = row if row is not None else tuple(column == "rolinherit" for column in _ATTRIBUTES)
    off = [keyword for keyword, is_on in zip(_ATTRIBUTES.values(), has, strict=True) if is_on]
    steps = [Step(f"role {role}: {word}", sql.SQL("ALTER ROLE {} {}").format(name, sql.SQL(word))) for word in off]
    groups = conn.execute(
        "SELECT pg_get_userbyid(roleid), pg_get_userbyid(grantor) FROM pg_auth_members"
        " WHERE pg_get_userbyid(member) = %s ORDER BY 1, 2",
        [role],
    )
    for group, grantor in groups:
        revoke = sql.SQL("REVOKE {} FROM {} GRANTED BY {}").format(sql.Identifier(group), name, sql.Identifier(grantor))
        steps.append(Step(f"role {role}: no longer a member of {group}", revoke))
    return steps


def _ownership(conn: Connection, database: str, owner: str) -> list[Step]:
    """The owner has the database and may create in schema public, and PUBLIC may not."""
    steps = []
    role, db = sql.Identifier(owner), sql.Identifier(database)
    query = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = %s"
    if conn.execute(query, [database]).fetchone() != (owner,):
        alter = sql.SQL("ALTER DATABASE {} OWNER TO {}").format(db, role)
        steps.append(Step(f"database {database}: owned by {owner}", alter))
    query = "SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = 'public'"
    # pg_database_owner is whoever owns the database: the stock owner of schema public since PostgreSQL 15.
    if conn.execute(query).fetchone() not in {("pg_database_owner",), (owner,)}:
        steps.append(Step(f"schema public: owned by {owner}", sql.SQL("ALTER SCHEMA public OWNER TO {}").format(role)))
    query = (
        "SELECT FROM pg_namespace, aclexplode(coalesce(nspacl, acldefault('n', nspowner)))"
        " WHERE nspname = 'public' AND grantee = 0 AND privilege_type = 'CREATE'"
    )
    if conn.execute(query).fetchone() is not None:
        revoke = sql.SQL("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
        steps.append(Step("schema public: CREATE revoked from PUBLIC", revoke))
    return steps


def _entry(conn: Connection, database: str, proxy: str) -> list[Step]:
    """Only named roles may connect to the database, and the proxy to this one only.

    PUBLIC may by default connect everywhere, and what PUBLIC may, no role can be denied: so it is revoked
    from the stock databases too. Databases of other programs are not ours to close.
    """
    steps = []
    query = (
        "SELECT datname, privilege_type"
        " FROM pg_database, aclexplode(coalesce(datacl, acldefault('d', datdba)))"
        " WHERE grantee = 0 AND datname = ANY(%s) ORDER BY 1, 2"
    )
    for name, privilege in conn.execute(query, [[database, "postgres", "template1"]]):
        revoke = sql.SQL("REVOKE {} ON DATABASE {} FROM PUBLIC").format(sql.SQL(privilege), sql.Identifier(name))
        steps.append(Step(f"database {name}: {privilege} revoked from PUBLIC", revoke))
    query = (
        "SELECT d.datname, a.privilege_type FROM pg_database d, aclexplode(d.datacl) a"
        " JOIN pg_roles r ON r.oid = a.grantee WHERE r.rolname = %s ORDER BY 1, 2"
    )
    rights = set(conn.execute(query, [proxy]).fetchall())
    role = sql.Identifier(proxy)
    for name, privilege in sorted(rights - {(database, "CONNECT")}):
        revoke = sql.SQL("REVOKE {} ON DATABASE {} FROM {}").format(sql.SQL(privilege), sql.Identifier(name), role)
        steps.append(Step(f"database {name}: {privilege} revoked from {proxy}", revoke))
    if (database, "CONNECT") not in rights:
        allow = sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(sql.Identifier(database), role)
        steps.append(Step(f"database {database}: CONNECT granted to {proxy}", allow))
    return steps


def _grants(conn: Connection, proxy: str) -> list[Step]:
    role = sql.Identifier(proxy)
    steps = []
    query = "SELECT has_schema_privilege(rolname, 'public', 'USAGE') FROM pg_roles WHERE rolname = %s"
    if conn.execute(query, [proxy]).fetchone() != (True,):
        allow = sql.SQL("GRANT USAGE ON SCHEMA public TO {}").format(role)
        steps.append(Step(f"schema public: USAGE granted to {proxy}", allow))
    present = _privileges(conn, proxy)
    for name in sorted(present.keys() | PRIVILEGES.keys()):
        table = sql.Identifier("public", name)
        has, wanted = present.get(name, set()), set(PRIVILEGES.get(name, ()))
        for privilege in (p for p in ALL_PRIVILEGES if p in wanted - has):
            allow = sql.SQL("GRANT {} ON TABLE {} TO {}").format(sql.SQL(privilege), table, role)
            steps.append(Step(f"table {name}: {privilege} granted to {proxy}", allow))
        for privilege in (p for p in ALL_PRIVILEGES if p in has - wanted):
            # From PUBLIC too: what everybody has, the proxy has.
            revoke = sql.SQL("REVOKE {} ON TABLE {} FROM {}, PUBLIC").format(sql.SQL(privilege), table, role)
            steps.append(Step(f"table {name}: {privilege} revoked from {proxy}", revoke))
    return steps


def _privileges(conn: Connection, proxy: str) -> dict[str, set[str]]:
    """Tables and views in schema public that the connected role owns, and what `proxy` may do with each."""
    query = (
        "SELECT c.relname, array_agg(p) FILTER (WHERE has_table_privilege(r.oid, c.oid, p))"
        " FROM pg_class c LEFT JOIN pg_roles r ON r.rolname = %s, unnest(%s::text[]) p"
        " WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f')"
        " AND pg_has_role(c.relowner, 'USAGE') GROUP BY c.relname"
    )
    return {name: set(found or ()) for name, found in conn.execute(query, [proxy, list(ALL_PRIVILEGES)])}


def _exists(conn: Connection, role: str) -> bool:
    return conn.execute("SELECT FROM pg_roles WHERE rolname = %s", [role]).fetchone() is not None
