"""Hosts that were not made for this: a first deploy to each works, or is refused by name and has changed nothing."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from sipstack.lab.hosts import Lab
from sipstack.lab.machine import LabHost
from tests.lab.inventories import entry, pyinfra, write_inventory
from tests.lab.lend import lend
from tests.lab.system import System
from tests.lab.test_refusals import last_line

pytestmark = pytest.mark.slow
ROLES = ("databases", "media", "pbx", "proxies")
SSHD = "/etc/ssh/sshd_config.d/odd.conf"
RELOAD_SSHD = "systemctl reload ssh"
DAEMON = "/etc/docker/daemon.json"
# As if nothing of ours had ever been there, but for the engine and the images.
BARE = """
for unit in vss-firewall vss-media-forget vss-database-watch vss-revive; do systemctl disable -q --now $unit; done
rm -f /etc/systemd/system/vss-*; systemctl daemon-reload
nft delete table inet vss; nft delete table inet vss_media
docker rm -f $(docker ps -aq); docker volume rm $(docker volume ls -q); rm -rf /opt/vss
true
"""


@dataclass(frozen=True)
class Oddity:
    """do: makes the host odd; undo: and ordinary again. said: why it is refused; empty: it works. data: of the host."""

    do: str
    undo: str
    said: str = ""
    data: dict[str, Any] = field(default_factory=dict)


def sshd(line: str, said: str = "") -> Oddity:
    return Oddity(f"echo '{line}' >{SSHD}; {RELOAD_SSHD}", f"rm {SSHD}; {RELOAD_SSHD}", said)


def daemon(text: str, said: str = "") -> Oddity:
    restart = "systemctl reset-failed docker; systemctl restart docker"
    return Oddity(f"echo '{text}' >{DAEMON}; {restart}", f"rm -f {DAEMON}; {restart}", said)


SUDO, NO_SUDO = "/etc/sudoers.d/ops", f"rm -f /etc/sudoers.d/ops {SSHD}; {RELOAD_SSHD}"
OPS = """
id ops >/dev/null 2>&1 || useradd -m -s /bin/bash ops
install -d -m 700 -o ops /home/ops/.ssh && install -m 600 -o ops /root/.ssh/authorized_keys /home/ops/.ssh/
command -v sudo >/dev/null || { apt-get -q update && apt-get -qy install sudo; } >/dev/null 2>&1
"""
# A table of somebody else's, that drops what it does not know.
TABLE = "table inet theirs {{ chain in {{ type filter hook input priority 0; policy drop; iif lo accept; {}\n}}\n}}"
SSH = "tcp dport 22 accept; ct state established accept"
SIP = "udp dport { 5060, 30000-39999 } accept; tcp dport 5060 accept"
LISTEN = "our $open = IO::Socket::INET->new(LocalPort => 5060, Listen => 1); sleep"
DATA = "$(docker volume inspect -f '{{.Mountpoint}}' vss_postgres_data)"
LOCK = "/var/lib/dpkg/lock-frontend"
ODD: dict[str, Oddity] = {
    "umask 077": Oddity("sed -i '1i umask 077' /root/.bashrc", "sed -i '/^umask 077/d' /root/.bashrc"),
    "a shell that greets": Oddity(
        "sed -i '1i echo Welcome, friend=yes' /root/.bashrc",
        "sed -i '/^echo Wel/d' /root/.bashrc",
        "its shell prints 'Welcome, friend=yes' before every command",
    ),
    "a banner of sshd": sshd("Banner /etc/issue.net"),
    "no TCP forwarding": sshd("AllowTcpForwarding no", "its sshd forwards no ports"),
    "two sessions a connection": sshd("MaxSessions 2", "less than four sessions"),
    "four sessions a connection": sshd("MaxSessions 4"),
    "no SFTP": Oddity(
        f"sed -i 's/^Subsystem/#Subsystem/' /etc/ssh/sshd_config; {RELOAD_SSHD}",
        f"sed -i 's/^#Subsystem/Subsystem/' /etc/ssh/sshd_config; {RELOAD_SSHD}",
        "its sshd has no SFTP",
    ),
    "another port of SSH": Oddity(
        f"printf 'Port 22\\nPort 2222\\n' >{SSHD}; {RELOAD_SSHD}", f"rm {SSHD}; {RELOAD_SSHD}",
        data={"ssh_port": 2222, "ssh_strict_host_key_checking": "accept-new"},
    ),
    "sudo, no login of root": Oddity(
        f"{OPS}echo 'ops ALL=(ALL) NOPASSWD: ALL' >{SUDO}; echo 'PermitRootLogin no' >{SSHD}; {RELOAD_SSHD}",
        NO_SUDO, data={"ssh_user": "ops", "_sudo": True},
    ),
    "sudo that asks for a password": Oddity(
        f"{OPS}echo 'ops ALL=(ALL) ALL' >{SUDO}; echo ops:odd-pass | chpasswd", NO_SUDO,
        "asks for a password", data={"ssh_user": "ops", "_sudo": True},
    ),
    "apt is locked for a while": Oddity(
        f"apt-get -qy remove nftables >/dev/null; setsid flock {LOCK} sleep 25 >/dev/null 2>&1 & sleep 1", "true"
    ),
    "a name that nobody knows": Oddity("hostname nobody-knows-me", "hostname odd1"),
    "a second address": Oddity("ip address add 203.0.113.77/32 dev lo", "ip address del 203.0.113.77/32 dev lo"),
    "no IPv6": Oddity("sysctl -qw net.ipv6.conf.all.disable_ipv6=1", "sysctl -qw net.ipv6.conf.all.disable_ipv6=0"),
    "a small range of local ports": Oddity(
        "sysctl -qw net.ipv4.ip_local_port_range='10240 65535'", "sysctl -qw net.ipv4.ip_local_port_range='32768 60999'"
    ),
    "/tmp without execution": Oddity("mount -t tmpfs -o noexec,nosuid,nodev tmpfs /tmp", "umount -l /tmp"),
    "processes are hidden": Oddity("mount -o remount,hidepid=2 /proc", "mount -o remount,hidepid=0 /proc"),
    "another time zone": Oddity(
        "ln -sf /usr/share/zoneinfo/Asia/Tokyo /etc/localtime", "ln -sf /usr/share/zoneinfo/UTC /etc/localtime"
    ),
    "logs to the journal": daemon('{"log-driver": "journald"}'),
    "live-restore of its own": daemon('{"live-restore": true, "iptables": false}'),
    "the engine is stopped": Oddity(
        "systemctl stop docker.socket docker; systemctl disable -q docker docker.socket",
        "systemctl enable -q --now docker",
    ),
    "user namespaces": daemon('{"userns-remap": "default"}', "userns-remap"),
    "a table that drops SIP": Oddity(f"nft '{TABLE.format(SSH)}'", "nft delete table inet theirs", "table inet theirs"),
    "a table that lets SIP in": Oddity(f"nft '{TABLE.format(f'{SSH}; {SIP}')}'", "nft delete table inet theirs"),
    "a port that is taken": Oddity(
        f"setsid perl -MIO::Socket::INET -e '{LISTEN}' >/dev/null 2>&1 & sleep 1",
        "pkill perl", "port 5060/tcp is taken by perl",
    ),
    "data of another PostgreSQL": Oddity(
        f"docker volume create vss_postgres_data >/dev/null; echo 15 >{DATA}/PG_VERSION",
        "docker volume rm -f vss_postgres_data", "has data of PostgreSQL 15",
    ),
    "an address that is not its own": Oddity("true", "true", "is not its own", data={"address": "192.0.2.99"}),
}  # fmt: skip


@pytest.fixture(scope="module")
def odd(system: System) -> Iterator[LabHost]:
    lab = Lab(f"{os.environ.get('SIPSTACK_TEST_LAB', 'test')}5")
    try:
        host = lab.up(["odd1"])[0]
        lend(system.host, [host], {role: ["odd1"] for role in ROLES})
        yield host
    finally:
        if "SIPSTACK_TEST_LAB" not in os.environ:
            lab.down()


@pytest.mark.parametrize("what", ODD)
def test_a_first_deploy_works_or_is_refused(odd: LabHost, tmp_path: Path, what: str) -> None:
    one = ODD[what]
    lab = Lab(f"{os.environ.get('SIPSTACK_TEST_LAB', 'test')}5")
    odd.exec("bash", "-c", BARE)
    path = write_inventory(tmp_path / "odd.py", entry(lab, odd, **one.data))
    odd.exec("bash", "-c", one.do, timeout=120)
    try:
        done = pyinfra(path, "deploy.py", "-y")
        if one.said:
            assert one.said in last_line(done)
            assert odd.exec("sh", "-c", "ls /opt/vss 2>/dev/null; docker ps -q --filter label=vss.digest").stdout == ""
        else:
            assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
            again = pyinfra(path, "deploy.py", "-y")
            assert again.returncode == 0, again.stdout[-3000:] + again.stderr[-3000:]
            assert "--> Rollout" not in again.stdout + again.stderr
    finally:
        odd.exec("bash", "-c", one.undo, check=False, timeout=120)
