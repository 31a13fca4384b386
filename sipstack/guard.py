"""What pyinfra's command line does not refuse: a run that reaches no host, and one that goes on without some."""

import atexit
import difflib
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from pyinfra import logger
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.host import Host
from pyinfra.api.inventory import Inventory
from pyinfra.api.state import State
from pyinfra.connectors.ssh import SSHConnector
from pyinfra.context import config, ctx_state, state

from sipstack.errors import OperatorError
from sipstack.keepalive import Keepalive
from sipstack.node import ROLES
from sipstack.paths import ROOT
from sipstack.rehearsal import mode
from sipstack.rollout.report import REPORT


@dataclass(frozen=True)
class Run:
    """What the command line asks for. changes: whether hosts are going to be changed, not only looked at."""

    inventory: str
    changes: bool


_run = Run("an inventory", True)


def this_run() -> Run:
    """The run that we are in. Click itself can be asked only where pyinfra reads its configuration."""
    return _run


def guard() -> None:
    """Called from config.py, which pyinfra executes before it reads the inventory. Raises PyinfraError."""
    global _run
    given = click.get_current_context().params
    _run = Run(given["inventory"], _changes(given))
    _refuse_missing_file(given["inventory"])
    _prepare_state(given["inventory"])
    if any(operation.endswith(".py") for operation in given["operations"]):
        # A host that fails stops the others: what went wrong on one is not to be repeated on all.
        config.FAIL_PERCENT = 0
        atexit.register(_tell)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _interrupted)
        _refuse_silence(given)


def _interrupted(number: int, _: object) -> None:
    """End as a shell expects of a command that a signal has ended: pyinfra would say that all went well."""
    REPORT.interrupted = True
    sys.exit(128 + number)


def _tell() -> None:
    """The last lines of the output, after all that pyinfra prints."""
    if ctx_state.isset() and state.initialised:  # type: ignore[no-untyped-call]
        note_failures(state)
    if text := str(REPORT):
        print(text, flush=True)


def note_failures(of: State) -> None:
    """Let the report name the hosts that pyinfra has given up, by what became of their connections."""
    REPORT.failed = sorted(host.name for host in of.failed_hosts)
    REPORT.unreached = sorted(host.name for host in of.failed_hosts - of.activated_hosts)
    REPORT.lost = sorted(host.name for host in of.failed_hosts & of.activated_hosts if not _connected(host))


def _connected(host: Host) -> bool:
    connector = host.connector
    if not isinstance(connector, SSHConnector):
        return True
    transport = connector.client.get_transport() if connector.client else None
    return transport is not None and transport.is_active()


def _changes(given: dict[str, Any]) -> bool:
    looks_only = any(given.get(option) for option in ("dry", "debug_facts", "debug_operations"))
    # Without -y, pyinfra prints what it would do as JSON and ends.
    return not looks_only and bool(given.get("yes") or not given.get("json_output"))


def _tell_unread(inventory: Inventory) -> None:
    """A file of group_data that is misspelt would be ignored, and the defaults deployed."""
    groups = {group for host in inventory for group in host.groups} | {"all", *ROLES}
    inventories = {path.stem for path in (ROOT / "inventories").glob("*.py")}
    for file in sorted((ROOT / "group_data").glob("*.py")):
        if file.stem not in groups | inventories:
            close = difflib.get_close_matches(file.stem, sorted(groups | inventories), n=1)
            hint = f": did you mean {close[0]}.py?" if close else ""
            logger.warning(f"group_data/{file.name} is read by nobody: no inventory or group has that name{hint}")


def _rehearse(inventory: Inventory) -> None:
    """In a rehearsal the hosts are the lab's, whatever the inventory says of keys and secrets."""
    try:
        inventory.override_data.update(mode.overrides())
    except OperatorError as error:
        raise PyinfraError(str(error)) from None


def _refuse_silence(given: dict[str, Any]) -> None:
    asks = not any(given.get(option) for option in ("yes", "dry", "json_output", "debug_facts", "debug_operations"))
    if asks and not sys.stdin.isatty():
        raise PyinfraError("there is no terminal to ask on: add -y to deploy, or --dry to see what would change")


def _refuse_missing_file(inventory: str) -> None:
    looks_like_file = inventory.endswith(".py") or ("/" in inventory and "@" not in inventory)
    if not looks_like_file or Path(inventory).exists():
        return
    known = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "inventories").glob("*.py"))
    close = difflib.get_close_matches(inventory, known, n=1)
    hint = f"did you mean {close[0]}?" if close else f"there is {', '.join(known)}"
    raise PyinfraError(f"no inventory {inventory}: {hint}")


def _prepare_state(name: str) -> None:
    """Let the state refuse an inventory, or a --limit, that leaves no host: pyinfra would do nothing and exit 0.

    What concerns every connection is begun here, too: there is none yet.
    """
    init = state.init

    def checked(inventory: Inventory, settings: Any, initial_limit: list[Any] | None = None) -> None:
        if not list(inventory):
            raise PyinfraError(f"no hosts in {name}: write at least one into its groups")
        if initial_limit == []:
            names = ", ".join(host.name for host in inventory)
            raise PyinfraError(f"--limit or --exclude leaves no host of {name}: it has {names}")
        _tell_unread(inventory)
        _rehearse(inventory)
        init(inventory, settings, initial_limit=initial_limit)
        state.add_callback_handler(Keepalive())  # type: ignore[no-untyped-call]
        # pyinfra keeps hosts in a set: what goes from host to host would take another order each time.
        ordered = inventory.get_active_hosts
        inventory.get_active_hosts = lambda: sorted(ordered(), key=lambda host: host.name)  # type: ignore[method-assign]

    # On this one State, not on its class: the command line makes exactly one.
    state.init = checked  # type: ignore[method-assign,assignment]
