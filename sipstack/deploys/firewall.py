"""The peer firewall: what the proxies ask of other hosts is open to the proxies only."""

from pyinfra.api.deploy import deploy
from pyinfra.api.exceptions import DeployError
from pyinfra.context import host
from pyinfra.operations import apt, server

from sipstack import firewall as wanted
from sipstack.deploys.prepare import FRESH_PACKAGE_LISTS
from sipstack.facts.firewall import Firewall, FirewallState
from sipstack.node import Node
from sipstack.operations.firewall import is_in_force, rules_gone, rules_in_force


@deploy("Firewall")
def firewall(node: Node) -> None:
    """The rules are in force. Called right before the switch, in which services open and close ports."""
    rules = wanted.rules(node)
    if not rules:
        return
    state = host.get_fact(Firewall)
    unit = wanted.unit()
    nftables(node, state)
    if not is_in_force(state, rules, unit):
        by_hand = "the firewall's rules were changed by hand; " if state.files and not state.loaded else ""
        ports = ", ".join(f"{port.number}/{port.transport}" for port in wanted.peer_ports(node))
        host.log_styled(f"{by_hand}open to peers only from now on: {ports}", fg="yellow")
    rules_in_force(name="Ports for peers are open to peers only", rules=rules, unit=unit)


@deploy("Firewall")
def firewall_gone(node: Node) -> None:
    """A host that has no ports for peers any more has no rules. Called when nothing listens there any more."""
    if not wanted.rules(node) and host.get_fact(Firewall).files:
        rules_gone(name="No port is for peers: the firewall is removed")


def nftables(node: Node, state: FirewallState) -> None:
    """nft is there."""
    if state.nft:
        return
    if not state.apt:
        raise DeployError(f"{node.name}: nft is missing: install nftables")
    server.shell(name="Package lists are fresh", commands=[FRESH_PACKAGE_LISTS])
    # Debian's own nftables.service stays as it is, which is disabled.
    apt.packages(
        name="nftables is installed",
        packages=["nftables"],
        no_recommends=True,
        extra_install_args="-o Acquire::Retries=5",
    )
