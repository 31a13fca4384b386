"""What the database holds: roles, schema, gateways, subscribers. Each part tells its difference and applies it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial

from psycopg import sql
from pyinfra.api.host import Host

from sipstack.database import clients, gateways, own_tables, roles, schema, subscribers
from sipstack.database.session import as_admin, as_owner, as_proxy
from sipstack.database.subscribers import Change, Rules, Subscriber
from sipstack.errors import OperatorError
from sipstack.node import Node
from sipstack.oci import in_proxy
from sipstack.paths import ROOT
from sipstack.rollout.everywhere import on_proxies

SQL = ROOT / "sql"


@dataclass(frozen=True)
class Part:
    """One thing that the database holds.

    difference: what would change, in words; empty when nothing. apply: change it.
    """

    title: str
    difference: Callable[[Host, Node], list[str]]
    apply: Callable[[Host, Node], None]


def wanted_subscribers(node: Node) -> list[Subscriber]:
    """Every slot of the settings, and the two probe users, with their HA1."""
    domain = node.settings.sip_domain
    return [Subscriber.from_password(slot.username, domain, slot.password or "") for slot in node.slots]


# --- roles ------------------------------------------------------------------------------------------------


def _role_arguments(node: Node) -> tuple[str, str, str, str, str]:
    settings = node.settings
    return (
        settings.postgres_db,
        settings.postgres_owner,
        node.database_secret("postgres_owner_password"),
        settings.postgres_user,
        node.database_secret("postgres_password"),
    )


def _role_difference(host: Host, node: Node) -> list[str]:
    if not node.settings.postgres_admin:
        # Somebody else makes the roles. A proxy that cannot log in would wait for ever: better to know it now.
        with as_proxy(host, node) as conn:
            clients.refuse_others(conn, node.settings.postgres_user, _proxies(node))
            return []
    with as_admin(host, node, "postgres") as conn:
        row = conn.execute("SELECT 1 FROM pg_database WHERE datname = %s", (node.settings.postgres_db,)).fetchone()
    if row is None:
        return [f"create database {node.settings.postgres_db}"]
    with as_admin(host, node) as conn:
        clients.refuse_others(conn, node.settings.postgres_user, _proxies(node))
        return roles.difference(conn, *_role_arguments(node))


def _proxies(node: Node) -> list[str]:
    return [proxy.name for proxy in node.with_role("proxies")]


def _apply_roles(host: Host, node: Node) -> None:
    name = node.settings.postgres_db
    with as_admin(host, node, "postgres") as conn:
        if conn.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone() is None:
            conn.execute(sql.SQL("CREATE DATABASE {} ENCODING 'UTF8' TEMPLATE template0").format(sql.Identifier(name)))
    with as_admin(host, node) as conn:
        roles.ensure(conn, *_role_arguments(node))


# --- schema and the proxies' rights on it -----------------------------------------------------------------


def _schema_difference(host: Host, node: Node) -> list[str]:
    with as_owner(host, node) as conn:
        pending = [f"apply {migration.name}.sql" for migration in schema.pending(conn, SQL)]
        return pending or roles.grant_difference(conn, node.settings.postgres_user)


def _apply_schema(host: Host, node: Node) -> None:
    with as_owner(host, node) as conn:
        schema.apply(conn, SQL)
        roles.grant(conn, node.settings.postgres_user)


# --- what each proxy has for itself ------------------------------------------------------------------------


def _own_tables_difference(host: Host, node: Node) -> list[str]:
    with as_owner(host, node) as conn:
        return own_tables.difference(conn, node.proxy_schemas, node.settings.postgres_user)


def _apply_own_tables(host: Host, node: Node) -> None:
    with as_owner(host, node) as conn:
        own_tables.apply(conn, node.proxy_schemas, node.settings.postgres_user)


# --- gateways ---------------------------------------------------------------------------------------------


def _gateway_difference(host: Host, node: Node) -> list[str]:
    with as_owner(host, node) as conn:
        change = gateways.difference(conn, node.destinations)
    return [
        f"{verb} {gateway.destination}"
        for verb, changed in (("add", change.added), ("change", change.changed), ("remove", change.removed))
        for gateway in changed
    ]


def _apply_gateways(host: Host, node: Node) -> None:
    with as_owner(host, node) as conn:
        gateways.apply(conn, node.destinations)
    on_every_proxy(host, "kamcmd dispatcher.reload")


# --- subscribers ------------------------------------------------------------------------------------------


def _rules(node: Node) -> Rules:
    """Only passwords that were generated are known to nobody but the state."""
    settings = node.settings
    if settings.slots_allow_new_passwords:
        return Rules(settings.slots_allow_mass_removal)
    generated = {slot.username: slot.password or "" for slot in node.slots if slot.generated}
    earlier = node.secrets.earlier_passwords()

    def may_replace(username: str, ha1: str) -> bool:
        if username not in generated:
            return True
        known = [generated[username], *earlier.get(username, ())]
        return any(Subscriber.from_password(username, settings.sip_domain, one).ha1 == ha1 for one in known)

    return Rules(settings.slots_allow_mass_removal, may_replace)


@cache
def _subscriber_change(host: Host, node: Node) -> Change:
    """Worked out once for the parts below: a million of them are sent to the database for that."""
    with as_owner(host, node) as conn:
        return subscribers.difference(conn, node.settings.sip_domain, wanted_subscribers(node), _rules(node))


def _subscriber_difference(host: Host, node: Node, kinds: Sequence[str]) -> list[str]:
    change = _subscriber_change(host, node).only(kinds)
    return [change.summary()] if change else []


def _apply_subscribers(host: Host, node: Node, kinds: Sequence[str]) -> None:
    with as_owner(host, node) as conn:
        change = subscribers.apply(conn, node.settings.sip_domain, wanted_subscribers(node), _rules(node), kinds)
    host.log_styled(f"Subscribers: {change.summary()}", fg="green")
    if change.changed or change.removed:
        # What the proxies remember of passwords would let the old ones in. A release of before cannot read them again.
        on_every_proxy(host, "sh -c 'kamcmd htable.reload ha1 || kamcmd htable.flush ha1'")


def _subscribers(title: str, *kinds: str) -> Part:
    return Part(title, partial(_subscriber_difference, kinds=kinds), partial(_apply_subscribers, kinds=kinds))


def on_every_proxy(host: Host, command: str) -> None:
    """Run a command in the Kamailio container of every proxy that has one, also where --limit leaves it out.

    A proxy that cannot be reached is a warning: it will know when it starts again. One that can, and refuses, is an
    OperatorError.
    """
    for name, answer in on_proxies(host, in_proxy(command)).items():
        if answer.unreachable:
            by_hand = f"run `docker exec vss-kamailio {command}` there"
            host.log_styled(f"{name} does not answer ({answer.text}): {by_hand}", fg="yellow")
        elif not answer.ok:
            raise OperatorError(f"{name}: `{command}` failed, run it there: {answer.text}")


# In the order in which they depend on each other.
MAKES_TABLES = (
    Part("Database roles", _role_difference, _apply_roles),
    Part("Database schema", _schema_difference, _apply_schema),
)
# What a new release may need before it runs anywhere; no release that serves is harmed by it.
BEFORE_TRIAL = (
    *MAKES_TABLES,
    Part("Tables of each proxy", _own_tables_difference, _apply_own_tables),
    _subscribers("New subscribers", "added"),
)
# What all proxies use at once: when the release has been on trial, and what it asks is there.
AFTER_TRIAL = (Part("Gateways", _gateway_difference, _apply_gateways),)
# What a release that serves would miss, also one that a run goes back to: when all proxies run the new one.
AFTER_PROXIES = (_subscribers("Subscribers", "changed", "removed"),)
