"""Whether the hosts of an inventory add up to one service. Asked once a run, before anything changes."""

import difflib
import ipaddress
from collections.abc import Mapping, Sequence

from sipstack.errors import OperatorError
from sipstack.node import ROLES, Member
from sipstack.settings import Settings, shared


def check_topology(members: Sequence[Member], settings: Mapping[str, Settings]) -> None:
    """Refuse an inventory whose hosts do not add up to one service. Raises OperatorError."""
    for member in members:
        _check_member(member)
    addresses = [member.address for member in members]
    if twice := [member for member in members if addresses.count(member.address) > 1]:
        raise OperatorError(
            f"{' and '.join(m.name for m in twice)} have the same address {twice[0].address}: set `address` for each"
        )
    if len({member.server_id for member in members}) < len(members):
        raise OperatorError("two host names give the same server id: rename one of them")
    _check_agreement(settings)
    _check_roles(members, next(iter(settings.values())))


def _check_member(member: Member) -> None:
    for group in sorted(member.groups - set(ROLES)):
        # A group of the operator's own, such as proxies_east, stands beside the role and not in its place.
        close = difflib.get_close_matches(group, ROLES, n=1)
        if close and close[0] not in member.roles:
            raise OperatorError(f"{member.name}: group {group} is not known: did you mean {close[0]}?")
    if not member.roles:
        raise OperatorError(f"{member.name} is in none of the groups {', '.join(ROLES)}: put it into one")
    try:
        address = ipaddress.IPv4Address(member.address)
        usable = not (address.is_unspecified or address.is_multicast or address.is_loopback)
    except ValueError:
        usable = False
    if not usable:
        raise OperatorError(
            f"{member.name}: address {member.address!r} is not the IPv4 address of a host:"
            " write one in the inventory, such as address = '192.0.2.10'"
        )


def _check_agreement(settings: Mapping[str, Settings]) -> None:
    first, *others = settings
    wanted = shared(settings[first])
    for other in others:
        for key, value in shared(settings[other]).items():
            if value != wanted[key]:
                raise OperatorError(
                    f"{key} is {wanted[key]!r} for {first} and {value!r} for {other}:"
                    " set it once, for all hosts (group_data/all.py or the file of the environment)"
                )


def _check_roles(members: Sequence[Member], settings: Settings) -> None:
    databases = [member.name for member in members if "databases" in member.roles]
    if len(databases) > 1:
        raise OperatorError(f"group databases has {', '.join(databases)}: only one is supported, keep one")
    if databases and settings.postgres_host:
        raise OperatorError(
            f"postgres_host is {settings.postgres_host} and group databases has {databases[0]}: keep one of the two"
        )
    roles = {role for member in members for role in member.roles}
    if "proxies" not in roles:
        raise OperatorError("no host in group proxies: add one, nothing serves phones without it")
    for role, given, key in (
        ("databases", settings.postgres_host, "postgres_host"),
        ("media", settings.rtpengines, "rtpengines"),
        ("pbx", settings.gateways, "gateways"),
    ):
        if role not in roles and not given:
            raise OperatorError(f"no host in group {role}: add one, or set {key} to one that exists already")
