"""Refuses a host on which the deploy cannot end well, before anything changes anywhere."""

from functools import cache
from threading import Lock

from pyinfra import logger
from pyinfra.api.exceptions import DeployError
from pyinfra.api.inventory import Inventory
from pyinfra.connectors.local import LocalConnector
from pyinfra.context import host

from sipstack.facts.engine import Containers, ImageTags
from sipstack.facts.fleet import FleetMark, Mark
from sipstack.facts.system import Listener, Machine, MachineFact
from sipstack.foreign_firewall import drops
from sipstack.images import POSTGRES_MAJOR
from sipstack.node import LOOPBACK, Node
from sipstack.services import OPEN_FILES, images_of
from sipstack.site import all_nodes

# What a run writes even if it builds no image: files, and the records of the trial.
DISK_LEAST_MB, DISK_LEAST_INODES = 500, 1000
# Of a host's memory, for the shared memory of its proxy: the rest is for processes, and for what else runs there.
MEMORY_SHARE = 0.7
# RTP and RTCP, towards either side; and what else rtpengine has open.
PORTS_OF_A_CALL, FILES_BESIDE = 4, 100
SUPPORTED = "Debian 13, or any system that has Docker with the compose plugin"

# Hosts are prepared side by side, and the first refusal ends the run: so the first one looks at all of them.
_lock = Lock()


def preflight(node: Node) -> Machine:
    """What this host is. Raises DeployError with everything that is in the way, a line for each host of the run."""
    with _lock:
        if refusals := _refusals(host.inventory):
            raise DeployError("\n".join(refusals))
    machine: Machine = host.get_fact(MachineFact)
    return machine


@cache
def _refusals(inventory: Inventory) -> list[str]:
    nodes = all_nodes(inventory)
    refusals = []
    for one in sorted(inventory.get_active_hosts(), key=lambda one: one.name):
        node, machine = nodes[one.name], one.get_fact(MachineFact)
        if machine.uid != 0:
            # What another user sees of the engine and the ports would only mislead.
            refusals.append(f"{node.name}: not root: connect as root, or set _sudo = True for this host")
            continue
        if fault := fleet_fault(node, one.get_fact(FleetMark), deployed=bool(one.get_fact(Containers))):
            refusals.append(f"{node.name}: {fault}")
            continue
        over_ssh = not isinstance(one.connector, LocalConnector)
        if faults := ssh_faults(machine, node) if over_ssh else []:
            # Nothing else that was asked can be relied on.
            refusals.append(f"{node.name}: " + "; ".join(faults))
            continue
        builds = not {image.tag for image in images_of(node)} <= one.get_fact(ImageTags)
        kept_out = drops(machine.ruleset, machine.ufw, public_ports(node))
        if faults := [*system_faults(machine, node, builds), *port_faults(machine, node), *kept_out]:
            refusals.append(f"{node.name}: " + "; ".join(faults))
        if not machine.clock_synchronised:
            logger.warning(f"{node.name}: the clock is not synchronised: install chrony or systemd-timesyncd")
    return refusals


def fleet_fault(node: Node, mark: Mark | None, deployed: bool) -> str:
    """Why these secrets or settings are not for this host; empty if they are. deployed: it has our containers."""
    mine = f".state/{node.secrets.name}"
    if mark is None:
        if deployed and node.secrets.is_new:
            return f"it was deployed with secrets that {mine} has not: copy that folder from where it was deployed"
        return ""
    if mark.state != node.mark.state:
        has = "is empty" if node.secrets.is_new else "has those of another fleet"
        return (
            f"{mark.by} deployed it on {mark.since} with the secrets of inventory {mark.inventory!r}, and {mine} {has}:"
            f" copy .state/{mark.inventory} from there (README, Several operators)"
        )
    now = node.mark
    moved = [
        f"{key} from {getattr(mark, key)} to {getattr(now, key)}"
        for key in ("sip_domain", "sip_port")
        if getattr(mark, key) != getattr(now, key)
    ]
    if moved and not node.settings.sip_allow_move:
        return (
            f"{' and '.join(moved)}: no phone would be served until it is told, too;"
            " if that is meant, set sip_allow_move = True for this run"
        )
    return ""


def system_faults(machine: Machine, node: Node, builds: bool) -> list[str]:
    """What is wrong with the machine itself. builds: images are going to be made on it."""
    faults = []
    if machine.addresses and node.address not in machine.addresses:
        has = ", ".join(sorted(machine.addresses - {LOOPBACK}))
        faults.append(f"address {node.address} is not its own, it has {has}: correct `address` in the inventory")
    if not machine.iproute2:
        faults.append("ss and ip are missing: apt-get install iproute2")
    has_engine = bool(machine.docker and machine.compose)
    if machine.foreign_docker and not has_engine:
        # Debian's packages would push it aside, with everything that it runs.
        lacks = "has no compose plugin: install it" if machine.docker else "does not answer: start it"
        faults.append(f"Docker is installed, but {lacks}")
    elif not has_engine and (machine.system, machine.version) != ("debian", "13"):
        found = f"{machine.system} {machine.version}".strip() or "an unknown system"
        faults.append(f"{found} is not supported: use {SUPPORTED}")
    faults += [*engine_faults(machine, node), *media_faults(machine, node)]
    # Images are what takes the most room.
    if builds and machine.disk_free_gb < node.settings.disk_free_gb:
        faults.append(
            f"{machine.disk_free_gb} GB of disk are free, {node.settings.disk_free_gb} are needed:"
            " make room, or lower disk_free_gb"
        )
    return faults


def ssh_faults(machine: Machine, node: Node) -> list[str]:
    """What the way in does not offer that a deploy needs, or adds to what is asked."""
    faults = []
    if machine.greeting:
        faults.append(
            f"its shell prints {machine.greeting[:60]!r} before every command, which breaks what is sent and read:"
            " let ~/.bashrc and the like be quiet where no terminal is"
        )
    if "sftp" in machine.ssh_lacks:
        faults.append("its sshd has no SFTP: add `Subsystem sftp internal-sftp` to sshd_config")
    if "sessions" in machine.ssh_lacks:
        faults.append("its sshd allows less than four sessions a connection: set `MaxSessions 10`")
    if "forwarding" in machine.ssh_lacks and node.provisions_database:
        faults.append("its sshd forwards no ports, and PostgreSQL is reached that way: set `AllowTcpForwarding local`")
    return faults


def engine_faults(machine: Machine, node: Node) -> list[str]:
    """What an engine, or what it keeps, is not fit for."""
    faults = []
    if "userns" in machine.engine_modes:
        faults.append("Docker runs with userns-remap, which excludes the host's network: remove it from daemon.json")
    if "rootless" in machine.engine_modes:
        faults.append("Docker runs rootless, which excludes the host's network: install it for the whole host")
    if node.has("databases") and machine.postgres_data not in ("", POSTGRES_MAJOR):
        faults.append(
            f"volume vss_postgres_data has data of PostgreSQL {machine.postgres_data}, this release runs"
            f" {POSTGRES_MAJOR}: dump them with the old release, remove the volume, and restore after the deploy"
        )
    if node.has("proxies") and machine.memory_mb is not None and node.shared_mb > machine.memory_mb * MEMORY_SHARE:
        faults.append(
            f"the proxy needs {node.shared_mb} MB of shared memory, the host has {machine.memory_mb} MB in all: give it"
            " more, or set kamailio_bindings and kamailio_calls to what there will be"
        )
    if machine.disk_free_mb is not None and machine.disk_free_mb < DISK_LEAST_MB:
        faults.append(f"{machine.disk_free_mb} MB of disk are free, a run needs {DISK_LEAST_MB}: make room")
    if machine.disk_free_inodes is not None and machine.disk_free_inodes < DISK_LEAST_INODES:
        faults.append(f"{machine.disk_free_inodes} inodes are free: remove files")
    return faults


def media_faults(machine: Machine, node: Node) -> list[str]:
    """Whether the calls of one proxy fit into the rtpengines, if each takes its share."""
    if not node.has("media"):
        return []
    settings = node.settings
    share = -(-settings.kamailio_calls // len(node.rtpengines))
    ports = settings.rtp_port_max - settings.rtp_port_min + 1
    files = (machine.open_files or OPEN_FILES) - FILES_BESIDE
    fits = min(ports, files) // PORTS_OF_A_CALL
    if fits >= share:
        return []
    what, remedy = (
        (f"rtp_port_min to rtp_port_max are {ports} ports", "give it more ports")
        if ports <= files
        else (f"it lets a process open {files + FILES_BESIDE} files", "raise the limit of the engine's service")
    )
    return [
        f"{what}, enough for {fits} calls, and kamailio_calls = {settings.kamailio_calls} makes {share} here:"
        f" {remedy}, or add hosts to group media"
    ]


def public_ports(node: Node) -> list[tuple[str, int]]:
    """What phones send to on this host: transport and port."""
    settings = node.settings
    ports = [(transport, settings.sip_port) for transport in ("udp", "tcp")] if node.has("proxies") else []
    return [*ports, *([("udp", settings.rtp_port_min)] if node.has("media") else [])]


def port_faults(machine: Machine, node: Node) -> list[str]:
    """Which of our ports something else holds."""
    faults = []
    for role, key, transports in (
        ("proxies", "sip_port", ("udp", "tcp")),
        ("proxies", "trial_port", ("udp", "tcp")),
        *([("proxies", "proxy_peer_port", ("udp",))] if node.peers else []),
        ("databases", "postgres_port", ("tcp",)),
        ("media", "rtpengine_port", ("udp",)),
        ("pbx", "asterisk_port", ("udp",)),
    ):
        port = getattr(node.settings, key)
        for transport in transports:
            taken = [
                one for one in machine.listeners if _holds(one, transport, port) and one.pid not in machine.own_pids
            ]
            if node.has(role) and taken:
                who = f"{taken[0].process} (pid {taken[0].pid})" if taken[0].process else "another program"
                faults.append(f"port {port}/{transport} is taken by {who}: stop it, or set {key}")
    return faults


def _holds(listener: Listener, transport: str, port: int) -> bool:
    return listener.transport == transport and listener.port == port
