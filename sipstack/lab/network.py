"""The lab's network: a bridge of a known name, with a subnet that nothing else on this machine uses."""

import ipaddress
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sipstack.errors import OperatorError
from sipstack.lab.shell import as_root, run

# A range for documentation (RFC 5737), then ranges for benchmarks (RFC 2544): never routed, so that a lab's packets
# cannot meet a real machine, and not private, so that nobody takes a host for a NATed customer. The other two
# documentation ranges are left alone: machines behind a proxy are seen to use them for it.
SUBNETS = ("198.51.100.0/24", *(f"198.18.{number}.0/24" for number in range(8)))
FIRST_HOST = 11  # addresses below are kept for the bridge
FIRST_OUTSIDE = 200  # addresses from here on belong to the outside world


@dataclass(frozen=True)
class LabNetwork:
    """A Docker network: `name`, its `subnet` as a.b.c.0/24, and the name of its `bridge` interface."""

    name: str
    subnet: str
    bridge: str

    @property
    def network(self) -> ipaddress.IPv4Network:
        return ipaddress.IPv4Network(self.subnet)

    @property
    def gateway(self) -> str:
        return self.address(1)

    def address(self, last: int) -> str:
        """The address whose last byte is `last`."""
        return str(self.network[last])


def find_network(name: str) -> LabNetwork | None:
    """The network of this name, or None."""
    shown = run(["docker", "network", "inspect", name], check=False)
    if shown.returncode != 0:
        return None
    config = json.loads(shown.stdout)[0]
    bridge = config["Options"]["com.docker.network.bridge.name"]
    return LabNetwork(name, config["IPAM"]["Config"][0]["Subnet"], bridge)


def ensure_network(name: str, bridge: str, label: str, played: Sequence[str] = ()) -> LabNetwork:
    """The network of this name, made with the first free subnet if it is absent.

    played: addresses that hosts get beside those of the subnet, which it must not contain.
    """
    if found := find_network(name):
        if inside := [address for address in played if ipaddress.ip_address(address) in found.network]:
            raise OperatorError(f"{inside[0]} is in {found.subnet}, which {name} uses; take that lab down first")
        return found
    made = LabNetwork(name, _free_subnet(played), bridge)
    run([
        "docker", "network", "create", "--driver", "bridge", "--label", label,
        "--subnet", made.subnet, "--gateway", made.gateway,
        "--opt", f"com.docker.network.bridge.name={bridge}", name,
    ])  # fmt: skip
    return made


def leave_sources_alone(bridge: str) -> None:
    """What goes to a lab's host keeps its source, whatever Docker networks this machine has.

    Docker hides the addresses of a network's containers behind this machine, also when it is only played addresses of
    a lab's host that lie in such a network: packets inside a bridge pass the same rules (br_netfilter). A network that
    was made since has its rule before ours, so ours is moved to the front.
    """
    give_sources_up(bridge)
    run(as_root(["iptables", "-t", "nat", "-I", *_to(bridge)]))


def give_sources_up(bridge: str) -> None:
    """The end of that, if it was so."""
    run(as_root(["iptables", "-t", "nat", "-D", *_to(bridge)]), check=False)


def _to(bridge: str) -> list[str]:
    return ["POSTROUTING", "-o", bridge, "-j", "RETURN"]


def _free_subnet(played: Sequence[str]) -> str:
    taken = [ipaddress.ip_network(subnet) for subnet in (*_subnets_in_use(), *played)]
    for subnet in SUBNETS:
        wanted = ipaddress.ip_network(subnet)
        if not any(wanted.version == other.version and wanted.overlaps(other) for other in taken):
            return subnet
    raise OperatorError(f"no subnet free for a lab, {', '.join(SUBNETS)} are in use; take another lab down")


def _subnets_in_use() -> Iterable[str]:
    """Subnets of all Docker networks (also those with no interface up) and of this machine's own routes."""
    ids = run(["docker", "network", "ls", "--quiet"]).stdout.split()
    for network in json.loads(run(["docker", "network", "inspect", *ids]).stdout):
        for config in network["IPAM"]["Config"] or []:
            yield config["Subnet"]
    for route in json.loads(run(["ip", "-json", "-4", "route"]).stdout or "[]"):
        if route["dst"] != "default":
            yield route["dst"]
