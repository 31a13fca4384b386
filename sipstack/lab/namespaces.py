"""Network namespaces: small machines with nothing but a network stack, wired to a lab's bridge."""

import hashlib
import ipaddress
import json
import os
import shutil
import signal
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sipstack.lab.shell import as_root, run

FILES = Path("/etc/netns")


@dataclass(frozen=True)
class Namespace:
    """One machine of the outside world.

    address: its own. public_address: the one that the hosts see, which is a router's behind NAT.
    router: the name of that router's namespace, or None.
    """

    name: str
    address: str
    public_address: str
    router: str | None = None

    @property
    def exec_prefix(self) -> list[str]:
        """What to put before a command so that it runs in here."""
        return as_root(["ip", "netns", "exec", self.name])

    def close(self) -> None:
        """Remove the namespace, its router and every process in them."""
        for name in (self.name, self.router):
            if name is not None:
                remove_namespace(name)


def namespace_names(lab: str) -> list[str]:
    """The namespaces of a lab, whoever made them."""
    listed = json.loads(run(["ip", "-json", "netns", "list"]).stdout or "[]")
    return [entry["name"] for entry in listed if entry["name"].startswith(f"sl-{lab}-")]


def add_namespace(name: str) -> None:
    run(as_root(["ip", "netns", "add", name]))
    ip_in(name, "link", "set", "lo", "up")


def remove_namespace(name: str) -> None:
    """Remove a namespace that is there or not, with the processes and the cables in it."""
    pids = run(as_root(["ip", "netns", "pids", name]), check=False)
    for pid in pids.stdout.split():  # a namespace lives on, unnamed, while a process is in it
        run(as_root(["kill", f"-{signal.SIGKILL.value}", pid]), check=False)
    run(as_root(["ip", "link", "delete", bridge_port(name)]), check=False)
    run(as_root(["ip", "netns", "delete", name]), check=False)
    if (FILES / name).exists():
        run(as_root(["rm", "-r", str(FILES / name)]))


def write_file(namespace: str, name: str, text: str) -> None:
    """Let commands that `ip netns exec` runs in a namespace see this text as /etc/<name>. See ip-netns(8)."""
    run(as_root(["mkdir", "-p", str(FILES / namespace)]))
    run(as_root(["tee", str(FILES / namespace / name)]), stdin=text)


def remove_namespaces(lab: str) -> None:
    """Remove all namespaces of a lab, also those that a killed run has left."""
    if shutil.which("ip", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"):
        # Files outlive a reboot, namespaces do not.
        for name in {*namespace_names(lab), *(folder.name for folder in FILES.glob(f"sl-{lab}-*"))}:
            remove_namespace(name)


def ip_in(namespace: str, *argv: str) -> str:
    """Run `ip` in a namespace and return what it printed."""
    return run(as_root(["ip", "-n", namespace, *argv])).stdout


def bridge_port(namespace: str) -> str:
    """Our end of a namespace's cable. Hashed, since an interface's name has 15 characters at most."""
    return f"sl{hashlib.sha256(namespace.encode()).hexdigest()[:10]}"


def plug(namespace: str, bridge: str, address: str, gateway: str | None, neighbours: Iterable[str]) -> None:
    """Connect interface `eth0` of a namespace to a bridge, with `address`/24.

    gateway: where everything else is sent; None: nowhere. neighbours: addresses of others on the bridge that are not
    of that /24.
    """
    port = bridge_port(namespace)
    # A fixed hardware address for each IP address: hosts remember the one that had it before.
    mac = "02:5c:" + ipaddress.IPv4Address(address).packed.hex(":")
    far_end = ["name", "eth0", "address", mac, "netns", namespace]
    run(as_root(["ip", "link", "add", port, "type", "veth", "peer", *far_end]))
    run(as_root(["ip", "link", "set", port, "master", bridge, "up"]))
    set_address(namespace, "eth0", address)
    if gateway:
        ip_in(namespace, "route", "add", "default", "via", gateway)
    meet(namespace, neighbours)


def meet(namespace: str, neighbours: Iterable[str]) -> None:
    """Let a namespace find these addresses on its own wire."""
    for neighbour in neighbours:
        ip_in(namespace, "route", "replace", f"{neighbour}/32", "dev", "eth0")


def set_address(namespace: str, interface: str, address: str) -> None:
    """Give an interface `address`/24 and put it up."""
    ip_in(namespace, "address", "add", f"{address}/24", "dev", interface)
    ip_in(namespace, "link", "set", interface, "up")


def addresses_in(namespace: str) -> set[str]:
    """All IPv4 addresses of a namespace."""
    shown = json.loads(ip_in(namespace, "-json", "-4", "address") or "[]")
    return {entry["local"] for link in shown for entry in link.get("addr_info", [])}


def set_sysctl(namespace: str, path: str, value: int, *, optional: bool = False) -> None:
    """Set a kernel parameter of a namespace, for instance `net/ipv4/ip_forward`. optional: absent is well."""
    guard = "[ ! -e /proc/sys/$1 ] ||" if optional else ""
    script = f"{guard} echo $2 > /proc/sys/$1"
    run(as_root(["ip", "netns", "exec", namespace, "sh", "-c", script, "sysctl", path, str(value)]))
