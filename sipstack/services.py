"""What runs on a host: for each service its image, its files and its part of the compose file."""

import hashlib
import hmac
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache

from sipstack import memory
from sipstack.database.clients import client_name
from sipstack.facts.system import Machine
from sipstack.images import Image, all_images
from sipstack.node import GATEWAY_SET, PROXY_SET, Node
from sipstack.paths import COMPOSE_FILE, HOME, ROOT
from sipstack.settings import endpoint
from sipstack.templates import render as _render

# MB
MEMORY_STEP = 512
# Files that a process may have open: each port of rtpengine is one, and there are 65,535.
OPEN_FILES = 100_000


@dataclass(frozen=True)
class HostFile:
    """A file on the host. Secret files are read by their owner only."""

    path: str
    content: bytes
    owner: int = 0
    secret: bool = False

    @property
    def mode(self) -> int:
        return 0o400 if self.secret else 0o444

    def __repr__(self) -> str:
        return f"HostFile({self.path!r})"


@dataclass(frozen=True)
class Service:
    """One container: its part of the compose file, and the digest of all that it reads."""

    name: str
    image: Image
    files: tuple[HostFile, ...]
    compose: str
    digest: str
    volumes: tuple[str, ...]

    @property
    def container(self) -> str:
        return f"vss-{self.name}"


@dataclass(frozen=True)
class Release:
    """Everything that one host runs, named by what it is made of."""

    name: str
    services: tuple[Service, ...]
    compose: HostFile
    images: tuple[Image, ...]

    @property
    def files(self) -> list[HostFile]:
        return [self.compose, *(file for service in self.services for file in service.files)]

    def service(self, name: str) -> Service | None:
        """The service of that name; None if this host does not have it."""
        return next((service for service in self.services if service.name == name), None)


@dataclass(frozen=True)
class _Kind:
    """How a service is made: the role that wants it, the account it runs as (its Dockerfile), its volumes."""

    role: str
    uid: int
    files: Callable[[Node], dict[str, tuple[bytes, bool]]]
    volumes: tuple[str, ...] = ()


def release(node: Node, machine: Machine, everyone: Iterable[Node]) -> Release:
    """What this host is to run.

    everyone: all nodes of the inventory. A release is one for all of them: its name says what the whole fleet is.
    """
    services, text = _made_of(node, machine)
    name = release_name(tuple(everyone))
    compose = HostFile(f"{HOME}/releases/{name}/{COMPOSE_FILE}", text.encode())
    return Release(name, services, compose, images_of(node))


def images_of(node: Node) -> tuple[Image, ...]:
    """What has to be built on a host: an image for each service, and that of the phones that prove a proxy."""
    roles = {name: kind.role for name, kind in KINDS.items()} | {"probe": "proxies"}
    return tuple(image for name, image in all_images(node.settings).items() if node.has(roles[name]))


@cache
def release_name(everyone: tuple[Node, ...]) -> str:
    """A digest of what all hosts run. What an engine can do is its host's own, and no part of it."""
    return hashlib.sha256("".join(_made_of(node, Machine())[1] for node in everyone).encode()).hexdigest()[:12]


def _made_of(node: Node, machine: Machine) -> tuple[tuple[Service, ...], str]:
    """The services of a host, and its compose file."""
    kinds = {name: kind for name, kind in KINDS.items() if node.has(kind.role)}
    images = all_images(node.settings)
    services = tuple(_service(node, machine, name, kind, images[name]) for name, kind in kinds.items())
    return services, _render(
        "compose/docker-compose.vss-demiurge.yml.j2",
        node=node,
        settings=node.settings,
        home=HOME,
        compose_file=COMPOSE_FILE,
        blocks={service.name: service.compose.rstrip() for service in services},
        volumes=[volume for service in services for volume in service.volumes],
    )


def _service(node: Node, machine: Machine, name: str, kind: _Kind, image: Image) -> Service:
    files = kind.files(node)
    config = f"{HOME}/config/{name}/{_seal(node, repr(sorted(files.items())))}"

    def block(digest: str) -> str:
        return _render(
            f"compose/{name}.yml.j2",
            node=node,
            machine=machine,
            settings=node.settings,
            name=name,
            image=image.tag,
            config=config,
            digest=digest,
            memory=_memory(node, name),
            shm_needs=memory.needs(),
            client_name=client_name(node.name),
            open_files=min(OPEN_FILES, machine.open_files or OPEN_FILES),
        )

    host_files = tuple(
        HostFile(f"{config}/{path}", content, kind.uid if secret else 0, secret)
        for path, (content, secret) in files.items()
    )
    digest = hashlib.sha256(block("").encode()).hexdigest()[:12]
    return Service(name, image, host_files, block(digest), digest, kind.volumes)


def _memory(node: Node, name: str) -> str:
    """The memory limit of a service, as compose writes it; empty: none.

    Far above what it takes in use, MB: a limit is for what has gone wrong.
    """
    settings = node.settings
    if settings.container_memory:
        return "" if settings.container_memory == "none" else settings.container_memory
    # Workers for UDP and for TCP, on up to two ports, and some that serve others.
    processes = 4 * settings.kamailio_children + 40
    needed = {
        "kamailio": node.shared_mb + processes * settings.kamailio_pkg_mb,
        "postgres": 10 * node.database_connections,
    }
    # In steps: a worker more is no reason for another limit.
    steps = 1 + -(-needed.get(name, 1536) // MEMORY_STEP)
    return f"{steps * MEMORY_STEP}m"


def _seal(node: Node, content: str) -> str:
    """A digest that may be shown: secrets are part of the content, and a plain hash could be guessed at."""
    return hmac.new(node.secret("digest_key").encode(), content.encode(), hashlib.sha256).hexdigest()[:12]


# --- the files of each service: path below its configuration -> content, and whether it is secret ---------


def _kamailio(node: Node) -> dict[str, tuple[bytes, bool]]:
    files = _static("kamailio")
    files["etc/values.cfg"] = (_template(node, "kamailio/values.cfg.j2"), False)
    files["etc/peers.cfg"] = (_template(node, "kamailio/peers.cfg.j2"), False)
    files["etc/secrets.cfg"] = (_template(node, "kamailio/secrets.cfg.j2"), True)
    files["postgres_password"] = (node.database_secret("postgres_password").encode(), True)
    if node.database.over_network:
        files["postgres.crt"] = (node.postgres_tls()[1], False)
    return files


def _postgres(node: Node) -> dict[str, tuple[bytes, bool]]:
    files = {
        "etc/postgresql.conf": (_template(node, "postgres/postgresql.conf.j2"), False),
        "etc/pg_hba.conf": (_template(node, "postgres/pg_hba.conf.j2"), False),
        "admin_password": (node.database_secret("postgres_admin_password").encode(), True),
    }
    if node.database.remote_peers:
        key, public = node.postgres_tls()
        files |= {"etc/server.key": (key, True), "etc/server.crt": (public, False)}
    return files


def _rtpengine(node: Node) -> dict[str, tuple[bytes, bool]]:
    return {"etc/rtpengine.conf": (_template(node, "rtpengine/rtpengine.conf.j2"), False)}


def _asterisk(node: Node) -> dict[str, tuple[bytes, bool]]:
    files = _static("asterisk")
    for name in ("pjsip.conf", "rtp.conf", "voicemail.conf", "extensions.conf"):
        files[f"etc/{name}"] = (_template(node, f"asterisk/{name}.j2"), False)
    return files


# In the order in which they are brought up.
KINDS = {
    "postgres": _Kind("databases", 5432, _postgres, ("postgres_data",)),
    "rtpengine": _Kind("media", 2223, _rtpengine),
    "asterisk": _Kind("pbx", 5080, _asterisk),
    "kamailio": _Kind("proxies", 5060, _kamailio, ("kamailio_run", "kamailio_logs")),
}


def _static(service: str) -> dict[str, tuple[bytes, bool]]:
    base = ROOT / "files" / service
    return {
        file.relative_to(base).as_posix(): (file.read_bytes(), False)
        for file in sorted(base.glob("etc/**/*"))
        if file.is_file()
    }


def _template(node: Node, name: str) -> bytes:
    provider = node.settings.asterisk_provider
    return _render(
        name,
        node=node,
        settings=node.settings,
        gateway_set=GATEWAY_SET,
        proxy_set=PROXY_SET,
        provider_addresses=[endpoint(provider)[0]] if provider else [],
    ).encode()
