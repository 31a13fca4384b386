"""What stands beside the containers of a host and looks after them.

On every host, what Docker has given up is started again; on a proxy's, a silent or slow database does not hold it up.
"""

from sipstack.node import Node
from sipstack.paths import HOME, ROOT
from sipstack.services import KINDS
from sipstack.templates import render

FOLDER = f"{HOME}/watch"
PROGRAM, REVIVER = f"{FOLDER}/database-watch", f"{FOLDER}/revive"
SERVICE, REVIVER_SERVICE = "vss-database-watch.service", "vss-revive.service"
UNIT, REVIVER_UNIT = (f"/etc/systemd/system/{service}" for service in (SERVICE, REVIVER_SERVICE))
ALL_FILES = (PROGRAM, UNIT, REVIVER, REVIVER_UNIT)
# The first is there only while the proxy is cut off, the second while the watch runs (files/watch/database-watch).
TABLES = ("inet vss_database", "inet vss_questions")


def services(node: Node) -> tuple[str, ...]:
    """The units that run on a host."""
    return (REVIVER_SERVICE, *((SERVICE,) if node.has("proxies") else ()))


def files(node: Node) -> dict[str, tuple[bytes, int]]:
    """Path -> content and mode of what they need."""
    reviver = {
        REVIVER: ((ROOT / "files/host/revive").read_bytes(), 0o555),
        REVIVER_UNIT: (render("watch/vss-revive.service.j2", program=REVIVER).encode(), 0o444),
    }
    if not node.has("proxies"):
        return reviver
    unit = render(
        "watch/vss-database-watch.service.j2",
        program=PROGRAM,
        database=node.database,
        uid=KINDS["kamailio"].uid,
        many=max(2, node.settings.kamailio_children // 2),
        tables=TABLES,
    )
    return {
        **reviver,
        PROGRAM: ((ROOT / "files/watch/database-watch").read_bytes(), 0o555),
        UNIT: (unit.encode(), 0o444),
    }
