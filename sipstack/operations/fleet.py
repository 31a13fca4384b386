"""The first thing that a deploy does: its secrets are kept, and the host knows whose it is."""

import shlex
from collections.abc import Generator
from dataclasses import replace
from datetime import UTC, datetime

from pyinfra.api.command import PyinfraCommand
from pyinfra.api.host import Host
from pyinfra.api.operation import operation
from pyinfra.context import host

from sipstack.errors import OperatorError
from sipstack.facts.fleet import MARK_FILE, FleetMark, Mark
from sipstack.lock import operator
from sipstack.node import Node
from sipstack.operations.commands import Call
from sipstack.paths import HOME
from sipstack.rollout.shell import run


@operation()
def belongs(node: Node) -> Generator[PyinfraCommand, None, None]:
    """What was generated for this fleet is kept on the operator's side, and the host has its mark.

    + node: this host
    """
    mark = host.get_fact(FleetMark)
    wanted = node.mark
    if mark and replace(mark, by="", since="") == wanted and not node.secrets.has_new:
        host.noop(f"it belongs to {mark.inventory}")
        return
    if mark and mark.state == wanted.state:
        wanted = replace(wanted, by=mark.by, since=mark.since)
    yield Call(_mark, node, wanted)


def _mark(host: Host, node: Node, mark: Mark) -> None:
    # Before any host has them: what a host knows and nobody else cannot be had back.
    node.secrets.keep()
    if not mark.by:
        mark = replace(mark, by=operator(), since=f"{datetime.now(UTC):%F %T} UTC")
    script = (
        f"umask 022; mkdir -p {HOME} && chmod a+rx {HOME} && umask 077 && "
        f"printf '%s\\n' {shlex.quote(mark.text())} >{MARK_FILE}.new && mv {MARK_FILE}.new {MARK_FILE}"
    )
    if not (answer := run(host, script)).ok:
        raise OperatorError(f"the mark of the fleet cannot be written: {answer.text}")
