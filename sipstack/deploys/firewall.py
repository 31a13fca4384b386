"""The firewall: SIP, RTP and SSH are open, what the proxies ask of others to the proxies, and nothing else."""

from pyinfra.api.deploy import deploy
from pyinfra.api.exceptions import DeployError
from pyinfra.connectors.local import LocalConnector
from pyinfra.context import host

from sipstack import firewall as wanted
from sipstack.facts.firewall import Firewall, FirewallState, SshClients, SshPorts
from sipstack.facts.system import Listener, MachineFact
from sipstack.node import LOOPBACK, Node
from sipstack.operations.firewall import is_in_force, rules_gone, rules_in_force
from sipstack.operations.packages import packages_installed


@deploy("Firewall")
def firewall(node: Node) -> None:
    """The rules are in force. Called right before the switch, in which services open and close ports.

    RTP is looked at from the end of the first deploy on: what is in force until then does not reckon with it.
    Media ports that are given up stay open until rtpengine has left them, for calls are there.
    """
    ssh_ports = _ssh_ports(node)
    state = host.get_fact(Firewall)
    rules = wanted.rules(node, ssh_ports, with_media=state.media, rtp_before=state.rtp)
    if not rules:
        return
    clients: set[str] = host.get_fact(SshClients)
    if node.settings.firewall_closed and (limit := wanted.locked_out(node, ssh_ports, clients)):
        came = ", ".join(sorted(clients))
        raise DeployError(f"{node.name}: {limit}, and this run comes from {came}: add that, or it locks itself out")
    nftables(node, state)
    if not is_in_force(state, rules):
        _tell(node, state, ssh_ports)
    rules_in_force(name="Ports are open to whom they should be", rules=rules)


@deploy("Firewall, after the switch")
def firewall_settled(node: Node) -> None:
    """The rules as they stay. Called when all proxies run the new release, and nothing listens that should not."""
    state = host.get_fact(Firewall)
    rules = wanted.rules(node, _ssh_ports(node))
    if not rules:
        if state.files:
            rules_gone(name="Nobody is kept out any more: the firewall is removed")
    elif wanted.media(node) and not state.media:
        here = {one.name for one in host.state.active_hosts}
        if missing := [proxy.name for proxy in node.with_role("proxies") if proxy.name not in here]:
            names = ", ".join(missing)
            host.log_styled(f"RTP is taken from anybody until {names} has this release, too: deploy again", fg="yellow")
            return
        rules_in_force(name="RTP is taken from those only who are in a call", rules=rules)
    elif wanted.rtp_ports(node, state.rtp) != wanted.rtp_ports(node):
        rules_in_force(name="Media ports that are given up are closed", rules=rules)


def _ssh_ports(node: Node) -> set[int]:
    """Where SSH comes in. DeployError where nothing is known of it: the operator would be locked out."""
    found: set[int] = host.get_fact(SshPorts)
    ports = {*found}
    if not isinstance(host.connector, LocalConnector):
        ports.add(int(host.data.get("ssh_port") or 22))
    elif node.settings.firewall_closed and not ports:
        host.log_styled("no SSH is seen on this host, none is opened: firewall_open_ports opens more", fg="yellow")
    return ports


def _tell(node: Node, state: FirewallState, ssh_ports: set[int]) -> None:
    """What changes for those who come from outside; --dry says it too."""
    if state.files and not state.loaded:
        host.log_styled("the firewall's rules were changed by hand and are put right", fg="yellow")
    if ports := ", ".join(f"{port.number}/{port.transport}" for port in wanted.peer_ports(node)):
        host.log_styled(f"open to peers only: {ports}", fg="yellow")
    if not node.settings.firewall_closed:
        return
    ports = ", ".join(dict.fromkeys(f"{port.ports}/{port.transport}" for port in wanted.open_ports(node, ssh_ports)))
    host.log_styled(f"open: {ports}; all else is closed", fg="yellow")
    machine = host.get_fact(MachineFact)
    if cut := [one for one in machine.listeners if one.pid not in machine.own_pids and _closed(one, node, ssh_ports)]:
        names = ", ".join(dict.fromkeys(f"{one.port}/{one.transport} ({one.process or 'unknown'})" for one in cut))
        host.log_styled(f"of what listens here, this is closed: {names}; firewall_open_ports opens it", fg="yellow")


def _closed(one: Listener, node: Node, ssh_ports: set[int]) -> bool:
    """Whether what listens there can be reached by nobody from outside."""
    if one.address.strip("[]").startswith(("127.", "::1")) or one.address == LOOPBACK:
        return False
    return not any(port.has(one.transport, one.port) for port in wanted.open_ports(node, ssh_ports))


def nftables(node: Node, state: FirewallState) -> None:
    """nft is there."""
    if state.nft:
        return
    if not state.apt:
        raise DeployError(f"{node.name}: nft is missing: install nftables")
    # Debian's own nftables.service stays as it is, which is disabled.
    packages_installed(name="nftables is installed", packages=["nftables"])
