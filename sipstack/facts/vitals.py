"""What a running host and its proxy say of themselves, beyond the state of its containers."""

import re
from dataclasses import dataclass, field

from pyinfra.api.facts import FactBase

from sipstack.lock import LOCK_FILE
from sipstack.oci import in_proxy
from sipstack.watch import TABLES


@dataclass(frozen=True)
class Disk:
    """One file system. used: of its room, per cent; inodes: of its files, per cent."""

    path: str
    used: int
    inodes: int


@dataclass
class Vitals:
    """What was found; what could not be asked is None, or empty.

    now: the host's clock, seconds since the epoch. deploy: who changes it at this moment. cut_off: the watch keeps the
    proxy from a database that is silent or slow. database: what PostgreSQL told the proxy's role, empty if all is well.
    memory: shared memory of the proxy in use, and all of it, octets. peers: address of each other proxy -> how this one
    sees it.
    """

    now: float | None = None
    deploy: str = ""
    cut_off: bool = False
    database: str | None = None
    memory: tuple[int, int] | None = None
    peers: dict[str, str] = field(default_factory=dict)
    disks: list[Disk] = field(default_factory=list)


# As the account and with the way in that the proxy itself has.
_QUESTION = (
    "PGPASSFILE=/run/kamailio/pgpass PGCONNECT_TIMEOUT=2 timeout 4 psql -qXAt -h $POSTGRES_HOST -p $POSTGRES_PORT"
    ' -U $POSTGRES_USER -c "SELECT 1" $POSTGRES_DB 2>&1 | sed "s/^/database=/"'
)
_MEMORY = 'kamcmd core.shmmem | sed "s/^/memory=/"'
_PEERS = 'kamcmd dmq.list_nodes 2>/dev/null | sed "s/^/peer=/"'
_IN_PROXY = f"sh -c '{_QUESTION}; {_MEMORY}; {_PEERS}'"
_SCRIPT = f"""
echo "now=$(date +%s.%N)"
[ ! -s {LOCK_FILE} ] || flock -n {LOCK_FILE} true || echo "deploy=$(cat {LOCK_FILE})"
root=$(docker info -f '{{{{.DockerRootDir}}}}' 2>/dev/null)
df --output=target,pcent,ipcent / /var/log /opt "${{root:-/}}" 2>/dev/null | sed '1d; s/^/disk=/' | sort -u
nft list table {TABLES[0]} >/dev/null 2>&1 && echo cut_off=yes
[ -z "$(docker ps -q --filter name=^vss-kamailio\\$ 2>/dev/null)" ] || {in_proxy(_IN_PROXY)} 2>/dev/null
true
"""


class VitalsFact(FactBase[Vitals]):
    """All of it in one round trip."""

    def command(self) -> str:
        return _SCRIPT

    @staticmethod
    def default() -> Vitals:
        return Vitals()

    def process(self, output: list[str]) -> Vitals:
        found = Vitals()
        said: dict[str, list[str]] = {}
        for line in output:
            key, _, value = line.partition("=")
            said.setdefault(key, []).append(value.strip())
        found.now = _number(said.get("now", [""])[0])
        found.deploy = said.get("deploy", [""])[0]
        found.cut_off = "cut_off" in said
        if answers := said.get("database"):
            found.database = "" if answers == ["1"] else answers[-1]
        found.memory = _memory(" ".join(said.get("memory", [])))
        found.peers = _peers("\n".join(said.get("peer", [])))
        found.disks = [disk for line in said.get("disk", []) if (disk := _disk(line))]
        return found


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _memory(text: str) -> tuple[int, int] | None:
    total, free = (re.search(rf"\b{key}: (\d+)", text) for key in ("total", "free"))
    return (int(total[1]) - int(free[1]), int(total[1])) if total and free else None


def _peers(text: str) -> dict[str, str]:
    """Proxies but this one itself, by address, with DMQ's word for each: active, disabled, timeout."""
    found = re.findall(r"host: (\S+).*?status: (\w+).*?local: (\d)", text, re.DOTALL)
    return {host: status for host, status, local in found if local == "0"}


def _disk(line: str) -> Disk | None:
    path, *numbers = line.split()
    shares = [int(number.rstrip("%")) if number.rstrip("%").isdigit() else 0 for number in numbers]
    return Disk(path, *shares) if len(shares) == 2 else None
