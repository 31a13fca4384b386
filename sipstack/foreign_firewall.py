"""Firewalls on a host that are not ours: whether they drop what phones send."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sipstack.firewall import MEDIA_TABLE, TABLE
from sipstack.watch import TABLES

OWN = {name.partition(" ")[2] for name in (TABLE, MEDIA_TABLE, *TABLES)}
# What a rule may do and still pass over nothing.
PASSES_ALL = {"counter", "log", "drop", "reject", "limit"}
Port = tuple[str, int]


def drops(ruleset: str, ufw: Sequence[str] | None, wanted: Iterable[Port]) -> list[str]:
    """What keeps phones out, in words, each with what to do.

    ruleset: `nft -j -t list ruleset`. ufw: lines of `ufw status`, None if it is not active. wanted: transport and port.
    """
    ports = list(wanted)
    if ufw is not None:
        # It is an nft table as well, which is hard to read.
        missing = [port for port in ports if not _ufw_allows(ufw, port)]
        return (
            [f"ufw lets in no {_said(missing)}: ufw allow {missing[0][1]}/{missing[0][0]}, or disable it"]
            if missing
            else []
        )
    try:
        objects: list[Mapping[str, Any]] = json.loads(ruleset or "{}").get("nftables", [])
    except ValueError:
        return []
    return [
        f"nft table {family} {table} drops what it does not name, and does not name {_said(missing)}: accept it there"
        for family, table in _closed_tables(objects)
        if (missing := [port for port in ports if not _lets_in(objects, family, table, port)])
    ]


def _said(ports: Sequence[Port]) -> str:
    return ", ".join(f"{port}/{transport}" for transport, port in ports)


def _ufw_allows(lines: Sequence[str], port: Port) -> bool:
    """Whether a line such as `5060/udp  ALLOW  Anywhere` lets a port in; 5060 alone is both transports."""
    transport, number = port
    for line in lines:
        to, _, rest = line.partition(" ")
        ports, _, of = to.partition("/")
        if "ALLOW" in rest and of in ("", transport) and any(_in_text(part, number) for part in ports.split(",")):
            return True
    return False


def _in_text(text: str, number: int) -> bool:
    low, _, high = text.partition(":")
    return low.isdigit() and (high or low).isdigit() and int(low) <= number <= int(high or low)


def _closed_tables(objects: Iterable[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Family and name of each foreign table that ends with a drop for what comes to this host over IPv4."""
    objects = list(objects)
    found = []
    for chain in (one["chain"] for one in objects if "chain" in one):
        if chain.get("hook") != "input" or chain["family"] not in ("ip", "inet") or chain["table"] in OWN:
            continue
        rules = [one["rule"] for one in objects if "rule" in one and _same(one["rule"], chain, "chain", "name")]
        if chain.get("policy") == "drop" or (rules and _drops_all(rules[-1]["expr"])):
            found.append((chain["family"], chain["table"]))
    return found


def _same(rule: Mapping[str, Any], chain: Mapping[str, Any], key: str, name: str) -> bool:
    return (rule["family"], rule["table"], rule[key]) == (chain["family"], chain["table"], chain[name])


def _drops_all(expressions: Sequence[Mapping[str, Any]]) -> bool:
    kinds = {kind for expression in expressions for kind in expression}
    return bool(kinds & {"drop", "reject"}) and kinds <= PASSES_ALL


def _lets_in(objects: Iterable[Mapping[str, Any]], family: str, table: str, port: Port) -> bool:
    """Whether some rule of a table accepts a port. What cannot be read (an extension of iptables) may do so."""
    for rule in (one["rule"] for one in objects if "rule" in one):
        if (rule["family"], rule["table"]) != (family, table) or not any("accept" in one for one in rule["expr"]):
            continue
        if any("xt" in one for one in rule["expr"]) or _matches(rule["expr"], port):
            return True
    return False


def _matches(expressions: Sequence[Mapping[str, Any]], port: Port) -> bool:
    """Whether a rule may be about what phones send there. Where they come from is not asked."""
    return all(_may_be(one["match"], port) for one in expressions if "match" in one)


def _may_be(match: Mapping[str, Any], port: Port) -> bool:
    transport, number = port
    left, right = match["left"], match["right"]
    if "ct" in left:
        return bool({"new", "untracked"} & set(_values(right)))
    meta, payload = left.get("meta", {}).get("key"), left.get("payload", {})
    if meta in ("iif", "iifname"):
        return "lo" not in _values(right)
    if meta in ("l4proto", "nfproto") or payload.get("field") in ("protocol", "nexthdr"):
        return bool({transport, "ipv4"} & set(_values(right)))
    if payload.get("field") == "dport":
        return payload["protocol"] in (transport, "th") and match.get("op") == "==" and _covers(right, number)
    return payload.get("protocol") not in ("icmp", "icmpv6", "tcp", "udp")


def _values(right: Any) -> list[Any]:
    """The values of the right side of a match: one, a list, or a set of them."""
    values = right.get("set", [right]) if isinstance(right, dict) else right
    return values if isinstance(values, list) else [values]


def _covers(right: Any, number: int) -> bool:
    if isinstance(right, int):
        return right == number
    if isinstance(right, dict) and "range" in right:
        low, high = right["range"]
        return bool(low <= number <= high)
    if isinstance(right, dict) and "set" in right:
        return any(_covers(one, number) for one in right["set"])
    # A named set, which may hold anything.
    return isinstance(right, str)
