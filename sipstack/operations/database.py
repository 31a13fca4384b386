"""The content of the database as operations."""

from collections.abc import Generator

from pyinfra.api.command import PyinfraCommand
from pyinfra.api.operation import operation
from pyinfra.context import host

from sipstack.database.provision import Part
from sipstack.node import Node
from sipstack.operations.commands import Call


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
    yield Call(part.apply, node)
