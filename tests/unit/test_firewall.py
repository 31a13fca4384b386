"""Who may reach what: the firewall's rules of a host, from the inventory alone."""

import re
from dataclasses import replace

import pytest

from sipstack.firewall import peer_ports, rules
from sipstack.node import Node
from tests.unit import test_node
from tests.unit.test_node import Nodes, box

nodes = test_node.nodes
FLEET = {"proxies": ["p1"], "databases": ["db"], "media": ["m1", "m2"], "pbx": ["pbx"]}


def open_to(node: Node) -> dict[str, tuple[str, ...]]:
    return {f"{port.number}/{port.transport}": port.sources for port in peer_ports(node)}


def test_a_host_with_everything_needs_none(nodes: Nodes) -> None:
    node = nodes(box("one"))["one"]
    assert open_to(node) == {}
    assert rules(node) == ""


def test_each_port_is_open_to_the_proxies_only(nodes: Nodes) -> None:
    fleet = nodes(FLEET)
    proxy = (fleet["p1"].address,)
    assert {name: open_to(node) for name, node in fleet.items()} == {
        "p1": {},
        "db": {"5432/tcp": proxy},
        "m1": {"2223/udp": proxy},
        "m2": {"2223/udp": proxy},
        "pbx": {"5080/udp": proxy},
    }


def test_the_provider_reaches_asterisk_and_nothing_else(nodes: Nodes) -> None:
    fleet = nodes(FLEET, asterisk_provider="203.0.113.5:5060")
    assert open_to(fleet["pbx"]) == {"5080/udp": (fleet["p1"].address, "203.0.113.5")}
    assert open_to(fleet["db"]) == {"5432/tcp": (fleet["p1"].address,)}
    one = nodes(box("one"), asterisk_provider="203.0.113.5:5060")["one"]
    assert open_to(one) == {"5080/udp": ("203.0.113.5",)}


def test_proxies_are_open_to_each_other(nodes: Nodes) -> None:
    one = nodes(box("one", "media2") | {"databases": ["one"], "proxies": ["one"], "pbx": ["one"]})["one"]
    members = tuple(replace(member, roles=member.roles | {"proxies"}) for member in one.members)
    both = replace(one, me=members[0], members=members)
    other = (members[1].address,)
    assert open_to(both) == {"5432/tcp": other, "2223/udp": other, "5080/udp": other, "5062/udp": other}


@pytest.mark.parametrize("host", ["db", "m1", "pbx"])
def test_the_rules_say_nothing_of_ssh_sip_and_rtp(nodes: Nodes, host: str) -> None:
    node = nodes(FLEET)[host]
    text = rules(node)
    (port,) = peer_ports(node)
    assert set(re.findall(r"dport (\S+)", text)) == {str(port.number)}
    assert f"ip saddr {{ {port.sources[0]} }} accept" in text
    assert text.count("drop") == 1
    assert "policy accept" in text
