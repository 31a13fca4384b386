"""From an inventory to the lab hosts that play it, or one line on why it cannot be played."""

import ipaddress
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sipstack import inventory
from sipstack.errors import OperatorError
from sipstack.lab.hosts import GROUPS
from sipstack.lab.shell import run
from sipstack.lab.wiring import Wiring
from sipstack.settings import Settings, endpoint, parse

Raw = tuple[str, tuple[str, ...], Mapping[str, Any]]


@dataclass(frozen=True)
class Plan:
    """inventory: its file. wirings: for each lab host what it has of the real one. groups: lab hosts of each role."""

    inventory: Path
    wirings: Mapping[str, Wiring]
    groups: Mapping[str, list[str]]


def lab_for(path: str | Path) -> str:
    """The lab that plays an inventory: `rprod` for `inventories/prod.py`. Lab names have 10 characters at most."""
    return "r" + re.sub("[^a-z0-9]", "", Path(path).stem.lower())[:9]


def make_plan(path: str | Path) -> Plan:
    """Read an inventory, connecting to nothing. Raises OperatorError if it cannot be read, or not be played."""
    file, raw = inventory.read(path)
    wirings: dict[str, Wiring] = {}
    groups: dict[str, list[str]] = {group: [] for group in GROUPS}
    try:
        for name, of, data in raw:
            lab_name = _lab_name(name)
            if lab_name in wirings:
                raise OperatorError(f"{name}: a second host would be called {lab_name} here: rename one of them")
            wirings[lab_name] = _wiring(name, data)
            for group in GROUPS:
                groups[group] += [lab_name] if group in of else []
        _refuse_conflicts(wirings)
        _refuse_strangers(raw, wirings)
    except OperatorError as error:
        raise OperatorError(f"{path}: {error}") from None
    return Plan(file, wirings, groups)


def _lab_name(name: str) -> str:
    if name.startswith("@") and not name.startswith("@ssh/"):
        raise OperatorError(f"{name}: only hosts by SSH can be rehearsed: give it a name and ssh_hostname")
    plain = _target(name)
    return "host-" + plain.replace(".", "-") if _is_address(plain) else re.sub("[^a-z0-9.-]", "-", plain.lower())


def _target(name: str) -> str:
    return name.removeprefix("@ssh/")


def _wiring(name: str, data: Mapping[str, Any]) -> Wiring:
    ways = [str(data[key]) for key in ("address", "ssh_hostname") if data.get(key)]
    ways.append(_target(name))
    if data.get("address") and not _is_address(ways[0]):
        raise OperatorError(f"{name}: address {ways[0]!r} is not an IPv4 address: correct it")
    addresses = [way for way in ways if _is_address(way)]
    for address in addresses:
        _refuse_address(name, ipaddress.IPv4Address(address))
    aliases = [way for way in ways if not _is_address(way)]
    if bad := [alias for alias in aliases if not re.fullmatch("[A-Za-z0-9._-]+", alias) or alias == "localhost"]:
        raise OperatorError(f"{name}: {bad[0]!r} cannot be played here: use a host name or an IPv4 address")
    user, port = _way_in(str(data.get("ssh_hostname") or _target(name)), data)
    return Wiring(tuple(dict.fromkeys(addresses)), tuple(dict.fromkeys(aliases)), port, user)


def _is_address(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True


def _refuse_address(name: str, address: ipaddress.IPv4Address) -> None:
    if address.is_loopback or address.is_unspecified or address.is_multicast:
        raise OperatorError(f"{name}: {address} cannot be played by a host: give it an address of its own")
    # This machine answers for its own addresses on every wire, so they would lead to it.
    if str(address) in _own_addresses():
        raise OperatorError(f"{name}: {address} is this machine's own: rehearse on another machine")


def _own_addresses() -> set[str]:
    shown = json.loads(run(["ip", "-json", "-4", "address"]).stdout or "[]")
    return {entry["local"] for link in shown for entry in link["addr_info"]}


def _way_in(target: str, data: Mapping[str, Any]) -> tuple[str, int]:
    """User and port as SSH would take them from here: the inventory's, else those of the operator's ssh_config."""
    config = Path(str(data.get("ssh_config_file") or "~/.ssh/config")).expanduser()
    options = ["-F", str(config) if config.exists() else "none"]
    options += ["-l", str(data["ssh_user"])] if data.get("ssh_user") else []
    options += ["-p", str(data["ssh_port"])] if data.get("ssh_port") else []
    found = dict(line.split(" ", 1) for line in run(["ssh", "-G", *options, target]).stdout.splitlines() if " " in line)
    return found["user"], int(found["port"])


def _refuse_conflicts(wirings: Mapping[str, Wiring]) -> None:
    holders: dict[str, str] = {}
    for name, wiring in wirings.items():
        for way in {*wiring.addresses, *wiring.aliases}:
            if (other := holders.setdefault(way, name)) != name:
                raise OperatorError(f"{other} and {name} are both reached as {way}: a rehearsal needs one for each")


def _refuse_strangers(raw: list[Raw], wirings: Mapping[str, Wiring]) -> None:
    """Nothing here can play a server that is not in the inventory, and the real one must not be asked."""
    known = {way for wiring in wirings.values() for way in (*wiring.addresses, *wiring.aliases)}
    for name, _, data in raw:
        for key, server in _servers(parse(data)):
            if server not in known:
                raise OperatorError(
                    f"{name}: {key} names {server}, which is no host of this inventory, so it cannot be rehearsed:"
                    " give that role to a host, or rehearse an inventory that does"
                )


def _servers(settings: Settings) -> Iterator[tuple[str, str]]:
    if settings.postgres_host:
        yield "postgres_host", settings.postgres_host
    if settings.asterisk_provider:
        yield "asterisk_provider", endpoint(settings.asterisk_provider)[0]
    yield from (("rtpengines", endpoint(given)[0]) for given in settings.rtpengines)
    yield from (("gateways", endpoint(given)[0]) for given in settings.gateways)
