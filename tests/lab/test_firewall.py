"""SIP and SSH are open, what the proxies ask of other hosts is open to them, and nothing else is, as packets see it.

sip1 has the database, an rtpengine, Asterisk and a proxy, sip2 a proxy, sip3 an rtpengine. What listens and what asks
are scripts, in the hosts' own networks.
"""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sipstack.firewall import MEDIA_TABLE, SERVICE, TABLE
from sipstack.lab.hosts import Lab
from sipstack.lab.machine import LabHost
from sipstack.lab.outside import Outside
from sipstack.lab.shell import as_root, run
from tests.lab.inventories import entry, pyinfra, write_inventory

PEERS = {"tcp:5432", "udp:2223", "udp:5080", "udp:5062"}
SIP = {"tcp:5060", "udp:5060"}
# A media port that has sent nothing: only proxies reach it, which send a call's first packet (routes/media.cfg).
RTP = {"udp:30000"}
# And what an operator runs beside us.
OTHER = RTP | {"tcp:9100", "udp:9100"}
# A topology of two proxies, made by hand for the firewall alone.
DEPLOY = """
from dataclasses import replace
from pyinfra import host, inventory
from sipstack import site
from sipstack.deploys.firewall import firewall, firewall_settled

node = site.load(host, inventory)
if len(node.members) == 3:
    members = tuple(replace(m, roles=m.roles | {"proxies"}) if m.name == "sip1" else m for m in node.members)
    node = replace(node, members=members, me=next(m for m in members if m.name == node.name))
firewall(node)
firewall_settled(node)
"""
ECHO = """
import selectors, socket, sys
ready = selectors.DefaultSelector()
for spec in sys.argv[1:]:
    transport, port = spec.split(":")
    s = socket.socket(socket.AF_INET, socket.SOCK_STREAM if transport == "tcp" else socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("0.0.0.0", int(port)))
    if transport == "tcp":
        s.listen()
    ready.register(s, selectors.EVENT_READ, transport)
print("ready", flush=True)
while True:
    for key, _ in ready.select():
        if key.data == "tcp":
            ready.register(key.fileobj.accept()[0], selectors.EVENT_READ, "stream")
        elif key.data == "stream":
            if data := key.fileobj.recv(100):
                key.fileobj.sendall(data)
            else:
                ready.unregister(key.fileobj)
                key.fileobj.close()
        else:
            data, source = key.fileobj.recvfrom(100)
            key.fileobj.sendto(data, source)
"""
# Prints the ports that have answered after a second.
ASK = """
import asyncio, socket, sys
async def ask(spec):
    transport, port = spec.split(":")
    s = socket.socket(socket.AF_INET, socket.SOCK_STREAM if transport == "tcp" else socket.SOCK_DGRAM)
    s.setblocking(False)
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(1):
            await loop.sock_connect(s, (sys.argv[1], int(port)))
            await loop.sock_sendall(s, b"hello")
            if await loop.sock_recv(s, 100) == b"hello":
                print(spec, flush=True)
    except (TimeoutError, OSError):
        pass
async def main():
    await asyncio.gather(*map(ask, sys.argv[2:]))
asyncio.run(main())
"""
# Keeps one TCP connection and one UDP flow, and says something on both for each line that it reads.
FLOWS = """
import socket, sys
t = socket.create_connection((sys.argv[1], 5432), timeout=2)
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
u.settimeout(2)
u.connect((sys.argv[1], 2223))
for line in sys.stdin:
    for s in (t, u):
        s.sendall(b"still here")
        assert s.recv(100) == b"still here"
    print("well", flush=True)
"""
# Knocks as fast as it can until its input ends, and prints how often, and how often it was answered.
KNOCK = """
import select, socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setblocking(False)
knocks = answers = 0
while not select.select([sys.stdin], [], [], 0)[0]:
    s.sendto(b"hello", (sys.argv[1], 2223))
    knocks += 1
    if select.select([s], [], [], 0.0005)[0]:
        answers += len(s.recv(100)) > 0
print(knocks, answers)
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    # Not the lab of the one host, also where that is kept: three would be deployed there from then on.
    lab = Lab(f"{os.environ.get('SIPSTACK_TEST_LAB', 'test')}4")
    lab.up(["sip1", "sip2", "sip3"])
    yield lab
    lab.down()


@pytest.fixture(scope="module")
def deploy_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("firewall") / "deploy.py"
    file.write_text(DEPLOY)
    return file


@pytest.fixture(scope="module")
def fleet(lab: Lab, deploy_file: Path) -> Path:
    """An inventory whose firewall is in force on every host."""
    sip1, sip2, sip3 = (entry(lab, host) for host in lab.hosts())
    file = deploy_file.parent / "fleet.py"
    file.write_text(f"databases = pbx = [{sip1!r}]\nproxies = [{sip2!r}]\nmedia = [{sip1!r}, {sip3!r}]\n")
    deploy(file, deploy_file)
    return file


def deploy(inventory: Path, file: Path, *arguments: str) -> str:
    done = pyinfra(inventory, str(file), "-y", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def pending(inventory: Path, file: Path) -> list[str]:
    """Operations that would change a host, as --dry has them."""
    done = pyinfra(inventory, str(file), "--dry", "--json")
    assert done.returncode == 0, done.stderr
    return [step["name"] for step in json.loads(done.stdout)["plan"] if step["hosts_with_change"]]


def inside(host: LabHost) -> list[str]:
    """What to put before a command so that it runs in the network of a host, which has no Python of its own."""
    pid = run(["docker", "inspect", "--format", "{{.State.Pid}}", host.container]).stdout.strip()
    return as_root(["nsenter", "--target", pid, "--net"])


@contextmanager
def listening(host: LabHost) -> Iterator[None]:
    argv = [*inside(host), sys.executable, "-c", ECHO, *PEERS, *SIP, *OTHER]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as echo:
        assert echo.stdout is not None
        assert echo.stdout.readline() == "ready\n"
        try:
            yield
        finally:
            echo.terminate()


def talking(host: LabHost, script: str, to: LabHost) -> subprocess.Popen[str]:
    """A script in a host's network that is told things, and answers."""
    argv = [*inside(host), sys.executable, "-c", script, to.address]
    return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def reached(prefix: list[str], host: LabHost, address: str = "") -> set[str]:
    """The ports of a host that answer those who ask from there."""
    argv = [*prefix, sys.executable, "-c", ASK, address or host.address, *PEERS, *SIP, *OTHER]
    return set(run(argv, timeout=30).stdout.split())


def table(host: LabHost) -> str:
    """Our rules as the kernel has them, without what they have counted and seen; empty if there is no table."""
    names = (TABLE, MEDIA_TABLE)
    return "".join(host.exec("nft", "-st", "list", "table", *name.split(), check=False).stdout for name in names)


def check(lab: Lab) -> None:
    """Everything is open to whom it should be, and to nobody else."""
    sip1, sip2, sip3 = lab.hosts()
    with Outside(lab) as outside:
        phone = outside.public("phone").exec_prefix
        with listening(sip1):
            assert reached(inside(sip2), sip1) == PEERS | SIP | RTP
            assert reached(inside(sip1), sip1) == PEERS | SIP | OTHER
            assert reached(inside(sip1), sip1, "127.0.0.1") == PEERS | SIP | OTHER
            assert reached(inside(sip3), sip1) == SIP
            assert reached(phone, sip1) == SIP
        with listening(sip2):
            assert reached(inside(sip1), sip2) == {"udp:5062"} | SIP
            assert reached(phone, sip2) == SIP
        with listening(sip3):
            assert reached(inside(sip2), sip3) == {"udp:2223"} | RTP
            assert reached(phone, sip3) == set()
    assert all(host.ssh("true").returncode == 0 for host in lab.hosts())


def open_box(lab: Lab, host: LabHost, folder: Path) -> Path:
    """An inventory in which that host has every role, and keeps nobody out."""
    settings = {"firewall_closed": False, "rtp_open_networks": ["0.0.0.0/0"]}
    return write_inventory(folder / "box.py", entry(lab, host, **settings))


def test_a_host_that_keeps_nobody_out_is_left_alone(lab: Lab, deploy_file: Path) -> None:
    host = lab.hosts()[2]
    box = open_box(lab, host, deploy_file.parent)
    had = host.exec("sh", "-c", "command -v nft", check=False).stdout
    deploy(box, deploy_file)
    assert host.exec("sh", "-c", "command -v nft", check=False).stdout == had
    assert host.exec("test", "-e", "/opt/vss/firewall", check=False).returncode == 1
    assert pending(box, deploy_file) == []


def test_ports_are_open_to_peers_only(lab: Lab, fleet: Path) -> None:
    check(lab)


def test_the_second_run_changes_nothing(lab: Lab, fleet: Path, deploy_file: Path) -> None:
    assert pending(fleet, deploy_file) == []
    before = [host.exec("nft", "-a", "-t", "list", "ruleset").stdout for host in lab.hosts()]
    said = deploy(fleet, deploy_file)
    assert said.count("No changes") == 3
    assert "] Success" not in said
    assert [host.exec("nft", "-a", "-t", "list", "ruleset").stdout for host in lab.hosts()] == before


def test_what_the_operator_opens_is_open_to_whom_it_should_be(lab: Lab, fleet: Path, deploy_file: Path) -> None:
    """And before, the deploy says what it would close."""
    sip1, sip2, sip3 = lab.hosts()
    with listening(sip1):
        dry = pyinfra(fleet, str(deploy_file), "--dry", "--data", "asterisk_rtp_port_min=20002")
        # The name of a program that listens from outside the host's own processes cannot be seen there.
        assert re.search(r"this is closed: .*9100/tcp \(unknown\)", dry.stdout + dry.stderr)
        given = json.dumps([f"9100/tcp {sip2.address}/32", "9100/udp"])
        deploy(fleet, deploy_file, "--data", f"firewall_open_ports={given}")
        assert reached(inside(sip2), sip1) == PEERS | SIP | RTP | {"tcp:9100", "udp:9100"}
        assert reached(inside(sip3), sip1) == SIP | {"udp:9100"}
    deploy(fleet, deploy_file)


def test_ssh_stays_open_wherever_it_comes_in(lab: Lab, fleet: Path, deploy_file: Path) -> None:
    """On a fresh host: a server whose name says nothing, on a port that the inventory does not know, forwarded to."""
    host = lab.hosts()[2]
    host.exec("systemctl", "stop", SERVICE)
    host.exec("sh", "-ec", "cp /usr/sbin/sshd /usr/local/sbin/gate; mkdir -p /run/sshd; /usr/local/sbin/gate -p 2022")
    forward = "type nat hook prerouting priority dstnat; tcp dport 2222 redirect to :2022;"
    host.exec("nft", f"table ip forward {{ chain in {{ {forward} }}; }}")
    odd = deploy_file.parent / "odd.py"
    strict = {"ssh_strict_host_key_checking": "no", "ssh_port": 2222}
    odd.write_text(fleet.read_text().replace(repr(entry(lab, host)), repr(entry(lab, host, **strict))))
    try:
        with listening(host):
            deploy(odd, deploy_file)
            assert "tcp dport 2022 accept" in table(host)
            deploy(odd, deploy_file)
            assert host.ssh("true").returncode == 0, "on port 22 as before"
            assert reached(inside(lab.hosts()[1]), host) == {"udp:2223"} | RTP
    finally:
        host.exec("pkill", "-x", "gate", check=False)
        host.exec("nft", "delete", "table", "ip", "forward")
        deploy(fleet, deploy_file)


@pytest.mark.parametrize(
    "by_hand",
    [
        f"nft flush table {TABLE}",
        f"nft delete table {TABLE}",
        f"nft insert rule {TABLE} input tcp dport 5432 accept",
        f"nft delete table {MEDIA_TABLE}",
        f"nft flush chain {MEDIA_TABLE} input",
        "echo 'true' >> /opt/vss/firewall/load",
        f"systemctl stop {SERVICE}",
        f"systemctl disable {SERVICE}",
        "echo '# mine' >> /opt/vss/firewall/vss.nft",
    ],
)
def test_what_was_changed_by_hand_comes_back(lab: Lab, fleet: Path, deploy_file: Path, by_hand: str) -> None:
    host = lab.hosts()[0]
    rules = table(host)
    host.exec("sh", "-c", by_hand)
    assert len(pending(fleet, deploy_file)) == 1
    deploy(fleet, deploy_file)
    assert table(host) == rules
    assert host.exec("systemctl", "is-enabled", SERVICE).stdout == "enabled\n"
    assert pending(fleet, deploy_file) == []


def test_a_reload_cuts_nothing_and_lets_nobody_in(lab: Lab, fleet: Path, deploy_file: Path) -> None:
    sip1, sip2, sip3 = lab.hosts()
    with listening(sip1), talking(sip2, FLOWS, sip1) as flows, talking(sip3, KNOCK, sip1) as stranger:
        assert flows.stdin and flows.stdout
        for _ in range(10):
            sip1.exec("systemctl", "reload", SERVICE)
            print("?", file=flows.stdin, flush=True)
            assert flows.stdout.readline() == "well\n"
        deploy(fleet, deploy_file, "--data", "asterisk_port=5090")
        print("?", file=flows.stdin, flush=True)
        assert flows.stdout.readline() == "well\n"
        assert reached(inside(sip3), sip1) == SIP
        assert reached(inside(sip2), sip1) == (PEERS | SIP | RTP) - {"udp:5080"}
        flows.stdin.close()
        knocks, answers = map(int, stranger.communicate("enough\n")[0].split())
        assert (knocks > 1000, answers) == (True, 0)
    deploy(fleet, deploy_file)


def test_it_is_there_after_a_reboot_before_the_network(lab: Lab, fleet: Path) -> None:
    for host in lab.hosts():
        host.kill()
    for host in lab.hosts():
        host.start()
    for host in lab.hosts():
        assert host.ssh("systemctl is-system-running --wait", check=False).stdout.strip() == "running"
        loaded, network = (
            int(host.exec("systemctl", "show", "--value", "-p", f"{when}TimestampMonotonic", unit).stdout)
            for when, unit in (("ExecMainExit", SERVICE), ("ActiveEnter", "network-pre.target"))
        )
        assert 0 < loaded < network
    check(lab)


def test_debians_own_service_does_not_take_it_away(lab: Lab, fleet: Path) -> None:
    host = lab.hosts()[0]
    assert host.exec("systemctl", "is-enabled", "nftables.service", check=False).stdout == "disabled\n"
    # As after a boot with both of them. That service has nothing of its own to load here.
    host.exec("systemctl", "start", "nftables.service")
    host.exec("systemctl", "reload", SERVICE)
    rules = table(host)
    try:
        for verb in ["restart", "reload"] * 2:
            host.exec("systemctl", verb, "nftables.service")
            deadline = time.monotonic() + 2  # a reload is handed on, and not waited for
            while table(host) != rules:
                assert time.monotonic() < deadline, verb
    finally:
        host.exec("systemctl", "stop", "nftables.service")
        host.exec("systemctl", "start", SERVICE)
    assert table(host) == rules


def test_a_host_that_keeps_nobody_out_any_more_loses_it(lab: Lab, fleet: Path, deploy_file: Path) -> None:
    host = lab.hosts()[1]
    box = open_box(lab, host, deploy_file.parent)
    assert len(pending(box, deploy_file)) == 1
    deploy(box, deploy_file)
    assert pending(box, deploy_file) == []
    assert table(host) == ""
    assert host.exec("systemctl", "is-enabled", SERVICE, check=False).returncode != 0
    deploy(fleet, deploy_file)
