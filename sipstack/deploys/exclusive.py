"""A deploy has its hosts for itself: it takes the deploy lock before it looks at them, and keeps it to its end."""

import builtins
import select
import sys
from functools import cache
from threading import Lock

from paramiko import SSHException
from pyinfra import logger
from pyinfra.api.command import StringCommand
from pyinfra.api.exceptions import DeployError, PyinfraError
from pyinfra.api.host import Host
from pyinfra.api.inventory import Inventory
from pyinfra.api.state import BaseStateCallback, State
from pyinfra.connectors.util import extract_control_arguments, make_unix_command_for_host
from pyinfra.context import host

from sipstack.errors import OperatorError
from sipstack.guard import this_run
from sipstack.lock import ANSWER_SECONDS, LOCK, Wire, command, holder, local_wire
from sipstack.privileges import privileges
from sipstack.reach import reach
from sipstack.rollout.report import REPORT
from sipstack.site import all_nodes
from sipstack.tunnel import transport_of

# Hosts are prepared side by side; the first one takes the lock of all of them.
_first = Lock()


def exclusive() -> None:
    """Take the deploy lock on every host of the run and on the fleet's anchor, until the run ends.

    A run that changes nothing (--dry) takes none. Raises DeployError, in one line, when another deploy holds one.
    """
    REPORT.begun = True
    if not this_run().changes:
        return
    with _first:
        if refusal := _refusal(host.inventory):
            raise DeployError(refusal)


@cache
def _refusal(inventory: Inventory) -> str:
    """Take the locks, in the order of names: of two runs, one gets the first host that both want, and goes on."""
    active = set(inventory.get_active_hosts())
    # Runs with disjoint --limit meet at the anchor: what they change in the database is the same for all.
    anchors = {one for one in inventory if all_nodes(inventory)[one.name].provisions_database}
    who = holder(this_run().inventory)
    try:
        for one in sorted(active | anchors, key=lambda one: one.name):
            if one in active or _reached(one):
                LOCK.take(one.name, _wire(one, who), who)
    except OperatorError as error:
        LOCK.release()
        return str(error)
    host.state.add_callback_handler(_Confirm())  # type: ignore[no-untyped-call]
    _wait_for_input_side_by_side()
    return ""


def _reached(anchor: Host) -> bool:
    try:
        reach(anchor, "for the deploy lock")
    except OperatorError as error:
        logger.warning(f"{error}: a deploy of other hosts may run beside this one")
        return False
    return True


def _wire(one: Host, who: str) -> Wire:
    """Start the lock's script on a host, over the connection that pyinfra has to it. Raises OperatorError."""
    arguments = privileges(one)
    try:
        one.run_shell_command("true", **arguments)  # asks for sudo's password, where there is one
        extract_control_arguments(arguments)  # type: ignore[arg-type]
        line = make_unix_command_for_host(one.state, one, StringCommand(command(who)), **arguments).get_raw_value()
        transport = transport_of(one)
        if transport is None:
            return local_wire(["sh", "-c", line])
        channel = transport.open_session(timeout=ANSWER_SECONDS)
        channel.set_combine_stderr(True)
        channel.exec_command(line)
    except EOFError:
        told = "sudo asks for a password, and here is no terminal: let it ask for none (NOPASSWD)"
        raise OperatorError(f"{one.name}: {told}") from None
    except (PyinfraError, OSError, SSHException) as error:
        raise OperatorError(f"{one.name}: the deploy lock cannot be taken ({error}): run again") from None
    return channel


class _Confirm(BaseStateCallback):
    """Stops a run that has lost its lock (cut off, asleep, stopped by hand) before its next operation."""

    def operation_start(self, state: State, op_hash: str) -> None:  # type: ignore[override]
        try:
            LOCK.confirm()
        except OperatorError as error:
            raise DeployError(str(error)) from None


def _wait_for_input_side_by_side() -> None:
    """Let pyinfra's "Press enter to execute" wait as everything else does: input() alone stops the heartbeats.

    pyinfra's command line has made gevent's of Python's select; a terminal is readable when a line is complete.
    """
    plain = builtins.input

    def patient(prompt: object = "") -> str:
        select.select([sys.stdin], [], [])
        return plain(prompt)

    builtins.input = patient
