"""What an operator sees of a failed check: which part it is, its last log lines, and what to do."""

from sipstack.paths import COMPOSE_FILE, HOME
from sipstack.services import KINDS
from tests.verify.server import Part, Server

LOG_LINES = 20


def suspects(server: Server, names: tuple[str, ...], servers: dict[str, Server]) -> list[Part]:
    """The parts that a check needs: on its own host, else on those that have them for it."""
    parts = []
    for name in names:
        members = [member.name for member in server.node.with_role(KINDS[name].role)]
        own = [server.name] if server.name in members else members
        parts += [Part(servers[member], name) for member in own]
    # Who does not serve is the reason why others do not.
    return [part for part in parts if not part.serves] or parts


def advice(part: Part) -> str:
    """One line: what to do about it."""
    compose = f"docker compose -f {HOME}/{COMPOSE_FILE}"
    name = part.server.name
    if part.status == "paused":
        return f"frozen by `docker pause`; on {name}: docker unpause {part.container}"
    if part.status == "absent":
        return f"deploy again; or on {name}: {compose} up -d {part.name}"
    if part.status != "running":
        return f"on {name}: {compose} up -d {part.name}, or deploy again"
    if part.health != "healthy":
        return f"on {name}: docker logs -f {part.container}; it says: {part.last_health_output or 'nothing yet'}"
    return f"it runs and calls itself healthy; on {name}: docker logs -f {part.container}, or deploy again"


def describe(part: Part) -> str:
    """Its state in a few words."""
    return f"{part} is {part.status}" + (f", {part.health}" if part.status == "running" else "")
