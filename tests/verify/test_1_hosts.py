"""What runs on each host: our containers, as the release has them, on their sockets and no others."""

import json
import socket
from contextlib import suppress
from typing import Any

from sipstack.errors import OperatorError
from sipstack.paths import COMPOSE_FILE, HOME
from sipstack.probe.options import options
from tests.verify.server import Listener, Part, Server

COMPOSE = f"{HOME}/{COMPOSE_FILE}"
# A host on the way that swallows what it does not let through costs this much, seconds.
OUTSIDE_SECONDS = 1.0


def released(server: Server) -> dict[str, Any]:
    """The services of the compose file in force."""
    return dict(json.loads(server.run(f"docker compose -f {COMPOSE} config --format json"))["services"])


def test_release(server: Server) -> None:
    """The compose file that operators use is there, and is about this host's parts."""
    assert server.host.file(COMPOSE).exists, f"{server.name}: no {COMPOSE}: deploy first"
    expected = sorted(part.name for part in server.parts)
    services = sorted(released(server))
    assert services == expected, f"{server.name}: {COMPOSE} is about {services}, the inventory about {expected}: deploy"


def test_healthy(part: Part) -> None:
    assert part.status == "running", f"{part} is {part.status}, not running"
    assert part.health == "healthy", f"{part} is {part.health}: {part.last_health_output}"


def test_as_released(part: Part) -> None:
    """The container is the one of the compose file; it comes back by itself, and its log cannot fill the disk."""
    assert part.inspected, f"{part} is absent"
    service = released(part.server).get(part.name, {})
    wanted = service.get("labels", {}).get("vss.digest")
    label = part.inspected["Config"]["Labels"].get("vss.digest")
    assert label == wanted, f"{part} is of digest {label}, the release in force has {wanted}: deploy again"
    image = part.inspected["Config"]["Image"]
    assert image == service["image"], f"{part} runs image {image}, the release in force has {service['image']}"
    host = part.inspected["HostConfig"]
    restart = host["RestartPolicy"]["Name"]
    assert restart in ("unless-stopped", "always"), f"{part}: restart policy {restart!r}: it stays down after a fault"
    log = host["LogConfig"]
    bounded = log["Type"] in ("local", "journald") or "max-size" in (log["Config"] or {})
    assert bounded, f"{part}: its log ({log['Type']}) has no max-size: it fills the disk"


def test_listens(part: Part, listener: Listener) -> None:
    there = part.server.host.socket(f"{listener.transport}://{listener.address}:{listener.port}")
    assert there.is_listening, f"{part} does not listen on {listener}"


def test_only_on_loopback(private_part: Part) -> None:
    """A part that is for its own host alone listens nowhere else, and does not answer from here."""
    part, only = private_part, private_part.listeners[0]
    lines = part.server.run(f"ss -Hln --{only.transport} 'sport = :{only.port}'").splitlines()
    elsewhere = [line.split()[3] for line in lines if not line.split()[3].startswith("127.")]
    assert not elsewhere, f"{part} listens on {', '.join(elsewhere)} too: {only} alone is for it"
    outside = Listener(only.transport, part.server.node.address, only.port)
    assert not answers(outside), f"{part} answers on {outside} from outside"


def answers(listener: Listener) -> bool:
    """Whether something takes a TCP connection, or answers to SIP or to rtpengine's ng protocol over UDP."""
    if listener.transport == "tcp":
        with socket.socket() as outside:
            outside.settimeout(OUTSIDE_SECONDS)
            return outside.connect_ex((listener.address, listener.port)) == 0
    with socket.socket(type=socket.SOCK_DGRAM) as outside, suppress(OSError):
        outside.settimeout(OUTSIDE_SECONDS)
        outside.connect((listener.address, listener.port))
        outside.send(b"verify d7:command4:pinge")
        return bool(outside.recv(2048))
    with suppress(OperatorError):
        options(listener.address, listener.port, "udp", OUTSIDE_SECONDS)
        return True
    return False
