"""What looks after the containers of a host."""

from pyinfra.api.deploy import deploy
from pyinfra.context import host

from sipstack import watch as wanted
from sipstack.deploys.firewall import nftables
from sipstack.facts.firewall import Firewall
from sipstack.node import Node
from sipstack.operations.watch import watching


@deploy("Watch")
def watch(node: Node) -> None:
    """Before anything is switched, what Docker gives up comes back, and a silent database does not hold up a proxy."""
    if node.has("proxies"):
        nftables(node, host.get_fact(Firewall))
    watching(
        name="A silent database holds up no proxy, and what Docker gives up comes back",
        files=wanted.files(node),
        services=wanted.services(node),
    )
