"""An inventory as pyinfra reads it, and SSH to its hosts, for what is done beside a deploy: verification, status."""

import difflib
import fnmatch
import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from pyinfra.api.exceptions import DeployError
from pyinfra.api.inventory import Inventory as PyinfraInventory

from sipstack import site
from sipstack.errors import OperatorError
from sipstack.node import Node
from sipstack.paths import ROOT, STATE
from sipstack.settings import parse
from sipstack.slots import probe_slots
from sipstack.ssh import Connections

LOAD_SECONDS = 60


@dataclass(frozen=True)
class Entry:
    """A host as the inventory has it: its groups, and its data merged with group_data."""

    name: str
    groups: tuple[str, ...]
    data: Mapping[str, Any] = field(repr=False)
    node: Node = field(repr=False)


@dataclass(frozen=True)
class Inventory:
    """`hosts` are those that are meant (limit); `everyone` has all, for one host's work needs the others'."""

    path: Path
    hosts: tuple[Entry, ...]
    everyone: tuple[Entry, ...]


def load(path: str | Path, limit: Sequence[str] = ()) -> Inventory:
    """Read an inventory the way `pyinfra PATH` does, into the Nodes that the deploy makes of it.

    limit: groups, names, or patterns of names such as `sip*`, as for pyinfra's --limit; empty means all hosts.
    Raises OperatorError in one line: no such file, no hosts, a limit that matches none, settings that are refused.
    A host without an address is asked for it over SSH.
    """
    file, raw = read(path)
    with Connections((name, data) for name, _, data in raw) as connections:
        everyone = _entries(tuple(_HostView(name, groups, _Data(data), connections) for name, groups, data in raw))
    chosen = set()
    for pattern in limit:
        found = [e.name for e in everyone if pattern in e.groups] or fnmatch.filter([e.name for e in everyone], pattern)
        if not found:
            names = ", ".join(entry.name for entry in everyone)
            raise OperatorError(f"{path}: limit {pattern!r} matches no host: write a group or a name ({names})")
        chosen.update(found)
    return Inventory(file, tuple(e for e in everyone if not limit or e.name in chosen), everyone)


def read(path: str | Path) -> tuple[Path, list[tuple[str, tuple[str, ...], Mapping[str, Any]]]]:
    """The file, and name, groups and data of each host, as pyinfra has them; nothing is connected to.

    Raises OperatorError in one line: no such file, no hosts.
    """
    file = _existing(Path(path))
    raw = [(host["name"], tuple(host["groups"]), host["data"]) for host in _ask_pyinfra(file)]
    if not raw:
        raise OperatorError(f"{path}: no hosts in it: put hosts into its groups")
    return file, raw


def _existing(path: Path) -> Path:
    if path.is_file():
        return path.resolve()
    folder = path.parent if path.parent.is_dir() else ROOT / "inventories"
    close = difflib.get_close_matches(path.name, [file.name for file in folder.glob("*.py")], n=1, cutoff=0.5)
    hint = f"did you mean {folder / close[0]}?" if close else "give a file such as inventories/prod.py"
    raise OperatorError(f"{path}: no such inventory: {hint}")


def _ask_pyinfra(path: Path) -> list[dict[str, Any]]:
    # group_data is beside deploy.py, and pyinfra looks for it where it is started.
    command = [sys.executable, "-m", "pyinfra", str(path), "debug-inventory", "--json"]
    try:
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=LOAD_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise OperatorError(
            f"{path}: pyinfra took more than {LOAD_SECONDS} s to read it: see what it asks for"
        ) from None
    if done.returncode:
        lines = [line.removeprefix("--> ").strip() for line in done.stderr.splitlines() if line.strip()]
        said = [line for line in lines if "rror" in line.split(":")[0]] or lines
        reason = re.sub(r"^pyinfra error in .* line \d+: ", "", said[-1]) if said else f"exit {done.returncode}"
        raise OperatorError(f"{path}: {reason}")
    hosts: list[dict[str, Any]] = json.loads(done.stdout)
    return hosts


# --- the deploy's own way from inventory to Node -----------------------------------------------------------


class _Data(dict[str, Any]):
    """Data of a host, with the two methods of pyinfra's that are used."""

    def dict(self) -> Mapping[str, Any]:
        return self


@dataclass(frozen=True, eq=False)
class _HostView:
    """What sipstack.site needs of a pyinfra Host."""

    name: str
    groups: tuple[str, ...]
    data: _Data
    connections: "Connections"
    connected = True

    def get_fact(self, fact: type[Any]) -> Any:
        return self.connections.fact(self.name, fact)


def _entries(views: tuple[_HostView, ...]) -> tuple[Entry, ...]:
    try:
        _require_probe_passwords(views[0])
        nodes = site.all_nodes(cast(PyinfraInventory, views))
    except DeployError as error:
        raise OperatorError(str(error)) from None
    return tuple(Entry(view.name, view.groups, view.data, nodes[view.name]) for view in views)


def _require_probe_passwords(view: _HostView) -> None:
    """Only a deploy makes secrets: what would be generated here fits no running system."""
    store = STATE / site.state_name(view.data.get("state"), view.groups) / "slots.json"
    try:
        known = json.loads(store.read_bytes())
    except FileNotFoundError:
        known = {}
    except (OSError, ValueError) as error:
        raise OperatorError(f"{store}: cannot be read ({error}): restore it from a copy") from None
    try:
        settings = parse(view.data)
    except OperatorError:
        return  # said better by the one who looks at all hosts
    missing = [slot.username for slot in probe_slots(site.numbering_plan(settings)) if slot.username not in known]
    if missing:
        raise OperatorError(f"{store}: no password of {missing[0]} in it: the deploy has to run from here first")
