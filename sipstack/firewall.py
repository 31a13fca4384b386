"""Which ports of a host are for its peers only, and the nftables rules that keep everybody else out."""

from dataclasses import dataclass

from sipstack.node import LOOPBACK, Node
from sipstack.paths import HOME
from sipstack.settings import endpoint
from sipstack.templates import render

FOLDER = f"{HOME}/firewall"
RULES = f"{FOLDER}/vss.nft"
SERVICE = "vss-firewall.service"
UNIT = f"/etc/systemd/system/{SERVICE}"
TABLE = "inet vss"


@dataclass(frozen=True)
class PeerPort:
    """A port that is open on the network. sources: the addresses that may reach it."""

    purpose: str
    transport: str
    number: int
    sources: tuple[str, ...]


def peer_ports(node: Node) -> list[PeerPort]:
    """The ports of this host that its peers, and nobody else, reach over the network; none on a one-box system."""
    settings = node.settings
    proxies = tuple(proxy.address for proxy in node.with_role("proxies") if proxy.name != node.name)
    provider = (endpoint(settings.asterisk_provider)[0],) if settings.asterisk_provider else ()
    ports = []
    if node.has("databases") and node.database.remote_peers:
        ports.append(PeerPort("PostgreSQL", "tcp", settings.postgres_port, node.database.remote_peers))
    if node.has("media") and node.rtpengine_bind != LOOPBACK:
        ports.append(PeerPort("control of rtpengine", "udp", settings.rtpengine_port, proxies))
    if node.has("pbx") and node.gateway_bind != LOOPBACK:
        sources = tuple(dict.fromkeys(proxies + provider))
        ports.append(PeerPort("SIP of Asterisk", "udp", settings.asterisk_port, sources))
    if node.has("proxies") and proxies:
        ports.append(PeerPort("replication of the proxies", "udp", settings.proxy_peer_port, proxies))
    return ports


def rules(node: Node) -> str:
    """What nft has to load on this host; empty when none of its ports are for peers."""
    ports = peer_ports(node)
    return render("firewall/vss.nft.j2", ports=ports) if ports else ""


def unit() -> str:
    """The systemd unit that loads the rules before the network and the engine are up."""
    return render("firewall/vss-firewall.service.j2", folder=FOLDER, rules=RULES)
