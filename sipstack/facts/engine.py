"""What the Docker engine of a host has: images, containers, and the files that they read."""

import json
from dataclasses import dataclass, field
from datetime import datetime

from pyinfra.api.facts import FactBase

from sipstack.paths import COMPOSE_FILE, HOME

ENGINE_FILE = "/etc/docker/daemon.json"


class ImageTags(FactBase[set[str]]):
    """The images of a host, as repository:tag."""

    def command(self) -> str:
        return "docker image ls --format '{{.Repository}}:{{.Tag}}' 2>/dev/null || true"

    @staticmethod
    def default() -> set[str]:
        return set()

    def process(self, output: list[str]) -> set[str]:
        return {line.strip() for line in output if line.strip()}


@dataclass(frozen=True)
class Container:
    """One of our containers as it runs now. health is empty for a container that has no check.

    started: seconds since the epoch.
    """

    name: str
    digest: str
    status: str
    health: str
    started: float

    @property
    def serves(self) -> bool:
        """Whether nothing is known against it: after a restart of the engine every container is "starting" at first."""
        return self.status == "running" and self.health in ("", "healthy", "starting")

    @property
    def healthy(self) -> bool:
        """Whether its last check went well."""
        return self.serves and self.health != "starting"


class Containers(FactBase[dict[str, Container]]):
    """Our containers by name."""

    def command(self) -> str:
        return (
            "ids=$(docker ps -aq --filter label=vss.digest 2>/dev/null); "
            '[ -z "$ids" ] || docker inspect --format '
            '\'{"name":{{json .Name}},"labels":{{json .Config.Labels}},"state":{{json .State}}}\' $ids'
        )

    @staticmethod
    def default() -> dict[str, Container]:
        return {}

    def process(self, output: list[str]) -> dict[str, Container]:
        found = {}
        for line in output:
            if not line.startswith("{"):
                continue
            raw = json.loads(line)
            name = raw["name"].lstrip("/")
            health = (raw["state"].get("Health") or {}).get("Status", "")
            state = raw["state"]
            started = datetime.fromisoformat(state["StartedAt"]).timestamp()
            found[name] = Container(name, raw["labels"]["vss.digest"], state["Status"], health, started)
        return found


class ContainerNames(FactBase[set[str]]):
    """Every container whose name is one of ours, running or not, whoever made it."""

    def command(self) -> str:
        return "docker ps -a --filter name=^vss- --format '{{.Names}}' 2>/dev/null || true"

    @staticmethod
    def default() -> set[str]:
        return set()

    def process(self, output: list[str]) -> set[str]:
        return {line.strip() for line in output if line.strip()}


@dataclass(frozen=True)
class FileState:
    """What stands in a file on the host. Its time (seconds since the epoch) is not part of what it is."""

    sha256: str
    mode: int
    owner: int
    modified: float = field(default=0.0, compare=False)


class DeployedFiles(FactBase[dict[str, FileState]]):
    """Every file of the deployment, and under its own path the compose file that is in force (a link).

    Not those in a folder that only root can enter: a container's account cannot read them.
    """

    def command(self) -> str:
        return (
            f"cd {HOME} 2>/dev/null || exit 0; readlink {COMPOSE_FILE} | sed 's/^/link /'; "
            "find config releases -type d ! -perm -005 -prune -o -type f -printf 'stat %m %U %T@ %p\\n' 2>/dev/null; "
            "find config releases -type f -exec sha256sum {} + 2>/dev/null || true"
        )

    @staticmethod
    def default() -> dict[str, FileState]:
        return {}

    def process(self, output: list[str]) -> dict[str, FileState]:
        stats: dict[str, tuple[int, int, float]] = {}
        files: dict[str, FileState] = {}
        for line in output:
            first, _, rest = line.partition(" ")
            if first == "link":
                files[f"{HOME}/{COMPOSE_FILE}"] = FileState(rest, 0, 0)
            elif first == "stat":
                mode, owner, modified, path = rest.split(" ", 3)
                stats[path] = (int(mode, 8), int(owner), float(modified))
            elif (path := rest.strip()) in stats:
                files[f"{HOME}/{path}"] = FileState(first, *stats[path])
        return files


class ProvedProxy(FactBase[str]):
    """The digest of the proxy that proved itself last on this host; empty if none has."""

    def command(self) -> str:
        return f"cat {HOME}/proved 2>/dev/null || true"

    @staticmethod
    def default() -> str:
        return ""

    def process(self, output: list[str]) -> str:
        return "".join(output).strip()


class ComposeInForce(FactBase[str]):
    """The compose file that is in force; empty if there is none. It holds no secret."""

    def command(self) -> str:
        return f"cat {HOME}/{COMPOSE_FILE} 2>/dev/null || true"

    @staticmethod
    def default() -> str:
        return ""

    def process(self, output: list[str]) -> str:
        return "\n".join(output)


@dataclass(frozen=True)
class EngineSettings:
    """live_restore: containers live on while the engine restarts. swarm: it is part of one, which excludes that.

    text: its configuration file; empty if there is none.
    """

    live_restore: bool
    swarm: bool
    text: str


class Engine(FactBase[EngineSettings]):
    """How the engine of a host is set."""

    def command(self) -> str:
        return (
            "docker info -f '{{.LiveRestoreEnabled}} {{.Swarm.LocalNodeState}}' 2>/dev/null || echo false inactive;"
            f" cat {ENGINE_FILE} 2>/dev/null || true"
        )

    @staticmethod
    def default() -> EngineSettings:
        return EngineSettings(False, False, "")

    def process(self, output: list[str]) -> EngineSettings:
        live_restore, _, swarm = (output or [""])[0].partition(" ")
        return EngineSettings(live_restore == "true", swarm.strip() == "active", "\n".join(output[1:]))
