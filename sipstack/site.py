"""The first room of a run: the inventory's data become one validated Node per host, before anything changes."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache
from threading import Lock

from pyinfra.api.exceptions import DeployError
from pyinfra.api.host import Host
from pyinfra.api.inventory import Inventory

from sipstack.errors import OperatorError
from sipstack.facts.system import PrimaryAddress
from sipstack.node import ROLES, SECRETS, Member, Node
from sipstack.numbering import NumberingPlan, Slot
from sipstack.paths import ROOT, STATE
from sipstack.secrets import SecretStore, refuse_unknown
from sipstack.settings import Settings, parse
from sipstack.slots import all_slots, probe_slots
from sipstack.topology import check_topology

# Hosts are prepared side by side; what is the same for all of them is worked out by the first.
_lock = Lock()


def load(host: Host, inventory: Inventory) -> Node:
    """The Node of this host. Raises pyinfra's DeployError, which stops every host before any change."""
    return all_nodes(inventory)[host.name]


def all_nodes(inventory: Inventory) -> Mapping[str, Node]:
    """The Node of every host of the inventory, also of those that --limit leaves out. Raises DeployError."""
    try:
        with _lock:
            return _nodes(inventory)
    except OperatorError as error:
        raise DeployError(str(error)) from None


@cache
def _nodes(inventory: Inventory) -> Mapping[str, Node]:
    """Everything that can be known to be wrong without looking at a host is found here."""
    refuse_unknown(SECRETS)
    settings = _settings(inventory)
    members = tuple(_member(host) for host in inventory)
    check_topology(members, settings)
    # The topology has made sure that all hosts agree on what follows.
    common = settings[members[0].name]
    plan = numbering_plan(common)
    slots = all_slots(plan, {"AUTO": common.slots_auto, "MF": common.slots_mf, "LS": common.slots_ls}, common.csv_path)
    secrets = SecretStore(STATE / _state(inventory), common.secrets_path)
    with_passwords = tuple(_with_passwords([*slots, *probe_slots(plan)], secrets))
    nodes = {
        member.name: Node(member, members, settings[member.name], secrets, plan, with_passwords) for member in members
    }
    for node in nodes.values():
        node.check_secrets()
        if node.has("proxies"):
            _ = node.shared_mb
    return nodes


def numbering_plan(settings: Settings) -> NumberingPlan:
    """Which numbers belong to which kind. Raises OperatorError for a plan that contradicts itself."""
    return NumberingPlan.parse(
        {"AUTO": settings.slot_numbers_auto, "MF": settings.slot_numbers_mf, "LS": settings.slot_numbers_ls}
    )


def state_name(given: str | None, groups: Iterable[str]) -> str:
    """Where an inventory's secrets are kept: its `state`, else the name of its file, which is a group too."""
    if given:
        return given
    own = [group for group in groups if group not in (*ROLES, "all") and not group.startswith("@")]
    for group in own:
        if (ROOT / "inventories" / f"{group}.py").exists():
            return group
    return own[-1] if own else "default"


def _settings(inventory: Inventory) -> dict[str, Settings]:
    """The settings of each host; a mistake that several hosts share is said once."""
    settings: dict[str, Settings] = {}
    faults: dict[str, list[str]] = {}
    for host in inventory:
        try:
            settings[host.name] = parse(host.data.dict())  # type: ignore[no-untyped-call]
        except OperatorError as error:
            faults.setdefault(str(error), []).append(host.name)
    if faults:
        raise OperatorError("\n".join(f"{', '.join(names)}: {fault}" for fault, names in faults.items()))
    return settings


def _state(inventory: Inventory) -> str:
    names = {state_name(host.data.get("state"), host.groups): host.name for host in inventory}
    if len(names) > 1:
        said = " and ".join(f"{name!r} for {host}" for name, host in names.items())
        raise OperatorError(f"secrets would be kept under {said}: give all hosts the same `state`")
    return next(iter(names))


def _with_passwords(slots: list[Slot], secrets: SecretStore) -> Iterable[Slot]:
    generated = secrets.slot_passwords(slot.username for slot in slots if slot.password is None)
    return (
        slot if slot.password else replace(slot, password=generated[slot.username], generated=True) for slot in slots
    )


def _member(host: Host) -> Member:
    roles = frozenset(role for role in ROLES if role in host.groups)
    return Member(host.name, _address(host), roles, frozenset(host.groups))


def _address(host: Host) -> str:
    """`address` of the inventory; else the address that SSH uses; else the one the host itself prefers."""
    if given := host.data.get("address"):
        return str(given)
    given = str(host.data.get("ssh_hostname") or "")
    if given.replace(".", "").isdigit():
        return given
    if not host.connected:
        raise OperatorError(f"{host.name}: no address is known: set `address` for it in the inventory")
    return host.get_fact(PrimaryAddress) or ""
