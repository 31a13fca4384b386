"""Back to a release that lies on the host."""

import shlex
from collections.abc import Generator, Mapping

from pyinfra.api.command import PyinfraCommand, StringCommand
from pyinfra.api.exceptions import DeployError
from pyinfra.api.operation import operation
from pyinfra.context import host

from sipstack.facts.engine import Containers, DeployedFiles, FileState, ImageTags
from sipstack.facts.releases import KeptRelease, Releases, ReleasesOnHost
from sipstack.node import Node
from sipstack.operations.commands import Call
from sipstack.paths import COMPOSE_FILE, HOME
from sipstack.provenance import about
from sipstack.rollout.proxy import Target, roll
from sipstack.rollout.scripts import into_force
from sipstack.rollout.service import Change, change
from sipstack.services import KINDS

HEALTHY_WITHIN_S = 60


def way_back(wanted: str) -> KeptRelease:
    """The release to go back to on this host.

    wanted: the beginning of its name; empty for the one before what runs. Raises DeployError, before anything
    changes anywhere, when the host does not have it whole.
    """
    present = host.get_fact(ReleasesOnHost)
    found = [name for name in present.kept if name.startswith(wanted)] if wanted else _before_on_all()
    if len(found) != 1:
        which = (
            f"{wanted} is one of {', '.join(found)}" if found else f"no release {wanted or 'before this one'} is here"
        )
        raise DeployError(f"{host.name}: {which}: see `sipstack releases`, and name one of them with --to")
    release = present.kept[found[0]]
    tags: set[str] = host.get_fact(ImageTags)
    files: dict[str, FileState] = host.get_fact(DeployedFiles)
    if why := no_way_back(release, present, tags, files):
        raise DeployError(f"{host.name}: release {release.name} cannot come back, {why}: choose another")
    return release


def no_way_back(release: KeptRelease, present: Releases, tags: set[str], files: Mapping[str, FileState]) -> str:
    """Why a release that lies on a host could not serve there any more; empty if nothing is known against it."""
    if missing := sorted((release.images - tags) | (release.configurations - present.configurations)):
        return f"{missing[0]} is gone"
    in_force = present.kept.get(present.in_force)
    for name, what in (("postgres_password", "postgres_password"), ("postgres.crt", "the certificate of PostgreSQL")):
        then, now = (_read_by(one, name, files) if one else None for one in (release, in_force))
        if then and now and then != now:
            return f"{what} has changed since"
    return ""


def _read_by(release: KeptRelease, name: str, files: Mapping[str, FileState]) -> str | None:
    """The digest of a file of a release's proxy; None if it has none."""
    folder = next((one for one in release.configurations if one.startswith("config/kamailio/")), "")
    file = files.get(f"{HOME}/{folder}/{name}")
    return file.sha256 if file else None


def _before_on_all() -> list[str]:
    """The release before the one in force; DeployError if that is not the same one on all hosts of this run."""
    before = {other.name: other.get_fact(ReleasesOnHost).ways_back[:1] for other in host.state.active_hosts}
    if len({tuple(names) for names in before.values()}) > 1:
        said = ", ".join(f"{name}: {''.join(names) or 'none'}" for name, names in sorted(before.items()))
        raise DeployError(f"the release before is not the same on all hosts ({said}): say which, with --to RELEASE")
    return before[host.name]


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
    file = f"{HOME}/releases/{target.name}/{COMPOSE_FILE}"
    for name in others:
        serves = f"vss-{name}" in running and running[f"vss-{name}"].serves
        yield Call(change, node, Change(name, file, HEALTHY_WITHIN_S, False, serves))
    if "kamailio" in due:
        yield Call(roll, node, Target(target.name, target.digest("kamailio"), "rollback"), False, True)
    else:
        yield StringCommand(into_force(target.name, shlex.quote(about("rollback"))))
