"""The watch over the database: a proxy is told at once when PostgreSQL is silent."""

from pyinfra.api.deploy import deploy
from pyinfra.context import host

from sipstack import watch as wanted
from sipstack.deploys.firewall import nftables
from sipstack.facts.firewall import Firewall
from sipstack.facts.watch import Watch
from sipstack.node import Node
from sipstack.operations.watch import watch_gone, watching


@deploy("Watch")
def watch(node: Node) -> None:
    """On a proxy's host the watch runs, before anything is switched; on any other there is none."""
    files = wanted.files(node)
    if files:
        nftables(node, host.get_fact(Firewall))
        watching(name="A silent database does not hold up the proxy", files=files)
    elif host.get_fact(Watch).files:
        watch_gone(name="No proxy is here: the watch over the database is removed")
