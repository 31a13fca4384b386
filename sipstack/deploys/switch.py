"""Switch: the short moment in which the running thing changes. Only what reads something that changed restarts."""

from pyinfra.api.deploy import deploy
from pyinfra.api.exceptions import DeployError
from pyinfra.context import host

from sipstack.database.provision import PARTS
from sipstack.errors import OperatorError
from sipstack.facts.engine import ComposeInForce, Containers, DeployedFiles
from sipstack.node import Node
from sipstack.operations.database import part_in_place, secrets_kept
from sipstack.operations.release import in_force, service_up, why_restart
from sipstack.services import KINDS, Release

# A first start makes the database cluster, and Kamailio waits for it; both are far from this on any machine.
HEALTHY_WITHIN_S = 180


@deploy("Release")
def put_in_force(release: Release) -> None:
    """From now on the well-known compose file is that of this release."""
    in_force(name="The compose file of the release is in force", release=release)


@deploy("Service")
def role_up(role: str, release: Release) -> None:
    """The services of a role run and are healthy."""
    for service in host.loop([s for s in release.services if KINDS[s.name].role == role]):  # type: ignore[no-untyped-call]
        running = host.get_fact(Containers).get(service.container)
        present, in_force_now = host.get_fact(DeployedFiles), host.get_fact(ComposeInForce)
        reasons = why_restart(service, running, present, in_force_now)
        if reasons:
            verb = "restarts" if running else "starts"
            host.log_styled(f"{service.container} {verb}: {'; '.join(reasons)}", fg="yellow")
        service_up(name=f"{service.container} runs as it should", service=service, seconds=HEALTHY_WITHIN_S)


@deploy("Database")
def database(node: Node) -> None:
    """Roles, schema, gateways and subscribers, through the one host that reaches the database for all."""
    secrets_kept(name="Secrets from the environment are kept", node=node)
    known = node.database.external or _serves("vss-postgres")
    for part in PARTS:
        try:
            # None: there is no database yet, or the part before this one has to make what it stands on.
            difference = part.difference(host, node) if known else None
        except OperatorError as error:
            raise DeployError(f"{node.name}: {error}") from None
        known = known and not difference
        why = (
            "; ".join(difference) if difference else ("nothing to do" if difference == [] else "follows from the above")
        )
        part_in_place(name=f"{part.title}: {why}", part=part, node=node, difference=difference)


def _serves(container: str) -> bool:
    running = host.get_fact(Containers).get(container)
    return running is not None and running.serves
