"""`sipstack releases`: what the hosts have run, since when and by whom, and what can come back."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from sipstack.facts.engine import DeployedFiles, FileState, ImageTags
from sipstack.facts.releases import Releases, ReleasesOnHost, Turn
from sipstack.inventory import load
from sipstack.operations.go_back import no_way_back
from sipstack.services import KINDS
from sipstack.ssh import Connections
from sipstack.table import show

HEADERS = ("RELEASE", "SINCE", "BY", "COMMIT", "RESTARTED", "HOSTS", "STATE")


@dataclass(frozen=True)
class OnHost:
    """What lies on one host."""

    name: str
    releases: Releases
    tags: set[str]
    files: Mapping[str, FileState]


def main(inventory: str, limit: Sequence[str] = ()) -> int:
    """Print a line for each release, the newest first; 0. Raises OperatorError if a host cannot be asked."""
    found = load(inventory, limit)
    with (
        Connections((entry.name, entry.data) for entry in found.everyone) as connections,
        ThreadPoolExecutor(16) as pool,
    ):

        def ask(name: str) -> OnHost:
            kinds = (ReleasesOnHost, ImageTags, DeployedFiles)
            return OnHost(name, *(connections.fact(name, kind) for kind in kinds))

        hosts = list(pool.map(ask, [entry.name for entry in found.hosts]))
    show([HEADERS, *rows(hosts)])
    return 0


def rows(hosts: Sequence[OnHost]) -> list[tuple[str, ...]]:
    """A row for each release that lies on a host, the one that was put in force last first."""
    history = sorted((turn for host in hosts for turn in host.releases.history), key=lambda turn: turn.when)
    turns = {turn.release: turn for turn in history}
    known = {name for host in hosts for name in host.releases.kept}
    latest_first = [*dict.fromkeys(turn.release for turn in reversed(history) if turn.release in known)]
    latest_first += sorted(known.difference(latest_first))
    return [_row(name, turns.get(name, Turn(name)), hosts, latest_first) for name in latest_first]


def _row(name: str, turn: Turn, hosts: Sequence[OnHost], latest_first: Sequence[str]) -> tuple[str, ...]:
    having = [host for host in hosts if name in host.releases.kept]
    before = latest_first[latest_first.index(name) + 1 :][:1]
    restarted = [kind for kind in KINDS if any(_differs(host, kind, name, before) for host in having)]
    since = turn.when.replace("T", " ").removesuffix("Z")
    where = "all" if len(having) == len(hosts) else ", ".join(host.name for host in having)
    return (name, since, turn.who, turn.commit, ", ".join(restarted) or "-", where, _state(name, having))


def _differs(host: OnHost, kind: str, name: str, before: Sequence[str]) -> bool:
    """Whether a service is another one than in the release before."""
    releases = [host.releases.kept[one] for one in (name, *before) if one in host.releases.kept]
    digests = [release.digest(kind) for release in releases]
    return len(digests) == 2 and digests[0] != digests[1]


def _state(name: str, having: Sequence[OnHost]) -> str:
    in_force = [host.name for host in having if host.releases.in_force == name]
    if len(in_force) == len(having):
        return "in force"
    if in_force:
        return f"in force on {', '.join(in_force)}"
    for host in having:
        if why := no_way_back(host.releases.kept[name], host.releases, host.tags, host.files):
            return f"cannot come back: {why} ({host.name})"
    served = any(turn.release == name for host in having for turn in host.releases.history)
    return "can come back" if served else "never served"
