"""What watches the database on a proxy's host, so that a silent or slow one does not hold up the proxy."""

from sipstack.node import Node
from sipstack.paths import HOME, ROOT
from sipstack.services import KINDS
from sipstack.templates import render

FOLDER = f"{HOME}/watch"
PROGRAM = f"{FOLDER}/database-watch"
SERVICE = "vss-database-watch.service"
UNIT = f"/etc/systemd/system/{SERVICE}"
# The first is there only while the proxy is cut off, the second while the watch runs (files/watch/database-watch).
TABLES = ("inet vss_database", "inet vss_questions")


def files(node: Node) -> dict[str, tuple[bytes, int]]:
    """Path -> content and mode of what a proxy's host needs; empty for any other host."""
    if not node.has("proxies"):
        return {}
    unit = render(
        "watch/vss-database-watch.service.j2",
        program=PROGRAM,
        database=node.database,
        uid=KINDS["kamailio"].uid,
        many=max(2, node.settings.kamailio_children // 2),
        tables=TABLES,
    )
    return {
        PROGRAM: ((ROOT / "files/watch/database-watch").read_bytes(), 0o555),
        UNIT: (unit.encode(), 0o444),
    }
