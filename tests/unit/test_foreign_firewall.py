"""Firewalls of others, as nft and ufw tell of them: which of them would keep phones out."""

import json
from typing import Any

import pytest

from sipstack.foreign_firewall import drops

SIP = [("udp", 5060), ("tcp", 5060)]


def chain(table: str, name: str, policy: str = "accept", hook: str = "input") -> dict[str, Any]:
    of = {"family": "inet", "table": table, "name": name, "handle": 1}
    return {"chain": of | ({"type": "filter", "hook": hook, "prio": 0, "policy": policy} if hook else {})}


def rule(table: str, name: str, *expressions: Any) -> dict[str, Any]:
    return {"rule": {"family": "inet", "table": table, "chain": name, "handle": 2, "expr": list(expressions)}}


def dport(protocol: str, right: Any) -> dict[str, Any]:
    return {"match": {"op": "==", "left": {"payload": {"protocol": protocol, "field": "dport"}}, "right": right}}


def meta(key: str, right: Any) -> dict[str, Any]:
    return {"match": {"op": "==", "left": {"meta": {"key": key}}, "right": right}}


ACCEPT, DROP, COUNTER = {"accept": None}, {"drop": None}, {"counter": {"packets": 1, "bytes": 60}}
REJECT = {"reject": {"type": "icmpx", "expr": "admin-prohibited"}}
KNOWN = {"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": ["established", "related"]}}
SOURCE = {"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": "10.0.0.0"}}
CLOSED = chain("filter", "input", "drop")


def said(*objects: dict[str, Any]) -> list[str]:
    return drops(json.dumps({"nftables": [{"metainfo": {"version": "1.1.3"}}, *objects]}), None, SIP)


@pytest.mark.parametrize(
    ("objects", "missing"),
    [
        ((chain("filter", "input"),), ""),
        ((chain("filter", "forward", "drop", "forward"),), ""),
        ((CLOSED,), "5060/udp, 5060/tcp"),
        ((CLOSED, rule("filter", "input", KNOWN, ACCEPT), rule("filter", "input", meta("iif", "lo"), ACCEPT)),
         "5060/udp, 5060/tcp"),
        ((CLOSED, rule("filter", "input", dport("udp", 5060), ACCEPT)), "5060/tcp"),
        ((CLOSED, rule("filter", "input", dport("th", {"set": [22, {"range": [5000, 6000]}]}), COUNTER, ACCEPT)), ""),
        ((CLOSED, rule("filter", "input", dport("tcp", {"set": [22, 80]}), ACCEPT)), "5060/udp, 5060/tcp"),
        # All from somewhere: that may be where the phones are.
        ((CLOSED, rule("filter", "input", SOURCE, ACCEPT)), ""),
        ((CLOSED, rule("filter", "input", meta("l4proto", "icmp"), ACCEPT)), "5060/udp, 5060/tcp"),
        ((CLOSED, rule("filter", "input", meta("l4proto", {"set": ["tcp", "udp"]}), ACCEPT)), ""),
        # An extension of iptables that nft cannot read.
        ((CLOSED, rule("filter", "input", {"xt": {"type": "match", "name": "multiport"}}, ACCEPT)), ""),
        # As firewalld closes: by its last rule. Its zones are chains of their own.
        ((chain("firewalld", "filter_INPUT"), rule("firewalld", "filter_INPUT", KNOWN, ACCEPT),
          rule("firewalld", "filter_INPUT", REJECT)), "5060/udp, 5060/tcp"),
        ((chain("firewalld", "filter_INPUT"), rule("firewalld", "filter_INPUT", REJECT),
          chain("firewalld", "zones", hook=""), rule("firewalld", "zones", dport("udp", 5060), ACCEPT),
          rule("firewalld", "zones", dport("tcp", 5060), ACCEPT)), ""),
        # A drop of something is none of everything.
        ((chain("guard", "input"), rule("guard", "input", SOURCE, DROP)), ""),
        # Ours.
        ((chain("vss", "input"), rule("vss", "input", COUNTER, DROP)), ""),
    ],
)  # fmt: skip
def test_a_table_that_keeps_phones_out_is_named(objects: tuple[dict[str, Any], ...], missing: str) -> None:
    found = said(*objects)
    assert len(found) == bool(missing), found
    assert not missing or f"does not name {missing}: accept it there" in found[0]


UFW = [
    "Status: active",
    "",
    "To                         Action      From",
    "--                         ------      ----",
]


@pytest.mark.parametrize(
    ("lines", "missing"),
    [
        ([], "5060/udp, 5060/tcp: ufw allow 5060/udp"),
        (["22/tcp                     ALLOW       Anywhere"], "5060/udp, 5060/tcp"),
        (["5060/udp                   ALLOW       Anywhere"], "5060/tcp: ufw allow 5060/tcp"),
        (["5060                       ALLOW       Anywhere"], ""),
        (["5060,5080/udp              ALLOW       10.0.0.0/8", "5000:6000/tcp              ALLOW       Anywhere"], ""),
        (["5060                       DENY        Anywhere"], "5060/udp, 5060/tcp"),
    ],
)
def test_ufw_is_asked_in_its_own_words(lines: list[str], missing: str) -> None:
    found = drops("", [*UFW, *lines], SIP)
    assert len(found) == bool(missing)
    assert not missing or f"ufw lets in no {missing}" in found[0]


def test_what_is_no_ruleset_says_nothing() -> None:
    assert drops("", None, SIP) == []
    assert drops("{", None, SIP) == []
