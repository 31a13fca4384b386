"""The content of the database as operations, and the secrets that open it."""

from collections.abc import Generator

from pyinfra.api.command import PyinfraCommand
from pyinfra.api.host import Host
from pyinfra.api.operation import operation
from pyinfra.context import host

from sipstack.database.provision import Part
from sipstack.errors import OperatorError
from sipstack.node import Node
from sipstack.operations.commands import Call
from sipstack.rollout.report import REPORT


@operation()
def part_in_place(part: Part, node: Node, difference: list[str] | None) -> Generator[PyinfraCommand, None, None]:
    """One part of the database's content is as it should be.

    + part: roles, schema, gateways or subscribers
    + node: the host through which the database is reached
    + difference: what would change; None while there is no database to compare with
    """
    if difference == []:
        host.noop(f"{part.title}: nothing to do")
        return
    yield Call(_apply, node, part)


def _apply(host: Host, node: Node, part: Part) -> None:
    if REPORT.halted:
        raise OperatorError(f"{part.title}: not touched, the run stopped at {REPORT.halted}")
    part.apply(host, node)


@operation()
def secrets_kept(node: Node, here: bool) -> Generator[PyinfraCommand, None, None]:
    """The secrets that the environment gave are kept on the operator's side, for the runs that come without it.

    + node: any host of the inventory; they share their secrets
    + here: whether it is done for this host; for one is enough
    """
    if not here or not node.secrets.forgotten():
        host.noop("every secret is kept")
        return
    yield Call(_keep_secrets, node)


def _keep_secrets(host: Host, node: Node) -> None:
    node.secrets.remember()
