"""The first room of a run: the inventory's data become one validated Node per host, before anything changes."""

from collections.abc import Iterable

from pyinfra.api.exceptions import DeployError
from pyinfra.api.host import Host
from pyinfra.api.inventory import Inventory

from sipstack.errors import OperatorError
from sipstack.facts.system import PrimaryAddress
from sipstack.node import ROLES, Member, Node, check_topology
from sipstack.paths import ROOT, STATE
from sipstack.secrets import SecretStore
from sipstack.settings import ENDPOINT, Settings, parse


def load(host: Host, inventory: Inventory) -> Node:
    """The Node of this host. Raises pyinfra's DeployError, which stops every host before any change."""
    try:
        settings: dict[str, Settings] = {}
        for member in inventory:
            try:
                settings[member.name] = parse(member.data.dict())
            except OperatorError as error:
                raise OperatorError(f"{member.name}: {error}") from None
        members = tuple(_member(member) for member in inventory)
        check_topology(members, settings)
        mine = settings[host.name]
        secrets = SecretStore(STATE / state_name(host.data.get("state"), host.groups), mine.secrets_path)
        me = next(member for member in members if member.name == host.name)
        return Node(me, members, mine, secrets)
    except OperatorError as error:
        raise DeployError(str(error)) from None


def state_name(given: str | None, groups: Iterable[str]) -> str:
    """The name under which an inventory's secrets are kept: its `state`, else that of its file, which is a group too."""
    if given:
        return given
    own = [group for group in groups if group not in (*ROLES, "all") and not group.startswith("@")]
    for group in own:
        if (ROOT / "inventories" / f"{group}.py").exists():
            return group
    return own[-1] if own else "default"


def _member(host: Host) -> Member:
    return Member(host.name, _address(host), frozenset(role for role in ROLES if role in host.groups))


def _address(host: Host) -> str:
    """`address` of the inventory; else the address that SSH uses; else the one the host itself prefers."""
    for key in ("address", "ssh_hostname"):
        if (given := host.data.get(key)) and ENDPOINT.match(f"{given}:1"):
            if key == "address" or given.replace(".", "").isdigit():
                return str(given)
    if not host.connected:
        raise OperatorError(f"{host.name}: no address is known: set `address` for it in the inventory")
    return host.get_fact(PrimaryAddress) or ""
