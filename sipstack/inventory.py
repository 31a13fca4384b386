"""An inventory as pyinfra reads it, and SSH to its hosts, for what is done beside a deploy: verification, status."""

import difflib
import fnmatch
import json
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import testinfra  # type: ignore[import-untyped]
from pyinfra.api.exceptions import DeployError
from pyinfra.api.inventory import Inventory as PyinfraInventory

from sipstack import site
from sipstack.errors import OperatorError
from sipstack.node import Node
from sipstack.paths import ROOT, STATE
from sipstack.settings import parse
from sipstack.slots import probe_slots

LOAD_SECONDS = 60
COMMAND_SECONDS = 20


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
    file = _existing(Path(path))
    raw = [(host["name"], tuple(host["groups"]), host["data"]) for host in _ask_pyinfra(file)]
    if not raw:
        raise OperatorError(f"{path}: no hosts in it: put hosts into its groups")
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
        done = self.connections.run(self.name, fact().command())
        return fact().process(done.stdout.splitlines())


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


# --- SSH ---------------------------------------------------------------------------------------------------


class Connections:
    """SSH to hosts with the options that pyinfra has for them; a context manager. It asks nothing and waits for no one.

    Each host has one connection, which its commands share (OpenSSH's ControlMaster), and a configuration file of its
    own in a private folder that goes away.
    """

    def __init__(self, hosts: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
        self._hosts = dict(hosts)
        self._used: set[str] = set()
        # Hosts that did not answer once are not waited for again.
        self._lost: dict[str, str] = {}
        self._folder = Path(tempfile.mkdtemp(prefix="ssh-"))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in self._used:
            if self._config(name).exists():
                subprocess.run([*self._ssh(name, "-O", "exit"), self._target(name)], capture_output=True, timeout=10)
        shutil.rmtree(self._folder)

    def run(
        self, name: str, command: str, stdin: str = "", seconds: float = COMMAND_SECONDS
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell command on a host, as root where the inventory says _sudo.

        Raises OperatorError when SSH does not get there, or the command takes longer than `seconds`; from then on at
        once for that host.
        """
        self._used.add(name)
        if name in self._lost:
            raise OperatorError(self._lost[name])
        if self._hosts[name].get("_sudo"):
            command = f"sudo -n sh -c {shlex.quote(command)}"
        argv = ["sh", "-c", command] if _is_local(name) else [*self._ssh(name), self._target(name), command]
        try:
            done = subprocess.run(argv, input=stdin, capture_output=True, text=True, errors="replace", timeout=seconds)
        except subprocess.TimeoutExpired:
            self._lost[name] = f"{name}: no end of `{command}` within {seconds:g} s: look at the host"
            raise OperatorError(self._lost[name]) from None
        if done.returncode == 255 and not _is_local(name):
            said = done.stderr.strip().splitlines() or ["no message"]
            self._lost[name] = f"{name}: no SSH: {said[-1]}: check ssh_hostname, ssh_user and ssh_key"
            raise OperatorError(self._lost[name])
        return done

    def testinfra(self, name: str) -> Any:
        """The host for testinfra's own modules, over the same connection."""
        self._used.add(name)
        sudo = bool(self._hosts[name].get("_sudo"))
        if _is_local(name):
            return testinfra.get_host("local://", sudo=sudo)
        return testinfra.get_host(f"ssh://{self._target(name)}", ssh_config=str(self.ssh_config(name)), sudo=sudo)

    def _target(self, name: str) -> str:
        return str(self._hosts[name].get("ssh_hostname") or name.removeprefix("@ssh/"))

    def _ssh(self, name: str, *options: str) -> list[str]:
        return ["ssh", "-F", str(self.ssh_config(name)), *options]

    def _config(self, name: str) -> Path:
        return self._folder / f"{list(self._hosts).index(name)}.config"

    def ssh_config(self, name: str) -> Path:
        """The configuration file of OpenSSH for a host. Raises OperatorError where SSH is not the way."""
        file = self._config(name)
        if not file.exists():
            if name.startswith("@") and not name.startswith("@ssh/"):
                raise OperatorError(f"{name}: only hosts by SSH and @local can be reached from here: use one of them")
            file.write_text("".join(f"{line}\n" for line in self._options(self._hosts[name])))
        return file

    def _options(self, data: Mapping[str, Any]) -> Iterator[str]:
        if data.get("ssh_password"):
            raise OperatorError("ssh_password: passwords cannot be used here: give ssh_key, or a key in the agent")
        for key, option in (
            ("ssh_port", "Port"),
            ("ssh_user", "User"),
            ("ssh_strict_host_key_checking", "StrictHostKeyChecking"),
        ):
            if value := data.get(key):
                yield f"{option} {value}"
        if own_key := data.get("ssh_key"):
            # pyinfra takes a relative name from where it is started, the repository.
            yield f'IdentityFile "{ROOT / Path(own_key).expanduser()}"'
            yield "IdentitiesOnly yes"
        if known := data.get("ssh_known_hosts_file"):
            yield f'UserKnownHostsFile "{ROOT / Path(known).expanduser()}"'
        if not data.get("ssh_strict_host_key_checking"):
            yield "StrictHostKeyChecking accept-new"  # pyinfra's default
        yield from ("BatchMode yes", "ConnectTimeout 10", "ServerAliveInterval 5", "ServerAliveCountMax 3")
        yield from ("ControlMaster auto", "ControlPersist 60", f"ControlPath {self._folder}/%C", "LogLevel ERROR")
        # Of two values the first counts, so the operator's own file (a jump host, say) adds to the above.
        yield f'Include "{Path(data.get("ssh_config_file") or "~/.ssh/config").expanduser()}"'


def _is_local(name: str) -> bool:
    return name == "@local"
