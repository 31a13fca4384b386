"""The proxies: a release is tried beside what runs, then rolled out host by host."""

from collections.abc import Generator

from pyinfra.api.command import PyinfraCommand
from pyinfra.api.operation import operation
from pyinfra.context import host

from sipstack.facts.engine import Containers, DeployedFiles, ProvedProxy
from sipstack.node import Node
from sipstack.operations.commands import Call
from sipstack.operations.release import reads_other, removed_first
from sipstack.rollout.proxy import Target, roll
from sipstack.rollout.trial import try_out
from sipstack.services import Release


@operation()
def tried(node: Node, release: Release, due: bool) -> Generator[PyinfraCommand, None, None]:
    """A release has taken calls beside the running proxy, without a trace.

    + node: this host
    + release: what it is to run
    + due: whether there is a running proxy that it would replace
    """
    if not due:
        host.noop("there is nothing to try")
        return
    yield Call(try_out, node, release)


@operation()
def rolled(node: Node, release: Release) -> Generator[PyinfraCommand, None, None]:
    """The proxy of this host runs as the release has it, and has proved itself with calls.

    + node: this host
    + release: what it is to run
    """
    service = release.service("kamailio")
    if service is None:
        host.noop("this host has no proxy")
        return
    running, present = host.get_fact(Containers).get(service.container), host.get_fact(DeployedFiles)
    proved = host.get_fact(ProvedProxy) == service.digest
    well = running and (running.healthy or (proved and running.serves))
    switch = not well or reads_other(service, running, present)
    if not switch and proved:
        host.noop("the proxy runs as it should and has proved itself")
        return
    replace = removed_first(service, running, present)
    yield Call(roll, node, Target(release.name, service.digest), replace, switch)
