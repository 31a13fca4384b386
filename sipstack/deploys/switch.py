"""Switch: the short moment in which the running thing changes. Only what reads something that changed restarts.

Every function here is called on every host, also on those that have nothing to do in it: pyinfra lets hosts go through
the operations that they share in step, and only so a role is up everywhere before the next one begins.
"""

from collections.abc import Sequence
from functools import cache

from pyinfra.api.deploy import deploy
from pyinfra.api.exceptions import DeployError
from pyinfra.context import host

from sipstack.database.provision import AFTER_PROXIES, AFTER_TRIAL, BEFORE_TRIAL, MAKES_TABLES, Part
from sipstack.errors import OperatorError
from sipstack.facts.engine import ComposeInForce, Containers, DeployedFiles
from sipstack.node import Node
from sipstack.operations.database import part_in_place, secrets_kept
from sipstack.operations.proxy import rolled, tried
from sipstack.operations.release import in_force, reads_other, service_up, why_restart
from sipstack.operations.tidy import tidied
from sipstack.services import Release, Service
from sipstack.site import all_nodes

# A first start makes the database cluster, and Kamailio waits for it; both are far from this on any machine.
HEALTHY_WITHIN_S = 180


@deploy("Release")
def put_in_force(release: Release) -> None:
    """From now on the well-known compose file is that of this release."""
    in_force(name="The compose file of the release is in force", release=release)


@deploy("Service")
def service(name: str, node: Node, release: Release) -> None:
    """A service runs and is healthy on every host that has it, one host after the other."""
    wanted = release.service(name)
    if wanted:
        say_why(wanted)
    service_up(
        name=f"vss-{name} runs as it should",
        node=node,
        release=release,
        service=wanted,
        seconds=HEALTHY_WITHIN_S,
        _serial=True,
    )


@deploy("Trial")
def trial(node: Node, release: Release) -> None:
    """A release that would replace a running proxy takes calls beside it first."""
    wanted = release.service("kamailio")
    running = host.get_fact(Containers).get("vss-kamailio")
    present = host.get_fact(DeployedFiles)
    due = bool(wanted and running and running.serves and reads_other(wanted, running, present))
    tried(name="The new proxy takes calls beside the running one", node=node, release=release, due=due)


@deploy("Proxy")
def proxy(node: Node, release: Release) -> None:
    """The proxies change one by one; each proves itself, or goes back and is the last."""
    if wanted := release.service("kamailio"):
        say_why(wanted)
    rolled(name="vss-kamailio runs as it should and has proved it", node=node, release=release, _serial=True)


def say_why(wanted: Service) -> None:
    """Tell what a service is going to restart for, if it does."""
    running = host.get_fact(Containers).get(wanted.container)
    present, in_force_now = host.get_fact(DeployedFiles), host.get_fact(ComposeInForce)
    reasons = why_restart(wanted, running, present, in_force_now)
    if reasons:
        verb = "restarts" if running else "starts"
        host.log_styled(f"{wanted.container} {verb}: {'; '.join(reasons)}", fg="yellow")


@deploy("Database")
def database(node: Node) -> None:
    """Roles, schema and subscribers, through the one host that reaches the database for all."""
    mine = node.provisions_database
    _tell_left_out()
    secrets_kept(name="Secrets from the environment are kept", node=node, here=mine)
    _in_place(node, BEFORE_TRIAL, known=mine and _database_serves(node))


@deploy("Subscribers")
def subscribers(node: Node) -> None:
    """Those that are gone go, and new passwords count, once no release that knows them is needed any more."""
    _in_place(node, AFTER_PROXIES, known=_has_tables(node))


@deploy("Gateways")
def gateways(node: Node) -> None:
    """What the proxies send calls to, now that it is there."""
    _in_place(node, AFTER_TRIAL, known=_has_tables(node))


def _tell_left_out() -> None:
    """With --limit, the host may be left out through which the database is reached."""
    nodes = all_nodes(host.inventory)
    through = next((node.name for node in nodes.values() if node.provisions_database), "")
    here = sorted(one.name for one in host.state.active_hosts)
    if through not in here and host.name == here[0]:
        left_out = f"{through} is left out of this run (--limit databases adds it)"
        host.log_styled(f"slots, schema and gateways are not looked at: {left_out}", fg="yellow")


def _in_place(node: Node, parts: Sequence[Part], known: bool) -> None:
    """known: whether there is something to compare with."""
    mine = node.provisions_database
    for part in host.loop(parts):  # type: ignore[no-untyped-call]
        # None: there is no database yet, or the part before this one has to make what it stands on.
        difference = _difference(part, node) if known else None if mine else []
        known = known and not difference
        # The same words on all hosts: pyinfra joins the names that an operation has on each.
        part_in_place(name=part.title, part=part, node=node, difference=difference)
        if mine and difference != []:
            host.log_styled(f"{part.title}: {'; '.join(difference or ['follows from the above'])}", fg="yellow")


@deploy("Tidy")
def tidy(node: Node, release: Release) -> None:
    """Old releases go, but for those that one may want to go back to."""
    tidied(name="Old releases are removed", release=release, keep=node.settings.releases_kept)


def _has_tables(node: Node) -> bool:
    """Whether there is a database to compare with, which this run does not change before."""
    known = node.provisions_database and _database_serves(node)
    return known and all(_difference(part, node) == [] for part in MAKES_TABLES)


@cache
def _difference(part: Part, node: Node) -> list[str]:
    try:
        return part.difference(host, node)
    except OperatorError as error:
        raise DeployError(f"{node.name}: {error}") from None


def _database_serves(node: Node) -> bool:
    return node.database.external or _serves("vss-postgres")


def _serves(container: str) -> bool:
    running = host.get_fact(Containers).get(container)
    return running is not None and running.healthy
