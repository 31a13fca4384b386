"""Back to a release that lies on the host."""

from collections.abc import Generator

from pyinfra.api.command import PyinfraCommand, StringCommand
from pyinfra.api.exceptions import DeployError
from pyinfra.api.operation import operation
from pyinfra.context import host

from sipstack.facts.engine import Containers, ImageTags
from sipstack.facts.releases import KeptRelease, ReleasesOnHost
from sipstack.node import Node
from sipstack.operations.commands import Call
from sipstack.paths import COMPOSE_FILE, HOME
from sipstack.rollout.proxy import Target, roll
from sipstack.rollout.scripts import into_force
from sipstack.services import KINDS

HEALTHY_WITHIN_S = 60


def way_back(wanted: str) -> KeptRelease:
    """The release to go back to on this host.

    wanted: the beginning of its name; empty for the one before what runs. Raises DeployError, before anything
    changes anywhere, when the host does not have it whole.
    """
    present = host.get_fact(ReleasesOnHost)
    names = [name for name in (present.in_force, *present.ways_back) if name in present.kept]
    found = [name for name in names if name.startswith(wanted)] if wanted else present.ways_back[:1]
    if not found:
        has = ", ".join(names) or "none"
        raise DeployError(f"{host.name}: no release {wanted or 'before this one'} is on this host: it has {has}")
    release = present.kept[found[0]]
    tags: set[str] = host.get_fact(ImageTags)
    if missing := sorted((release.images - tags) | (release.configurations - present.configurations)):
        raise DeployError(f"{host.name}: release {release.name} is not whole, {missing[0]} is gone: choose another")
    return release


@operation()
def gone_back(node: Node, target: KeptRelease) -> Generator[PyinfraCommand, None, None]:
    """A release of before is in force; what differs restarts, a proxy drained and proved.

    + node: this host
    + target: the release to go back to
    """
    running = host.get_fact(Containers)
    due = [
        name
        for name in KINDS
        if (digest := target.digest(name))
        and not (f"vss-{name}" in running and running[f"vss-{name}"].digest == digest and running[f"vss-{name}"].serves)
    ]
    if not due and host.get_fact(ReleasesOnHost).in_force == target.name:
        host.noop(f"release {target.name} is in force and serves")
        return
    others = [name for name in due if name != "kamailio"]
    if others:
        file = f"{HOME}/releases/{target.name}/{COMPOSE_FILE}"
        up = f"docker compose --progress quiet -f {file} up -d --wait --wait-timeout {HEALTHY_WITHIN_S}"
        yield StringCommand(f"{up} {' '.join(others)}")
    if "kamailio" in due:
        yield Call(roll, node, Target(target.name, target.digest("kamailio")), False, True)
    else:
        yield StringCommand(into_force(target.name))
