"""Who may reach what: the firewall's rules of a host, from the inventory alone."""

import re
from dataclasses import replace

import pytest

from sipstack.facts.firewall import SshPorts
from sipstack.firewall import locked_out, media, open_ports, peer_ports, rules, untracked_ports
from sipstack.node import Node
from tests.unit import test_node
from tests.unit.test_node import Nodes, box

nodes = test_node.nodes
FLEET = {"proxies": ["p1"], "databases": ["db"], "media": ["m1", "m2"], "pbx": ["pbx"]}
SSH = {22}
LISTENS = 'listen=LISTEN 0 128 {} 0.0.0.0:* users:(("{}",pid=9,fd=3))'


def to_peers(node: Node) -> dict[str, tuple[str, ...]]:
    return {f"{port.number}/{port.transport}": port.sources for port in peer_ports(node)}


def to_all(node: Node) -> dict[str, tuple[str, ...]]:
    return {f"{port.ports}/{port.transport}": port.sources for port in open_ports(node, SSH)}


def test_a_host_with_everything_is_open_for_sip_rtp_and_ssh(nodes: Nodes) -> None:
    node = nodes(box("one"))["one"]
    assert to_peers(node) == {}
    # Its own rtpengine comes over loopback; the rule does no harm.
    asterisk = {"20000-29999/udp": (node.address,)}
    assert to_all(node) == {"22/tcp": (), "5060/udp": (), "5060/tcp": (), "30000-39999/udp": (), **asterisk}


def test_each_host_is_open_for_its_own_role(nodes: Nodes) -> None:
    fleet = nodes(FLEET)
    relays = (fleet["m1"].address, fleet["m2"].address)
    assert {name: to_all(node) for name, node in fleet.items()} == {
        "p1": {"22/tcp": (), "5060/udp": (), "5060/tcp": ()},
        "db": {"22/tcp": ()},
        "m1": {"22/tcp": (), "30000-39999/udp": ()},
        "m2": {"22/tcp": (), "30000-39999/udp": ()},
        "pbx": {"22/tcp": (), "20000-29999/udp": relays},
    }


def test_a_host_that_is_not_closed_has_no_rules_but_for_peers_and_rtp(nodes: Nodes) -> None:
    fleet = nodes(FLEET, firewall_closed=False)
    assert rules(fleet["p1"], SSH) == ""
    assert set(re.findall(r"dport (\S+)", rules(fleet["db"], SSH))) == {"5432"}
    assert set(re.findall(r"dport ([0-9]\S+)", rules(fleet["m1"], SSH))) == {"2223", "30000-39999"}
    assert rules(nodes(box("one"), firewall_closed=False, rtp_open_networks=["0.0.0.0/0"])["one"], SSH) == ""


def test_ssh_can_be_limited_to_a_network(nodes: Nodes) -> None:
    fleet = nodes(FLEET, firewall_open_ports=["22/tcp 10.0.0.0/8", "9100/tcp"])
    assert to_all(fleet["db"]) == {"22/tcp": ("10.0.0.0/8",), "9100/tcp": ()}
    # Another port of SSH is as open as it was.
    assert {f"{port.ports}/{port.transport}" for port in open_ports(fleet["db"], {22, 2222})} == {
        "22/tcp", "2222/tcp", "9100/tcp",
    }  # fmt: skip
    assert locked_out(fleet["db"], {22}, {"10.1.2.3"}) == ""
    assert "22/tcp" in locked_out(fleet["db"], {22}, {"10.1.2.3", "192.0.2.9"})
    # It comes in by the other one.
    assert locked_out(fleet["db"], {22, 2222}, {"192.0.2.9"}) == ""
    assert locked_out(nodes(FLEET)["db"], {22}, {"192.0.2.9"}) == ""


@pytest.mark.parametrize(("name", "ports"), [("p1", {"5060"}), ("m1", {"30000-39999"}), ("db", set()), ("pbx", set())])
def test_the_kernel_keeps_no_connection_of_a_stranger(nodes: Nodes, name: str, ports: set[str]) -> None:
    """Its table is of a fixed size, and a datagram from each port of a stranger would fill it."""
    assert set(untracked_ports(nodes(FLEET)[name])) == ports


def test_each_port_of_a_peer_is_open_to_the_proxies_only(nodes: Nodes) -> None:
    fleet = nodes(FLEET)
    proxy = (fleet["p1"].address,)
    assert {name: to_peers(node) for name, node in fleet.items()} == {
        "p1": {},
        "db": {"5432/tcp": proxy},
        "m1": {"2223/udp": proxy},
        "m2": {"2223/udp": proxy},
        "pbx": {"5080/udp": proxy},
    }


def test_the_provider_reaches_asterisk_and_nothing_else(nodes: Nodes) -> None:
    fleet = nodes(FLEET, asterisk_provider="203.0.113.5:5060")
    assert to_peers(fleet["pbx"]) == {"5080/udp": (fleet["p1"].address, "203.0.113.5")}
    assert to_all(fleet["pbx"])["20000-29999/udp"] == (), "its media may come from anywhere"
    assert to_peers(fleet["db"]) == {"5432/tcp": (fleet["p1"].address,)}
    one = nodes(box("one"), asterisk_provider="203.0.113.5:5060")["one"]
    assert to_peers(one) == {"5080/udp": ("203.0.113.5",)}


def test_proxies_are_open_to_each_other(nodes: Nodes) -> None:
    one = nodes(box("one", "media2") | {"databases": ["one"], "proxies": ["one"], "pbx": ["one"]})["one"]
    members = tuple(replace(member, roles=member.roles | {"proxies"}) for member in one.members)
    both = replace(one, me=members[0], members=members)
    other = (members[1].address,)
    assert to_peers(both) == {"5432/tcp": other, "2223/udp": other, "5080/udp": other, "5062/udp": other}


def test_who_may_send_rtp_uncalled(nodes: Nodes) -> None:
    fleet = nodes(FLEET, gateways=["192.0.2.99:5060", "gw.example.net:5060"], rtp_open_networks=["198.51.100.0/24"])
    filtered = media(fleet["m1"])
    assert filtered and filtered.sources == (fleet["pbx"].address, fleet["p1"].address, "192.0.2.99", "198.51.100.0/24")
    assert media(fleet["p1"]) is None
    assert "set heard" in rules(fleet["m1"], SSH)
    assert "set heard" not in rules(fleet["m1"], SSH, with_media=False)


@pytest.mark.parametrize(
    ("before", "ports"),
    [
        ([], "30000-39999"),
        (["30000-39999"], "30000-39999"),
        (["30000-59999"], "30000-59999"),
        (["20000-31000"], "20000-39999"),
        (["40000-49999"], "30000-49999"),
        (["50000-59999"], "30000-39999, 50000-59999"),
        (["10000-19999", "50000-59999"], "10000-19999, 30000-39999, 50000-59999"),
    ],
)
def test_media_ports_that_are_given_up_stay_open_until_calls_have_left_them(
    nodes: Nodes, before: list[str], ports: str
) -> None:
    node = nodes(FLEET)["m1"]
    filtered = media(node, before)
    assert filtered and filtered.ports.strip("{ }") == ports
    text = rules(node, SSH, rtp_before=before)
    assert all(f"udp dport {one} accept" in text for one in ports.split(", "))
    assert f"udp dport {{ {ports} }} notrack" in text


def test_what_the_operator_opens(nodes: Nodes) -> None:
    node = nodes(box("one"), firewall_open_ports=["9100/tcp 192.0.2.0/24", "161/udp", "8000-8010/tcp 2001:db8::/32"])[
        "one"
    ]
    text = rules(node, {22, 2222})
    for line in (
        "tcp dport 9100 ip saddr { 192.0.2.0/24 } accept",
        "udp dport 161 accept",
        "tcp dport 8000-8010 ip6 saddr { 2001:db8::/32 } accept",
        "tcp dport 2222 accept",
        "tcp dport 22 accept",
    ):
        assert line in text


@pytest.mark.parametrize(
    "given", ["9100", "0/tcp", "9100/sctp", "70000/udp", "20-10/tcp", "1-2-3/tcp", "22/tcp everybody", "a/tcp"]
)
def test_what_nobody_can_open(nodes: Nodes, given: str) -> None:
    with pytest.raises(Exception, match="firewall_open_ports"):
        nodes(box("one"), firewall_open_ports=[given])


def test_where_ssh_comes_in() -> None:
    asked = SshPorts().process(
        [
            LISTENS.format("0.0.0.0:22", "sshd"),
            LISTENS.format("[::]:2222", "sshd"),
            LISTENS.format("0.0.0.0:9100", "node_exporter"),
            "socket=23",
            "through=2022",
            "through=",
        ]
    )
    assert asked == {22, 2222, 23, 2022}
