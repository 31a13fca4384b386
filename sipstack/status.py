"""`sipstack status`: a fleet at a glance: a line a host, and a line for each thing that is wrong with one."""

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from sipstack.errors import OperatorError
from sipstack.facts.engine import Container, ContainerNames, Containers, DeployedFiles, ProvedProxy
from sipstack.facts.firewall import Firewall
from sipstack.facts.releases import Releases, ReleasesOnHost
from sipstack.facts.system import MachineFact
from sipstack.facts.vitals import VitalsFact
from sipstack.facts.watch import Watch
from sipstack.faults import guard_faults, host_faults, proxy_faults
from sipstack.inventory import Entry, load
from sipstack.node import GATEWAY_SET, Node
from sipstack.oci import in_proxy
from sipstack.operations.release import why_restart
from sipstack.operations.tidy import leftovers
from sipstack.services import Release, Service, release
from sipstack.ssh import Connections
from sipstack.table import show

# What the proxy itself says; nothing is printed where there is none.
_ASKED = (
    "sh -c 'kamcmd stats.fetch usrloc.location_contacts; kamcmd dlg.stats_active; kamcmd dispatcher.list;"
    " for key in pause hold refuse; do echo ${key}_until:$(kamcmd cfg.get config ${key}_until); done; date +now:%s'"
)
_PROXY = f"{in_proxy(_ASKED)} 2>/dev/null || true"
# What a proxy does while it is being changed (files/kamailio/etc/routes/drain.cfg), the strictest first.
_CLOSED = {"pause": "nothing is heard", "hold": "new calls wait", "refuse": "new calls are refused"}
# The rest is told by `pyinfra … --dry`.
SHOWN_REASONS = 2
HEADERS = ("HOST", "RELEASE", "HEALTH", "BINDINGS", "CALLS", "GATEWAYS", "DRIFT")


@dataclass
class Line:
    """One host. faults: what is wrong with it, in words. notes: what one should know of it, and is no fault."""

    host: str
    cells: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def main(inventory: str, limit: Sequence[str] = ()) -> int:
    """Print the table and what is wrong; 0 if nothing is, else 1.

    Raises OperatorError for an inventory that is refused.
    """
    found = load(inventory, limit)
    nodes = [entry.node for entry in found.everyone]
    with (
        Connections((entry.name, entry.data) for entry in found.everyone) as connections,
        ThreadPoolExecutor(16) as pool,
    ):
        lines = list(pool.map(lambda entry: _line(entry, nodes, connections), found.hosts))
    show([HEADERS, *((line.host, *line.cells) for line in lines)])
    for line in lines:
        for text in (*line.notes, *line.faults):
            print(f"{line.host}: {text}")
    return 1 if any(line.faults for line in lines) else 0


def _line(entry: Entry, nodes: list[Node], connections: Connections) -> Line:
    def fact(kind: type[Any]) -> Any:
        return connections.fact(entry.name, kind)

    node, line = entry.node, Line(entry.name)
    try:
        wanted = release(node, fact(MachineFact), nodes)
        containers, releases = fact(Containers), fact(ReleasesOnHost)
        drift = _drift(wanted, containers, releases, fact(DeployedFiles), fact(ProvedProxy))
        drift += strangers(fact(ContainerNames), wanted, releases)
        before = time.time()
        vitals = fact(VitalsFact)
        here = (before + time.time()) / 2
        line.faults += [*host_faults(vitals, here), *guard_faults(fact(Firewall), fact(Watch), node)]
        proxy = connections.run(entry.name, _PROXY).stdout if node.has("proxies") else ""
    except OperatorError as error:
        line.cells = ["?", "?", "-", "-", "-", "-"]
        line.faults = [str(error).removeprefix(f"{entry.name}: ")]
        return line
    ill = unwell(wanted.services, containers)
    numbers = _numbers(proxy) if node.has("proxies") else ["-", "-", "-"]
    if node.has("proxies") and "kamailio" not in " ".join(ill):
        line.faults += proxy_faults(vitals, node)
        line.faults += [f"gateway {uri} does not answer" for uri, up in gateways(proxy).items() if not up]
    if vitals.deploy:
        # What it restarts is not well for a moment.
        line.notes.append(f"a deploy runs: {vitals.deploy}")
    else:
        line.faults = [*ill, *line.faults]
    health = draining(proxy) or ("NOT WELL" if ill or line.faults else "healthy")
    line.cells = [releases.in_force or "none", health, *numbers, "; ".join(drift) or "none"]
    return line


def unwell(services: Iterable[Service], containers: Mapping[str, Container]) -> list[str]:
    """Which services do not run, or say that they are not healthy."""
    found = ((service, containers.get(service.container)) for service in services)
    return [
        f"{service.name} is {_state(one)}: docker logs {service.container}" if one else f"{service.name} is absent"
        for service, one in found
        if not (one and one.healthy)
    ]


def _state(container: Container) -> str:
    """What it says of its health, if it runs at all."""
    return container.health if container.status == "running" else container.status


def _drift(wanted: Release, containers: Any, releases: Releases, files: Any, proved: str) -> list[str]:
    """How what runs differs from what the inventory says, in words; what the next deploy would change."""
    compose = releases.kept[releases.in_force].compose if releases.in_force in releases.kept else ""
    drift = []
    for service in wanted.services:
        running = containers.get(service.container)
        if reasons := why_restart(service, running, files, compose):
            more = f" and {len(reasons) - SHOWN_REASONS} more" if len(reasons) > SHOWN_REASONS else ""
            drift.append(f"{service.name}: {', '.join(reasons[:SHOWN_REASONS])}{more}")
        elif service.name == "kamailio" and running and proved != service.digest:
            drift.append("kamailio has not proved itself")
    return drift


def _numbers(said: str) -> list[str]:
    """Bindings, calls in progress, and how many gateways are up of how many."""
    if not said:
        return ["?", "?", "0/?"]
    bindings = re.search(r"location_contacts: (\d+)", said)
    calls = re.search(r"ongoing: (\d+)", said)
    up = gateways(said).values()
    return [bindings[1] if bindings else "?", calls[1] if calls else "?", f"{sum(up)}/{len(up)}"]


def gateways(said: str) -> dict[str, bool]:
    """The gateways as a proxy sees them: URI -> whether it answers."""
    # Set 1 holds the gateways, a set 2 the proxies (sipstack/node.py).
    sets = re.split(r"ID: (\d+)", said)
    body = next((body for number, body in zip(sets[1::2], sets[2::2], strict=True) if number == str(GATEWAY_SET)), "")
    return {uri: flags.startswith("A") for uri, flags in re.findall(r"URI: (\S+)\s+FLAGS: (\w+)", body)}


def draining(said: str) -> str:
    """Whether a proxy takes no new calls, for how long yet and what happens to them; empty: it takes them.

    said: what _PROXY printed.
    """
    until = {key: int(second) for key, second in re.findall(r"^(\w+)_until:(\d+)$", said, re.MULTILINE)}
    now = re.search(r"^now:(\d+)$", said, re.MULTILINE)
    if now is None:
        return ""
    left = {key: until.get(key, 0) - int(now[1]) for key in _CLOSED}
    return next((f"DRAINING ({_CLOSED[key]}, for {left[key]} s)" for key in _CLOSED if left[key] > 0), "")


def strangers(names: Iterable[str], wanted: Release, releases: Releases) -> list[str]:
    """Containers with names of ours that neither the wanted release nor the one in force knows, in words."""
    known = {service.container for service in wanted.services}
    if in_force := releases.kept.get(releases.in_force):
        known |= in_force.containers
    of_a_run = leftovers(names)
    strange = sorted(set(names) - known - set(of_a_run))
    return [f"{name} is a deploy's: it runs or was killed" for name in of_a_run] + [
        f"{name} belongs to no release" for name in strange
    ]
