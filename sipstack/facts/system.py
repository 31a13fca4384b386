"""What kind of machine a host is, and what is in the way of a deploy."""

from dataclasses import dataclass, field

from pyinfra.api.facts import FactBase


class PrimaryAddress(FactBase[str]):
    """The address that the host sends from by default; empty if it has no route out."""

    # The destination is from a documentation range (RFC 5737): nothing is sent, only the route is looked up.
    def command(self) -> str:
        return "ip -4 route get 192.0.2.1 2>/dev/null | sed -n 's/.* src \\([0-9.]*\\).*/\\1/p'"

    @staticmethod
    def default() -> str:
        return ""

    def process(self, output: list[str]) -> str:
        return output[0].strip() if output else ""


@dataclass(frozen=True)
class Listener:
    """A socket that something listens on."""

    transport: str
    address: str
    port: int
    process: str
    pid: int


@dataclass
class Machine:
    """The answers that the preflight asks for."""

    system: str = ""
    version: str = ""
    uid: int = -1
    docker: str = ""
    compose: str = ""
    # A Docker that did not come from Debian, whether it runs or not.
    foreign_docker: bool = False
    iproute2: bool = True
    clock_synchronised: bool = True
    disk_free_gb: int = 0
    # Of the disk that the engine's data are on: what is left, MB and inodes, where it can be told.
    disk_free_mb: int | None = None
    disk_free_inodes: int | None = None
    memory_mb: int | None = None
    # What its shell prints before anything is asked, where it should print nothing; and what its sshd does not offer.
    greeting: str = ""
    ssh_lacks: set[str] = field(default_factory=set)
    # How many files a process of root may have open, in a container too.
    open_files: int | None = None
    # What the engine says of itself: userns, rootless, seccomp and so on.
    engine_modes: set[str] = field(default_factory=set)
    # Major version of the PostgreSQL whose data lie in our volume; empty: there are none.
    postgres_data: str = ""
    # Tables of other programs that drop what they do not know, with everything that they let in, as nft has it in JSON;
    # ufw: what it lets in, line by line; None: it is not there, or not active.
    ruleset: str = ""
    ufw: list[str] | None = None
    listeners: list[Listener] = field(default_factory=list)
    # Its own IPv4 addresses; none where they cannot be read.
    addresses: set[str] = field(default_factory=set)
    # Processes of our own containers: a port that one of them holds is not taken.
    own_pids: set[int] = field(default_factory=set)

    @property
    def asks_health_while_starting(self) -> bool:
        """Whether its engine knows healthcheck.start_interval (Docker 25); Debian 13's, where none is yet, does."""
        return not self.docker or int(self.docker.partition(".")[0]) >= 25


class MachineFact(FactBase[Machine]):
    """All that the preflight asks, in one round trip."""

    def command(self) -> str:
        return _SCRIPT

    @staticmethod
    def default() -> Machine:
        return Machine()

    def process(self, output: list[str]) -> Machine:
        machine = Machine()
        begin = output.index(_BEGIN) if _BEGIN in output else 0
        machine.greeting = " ".join(output[:begin]).strip()
        for line in output[begin:]:
            key, _, value = line.partition("=")
            if key == "listen":
                if listener := as_listener(value):
                    machine.listeners.append(listener)
            elif key == "address":
                machine.addresses.add(value)
            elif key == "own" and value.strip().isdigit():
                machine.own_pids.add(int(value))
            elif key in ("uid", "disk_free_gb"):
                setattr(machine, key, int(value or -1))
            elif key in ("disk_free_mb", "disk_free_inodes", "memory_mb", "open_files"):
                setattr(machine, key, int(value) if value.strip().isdigit() else None)
            elif key == "mode":
                machine.engine_modes.add(value.partition("name=")[2].partition(",")[0] or value)
            elif key == "ssh_lacks":
                machine.ssh_lacks.add(value)
            elif key == "ufw":
                machine.ufw = [*(machine.ufw or []), value]
            elif key in ("foreign_docker", "iproute2"):
                setattr(machine, key, value == "yes")
            elif key == "clock_synchronised":
                machine.clock_synchronised = value == "yes"
            elif key in ("system", "version", "docker", "compose", "postgres_data", "ruleset"):
                setattr(machine, key, value)
        return machine


_BEGIN = "BEGIN"
# The disk that counts is the one the engine's data will be on; its folder may not exist yet.
_SCRIPT = r"""
echo "BEGIN"
. /etc/os-release 2>/dev/null; echo "system=$ID"; echo "version=$VERSION_ID"; echo "uid=$(id -u)"
echo "docker=$(docker version -f '{{.Server.Version}}' 2>/dev/null)"
echo "compose=$(docker compose version --short 2>/dev/null)"
echo "clock_synchronised=$(timedatectl show -p NTPSynchronized --value 2>/dev/null)"
command -v dockerd >/dev/null && ! dpkg-query -W -f='${Status}' docker.io 2>/dev/null | grep -q 'ok installed' &&
    echo foreign_docker=yes
command -v ss >/dev/null && command -v ip >/dev/null || echo iproute2=no
d=$(docker info -f '{{.DockerRootDir}}' 2>/dev/null); d=${d:-/var/lib/docker}; [ -d "$d" ] || d=/var/lib
echo "disk_free_gb=$(df -BG --output=avail "$d" | tail -n 1 | tr -dc 0-9)"
echo "disk_free_mb=$(df -BM --output=avail "$d" | tail -n 1 | tr -dc 0-9)"
# Some file systems have no fixed number of them.
df --output=itotal,iavail "$d" | awk 'NR == 2 && $1 > 0 { print "disk_free_inodes=" $2 }'
echo "memory_mb=$(awk '/^MemTotal:/ { print int($2 / 1024) }' /proc/meminfo)"
echo "open_files=$( (ulimit -Hn 1048576 && ulimit -Hn) 2>/dev/null || ulimit -Hn)"
docker info -f '{{range .SecurityOptions}}{{println .}}{{end}}' 2>/dev/null | sed '/^$/d; s/^/mode=/'
v=$(docker volume inspect -f '{{.Mountpoint}}' vss_postgres_data 2>/dev/null)
echo "postgres_data=$(cat "$v/PG_VERSION" 2>/dev/null)"
PATH=$PATH:/usr/sbin:/sbin
command -v nft >/dev/null && echo "ruleset=$(nft -j -t list ruleset 2>/dev/null | tr -d '\n')"
command -v ufw >/dev/null && ufw status 2>/dev/null | grep -q '^Status: active' && ufw status | sed 's/^/ufw=/'
s=$(sshd -T -C "user=${SUDO_USER:-root},host=localhost,addr=${SSH_CLIENT%% *}" 2>/dev/null) && {
    echo "$s" | grep -qi '^subsystem sftp' || echo ssh_lacks=sftp
    echo "$s" | grep -qiE '^allowtcpforwarding (yes|all|local)' || echo ssh_lacks=forwarding
    [ "$(echo "$s" | sed -n 's/^maxsessions //p')" -ge 4 ] || echo ssh_lacks=sessions
    echo "$s" | grep -qiE '^disableforwarding yes' && echo ssh_lacks=forwarding
}
ip -4 -o address 2>/dev/null | sed -n 's|.* inet \([0-9.]*\)[/ ].*|address=\1|p'
ss -Hlntup 2>/dev/null | sed 's/^/listen=/'
for c in $(docker ps -q --filter label=vss.digest 2>/dev/null); do docker top $c -eo pid | sed '1d;s/^/own=/'; done
true
"""


def as_listener(line: str) -> Listener | None:
    """One line of `ss -Hlntup`: transport state queues local peer users:(("name",pid=1,fd=3))."""
    fields = line.split(maxsplit=6)
    if len(fields) < 5:
        return None
    address, _, port = fields[4].rpartition(":")
    users = fields[6] if len(fields) > 6 else ""
    name = users.partition('(("')[2].partition('"')[0]
    pid = users.partition("pid=")[2].partition(",")[0]
    if not port.isdigit():
        return None
    return Listener(fields[0], address.split("%")[0], int(port), name, int(pid) if pid.isdigit() else 0)
