"""How the engine of a host is set."""

import json
from collections.abc import Generator

from pyinfra.api.command import PyinfraCommand, StringCommand
from pyinfra.api.operation import operation
from pyinfra.context import host

from sipstack.facts.engine import ENGINE_FILE, Engine
from sipstack.operations.commands import Upload


@operation()
def containers_live_on() -> Generator[PyinfraCommand, None, None]:
    """A restart of the engine, as an upgrade of its package makes one, ends no container, and so no call.

    live-restore is the engine's own setting for that, which it takes over without a restart. What else its file says
    stays; one that is no JSON is left to whoever wrote it.
    """
    engine = host.get_fact(Engine)
    if engine.live_restore or engine.swarm:
        host.noop("they do" if engine.live_restore else "an engine of a swarm cannot do that")
        return
    try:
        settings = json.loads(engine.text or "{}")
    except ValueError:
        host.noop(f"{ENGINE_FILE} is no JSON: add live-restore to it")
        return
    text = json.dumps({**settings, "live-restore": True}, indent=4) + "\n"
    yield Upload(text.encode(), f'mkdir -p "$(dirname {ENGINE_FILE})"; cat "$1" >{ENGINE_FILE}')
    yield StringCommand("systemctl reload docker")
