"""Who may reach what on a host: its ports for everybody, those for its peers, and where RTP may come from."""

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sipstack.node import LOOPBACK, Node
from sipstack.paths import HOME, ROOT
from sipstack.settings import endpoint, open_port
from sipstack.templates import render

FOLDER = f"{HOME}/firewall"
RULES = f"{FOLDER}/vss.nft"
LOAD = f"{FOLDER}/load"
SERVICE = "vss-firewall.service"
UNIT = f"/etc/systemd/system/{SERVICE}"
FORGET = f"{FOLDER}/forget"
FORGETTER = "vss-media-forget.service"
FORGETTER_UNIT = f"/etc/systemd/system/{FORGETTER}"
TABLE = "inet vss"
MEDIA_TABLE = "inet vss_media"


@dataclass(frozen=True)
class PeerPort:
    """A port that is open on the network. sources: the addresses that may reach it."""

    purpose: str
    transport: str
    number: int
    sources: tuple[str, ...]


@dataclass(frozen=True)
class OpenPorts:
    """Ports that stay open when all others are closed. ports: as nft writes them. sources: networks; none: all."""

    purpose: str
    transport: str
    ports: str
    sources: tuple[str, ...] = ()

    @property
    def family(self) -> str:
        """How nft calls the addresses of the sources."""
        return "ip6" if any(":" in source for source in self.sources) else "ip"

    def has(self, transport: str, port: int) -> bool:
        low, _, high = self.ports.partition("-")
        return transport == self.transport and int(low) <= port <= int(high or low)


@dataclass(frozen=True)
class Media:
    """The ports at which RTP is taken from those only who were sent some, as nft writes them.

    sources: networks that need not be. seconds: how long an address is known without a packet to or from it.
    """

    ports: str
    sources: tuple[str, ...]
    seconds: int


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


def rtp_ports(node: Node, before: Iterable[str] = ()) -> list[str]:
    """The ranges of media ports: rtpengine's, and those until now (`before`), at which there still may be calls."""
    settings = node.settings
    merged: list[tuple[int, int]] = []
    ranges = [(int(low), int(high)) for low, high in (given.split("-") for given in before)]
    for low, high in sorted([(settings.rtp_port_min, settings.rtp_port_max), *ranges]):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return [f"{low}-{high}" for low, high in merged]


def open_ports(node: Node, ssh_ports: Iterable[int], rtp_before: Iterable[str] = ()) -> list[OpenPorts]:
    """What everybody reaches on this host, or those whom the operator names.

    ssh_ports: where SSH listens on it, and where this deploy comes in. rtp_before: see rtp_ports.
    """
    settings = node.settings
    ports = [OpenPorts("SSH", "tcp", str(port)) for port in sorted(ssh_ports) if not _ssh_sources(node, port)]
    if node.has("proxies"):
        ports += [OpenPorts("SIP", transport, str(settings.sip_port)) for transport in ("udp", "tcp")]
    if node.has("media"):
        ports += [OpenPorts("RTP", "udp", ports) for ports in rtp_ports(node, rtp_before)]
    if node.has("pbx"):
        # Of a provider only the signalling's address is known.
        sources = () if settings.asterisk_provider else _relays(node)
        rtp = f"{settings.asterisk_rtp_port_min}-{settings.asterisk_rtp_port_max}"
        ports.append(OpenPorts("RTP of Asterisk", "udp", rtp, sources))
    for transport, given, source in map(open_port, settings.firewall_open_ports):
        ports.append(OpenPorts("firewall_open_ports", transport, given, (source,) if source else ()))
    return ports


def _ssh_sources(node: Node, port: int) -> list[str]:
    """The networks that SSH at that port is limited to by firewall_open_ports; none: it is open to all."""
    given = map(open_port, node.settings.firewall_open_ports)
    return [source for transport, ports, source in given if source and (transport, ports) == ("tcp", str(port))]


def locked_out(node: Node, ssh_ports: Iterable[int], clients: Iterable[str]) -> str:
    """Which limit of SSH would keep this very run out; empty if none does.

    clients: addresses that the run comes from. A port that is not limited lets it in, whichever it comes in by.
    """
    limits = {port: _ssh_sources(node, port) for port in ssh_ports}
    if not all(limits.values()):
        return ""
    for client in clients:
        for port, sources in limits.items():
            if not any(ipaddress.ip_address(client) in ipaddress.ip_network(source) for source in sources):
                return f"firewall_open_ports lets SSH in at {port}/tcp from {', '.join(sources)} only"
    return ""


def media(node: Node, rtp_before: Iterable[str] = ()) -> Media | None:
    """Whom RTP is taken from on this host; None where that is everybody, or there is no rtpengine.

    rtp_before: see rtp_ports.
    """
    settings = node.settings
    if not node.has("media") or "0.0.0.0/0" in settings.rtp_open_networks:
        return None
    # A proxy sends the first packet, for a phone (routes/rtpengine.cfg).
    ours = [*node.with_role("pbx"), *node.with_role("proxies")]
    others = [member.address for member in ours if member.name != node.name]
    sources = dict.fromkeys([*others, *_addresses(settings.gateways), *settings.rtp_open_networks])
    ports = ", ".join(rtp_ports(node, rtp_before))
    return Media(f"{{ {ports} }}" if "," in ports else ports, tuple(sources), node.media_seconds + 60)


def untracked_ports(node: Node, rtp_before: Iterable[str] = ()) -> tuple[str, ...]:
    """UDP ports of this host for whose packets the kernel keeps no connection, as nft writes them.

    Whoever sends a datagram would take a place in a table of a fixed size (nf_conntrack_max), which is for all.
    rtp_before: see rtp_ports.
    """
    sip = [str(node.settings.sip_port)] if node.has("proxies") else []
    return (*sip, *(rtp_ports(node, rtp_before) if node.has("media") else []))


def rules(node: Node, ssh_ports: Iterable[int], with_media: bool = True, rtp_before: Iterable[str] = ()) -> str:
    """What nft has to load on this host; empty when there is nothing to keep out.

    with_media: whether RTP is looked at; not before the proxies run a release that says to rtpengine what that needs.
    rtp_before: see rtp_ports.
    """
    ports, filtered = peer_ports(node), media(node, rtp_before) if with_media else None
    untracked = untracked_ports(node, rtp_before)
    if not (ports or filtered or node.settings.firewall_closed):
        return ""
    return render(
        "firewall/vss.nft.j2",
        address=node.address,
        peer_ports=ports,
        closed=node.settings.firewall_closed,
        open_ports=open_ports(node, ssh_ports, rtp_before),
        media=filtered,
        untracked=untracked,
    )


def files(rules: str) -> dict[str, tuple[str, int]]:
    """What stands on a host: path -> text and mode.

    The first unit loads the rules before the network and the engine; the other one forgets calls that are over.
    """
    unit = render("firewall/vss-firewall.service.j2", folder=FOLDER, rules=RULES, load=LOAD)
    forgetter = render("firewall/vss-media-forget.service.j2", firewall=SERVICE, forget=FORGET)
    return {
        RULES: (rules, 0o444),
        LOAD: ((ROOT / "files/firewall/load").read_text(), 0o555),
        UNIT: (unit, 0o444),
        FORGET: ((ROOT / "files/firewall/forget").read_text(), 0o555),
        FORGETTER_UNIT: (forgetter, 0o444),
    }


def _relays(node: Node) -> tuple[str, ...]:
    """Where Asterisk's RTP comes from; none, which is everybody, if one of them is known by name only."""
    given = _addresses(node.settings.rtpengines)
    if len(given) < len(node.settings.rtpengines):
        return ()
    return tuple(dict.fromkeys([*(member.address for member in node.with_role("media")), *given]))


def _addresses(endpoints: Sequence[str]) -> list[str]:
    """Those of the given address:port that have an address, and no name."""
    hosts = [endpoint(given)[0] for given in endpoints]
    return [host for host in hosts if _is_address(host)]


def _is_address(host: str) -> bool:
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        return False
    return True
