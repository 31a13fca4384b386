"""Refuses a host on which the deploy cannot end well, before anything changes anywhere."""

from pyinfra import host, logger
from pyinfra.api.exceptions import DeployError

from sipstack.facts.system import Listener, Machine, MachineFact
from sipstack.node import Node

SUPPORTED = "Debian 13, or any system that has Docker with the compose plugin"


def preflight(node: Node) -> None:
    """Raises DeployError with everything that is in the way; a clock that is not synchronised is a warning."""
    machine = host.get_fact(MachineFact)
    if faults := [*system_faults(machine, node), *port_faults(machine, node)]:
        raise DeployError(f"{node.name}: " + "; ".join(faults))
    if not machine.clock_synchronised:
        logger.warning(f"{node.name}: the clock is not synchronised: install chrony or systemd-timesyncd")


def system_faults(machine: Machine, node: Node) -> list[str]:
    """What is wrong with the machine itself."""
    faults = []
    if machine.uid != 0:
        faults.append("not root: connect as root, or set _sudo = True for this host")
    has_engine = bool(machine.docker and machine.compose)
    if not has_engine and (machine.system, machine.version) != ("debian", "13"):
        found = f"{machine.system} {machine.version}".strip() or "an unknown system"
        faults.append(f"{found} is not supported: use {SUPPORTED}")
    # Only a first deploy needs the room; a host that runs is not refused for what has filled up since.
    if not machine.own_pids and machine.disk_free_gb < node.settings.disk_free_gb:
        faults.append(
            f"{machine.disk_free_gb} GB of disk are free, {node.settings.disk_free_gb} are needed:"
            " make room, or lower disk_free_gb"
        )
    return faults


def port_faults(machine: Machine, node: Node) -> list[str]:
    """Which of our ports something else holds."""
    faults = []
    for role, key, transports in (
        ("proxies", "sip_port", ("udp", "tcp")),
        ("databases", "postgres_port", ("tcp",)),
        ("media", "rtpengine_port", ("udp",)),
        ("pbx", "asterisk_port", ("udp",)),
    ):
        port = getattr(node.settings, key)
        for transport in transports:
            taken = [one for one in machine.listeners if _holds(one, transport, port) and one.pid not in machine.own_pids]
            if node.has(role) and taken:
                who = f"{taken[0].process} (pid {taken[0].pid})" if taken[0].process else "another program"
                faults.append(f"port {port}/{transport} is taken by {who}: stop it, or set {key}")
    return faults


def _holds(listener: Listener, transport: str, port: int) -> bool:
    return listener.transport == transport and listener.port == port
