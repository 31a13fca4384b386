"""The lab itself: its hosts are fresh Debian machines, its NATs are NATs, and it leaves nothing behind."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sipstack.errors import OperatorError
from sipstack.lab.hosts import Lab, LabHost
from sipstack.lab.namespaces import Namespace
from sipstack.lab.outside import Outside
from sipstack.lab.shell import as_root, run

ROOT = Path(__file__).resolve().parents[2]
PORTS = (7001, 7002)
# Answers each datagram with the address and port that it came from.
MIRROR = """
import selectors, socket
ready = selectors.DefaultSelector()
for port in (7001, 7002):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("0.0.0.0", port))
    ready.register(s, selectors.EVENT_READ)
print("ready", flush=True)
while True:
    for key, _ in ready.select():
        data, source = key.fileobj.recvfrom(2048)
        key.fileobj.sendto(f"{source[0]} {source[1]}".encode(), source)
"""
# Sends from one socket to each port in turn, with a pause between, and prints what the mirror saw.
LOOK = """
import socket, sys, time
host, pause, ports = sys.argv[1], float(sys.argv[2]), sys.argv[3:]
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(5)
for number, port in enumerate(ports):
    time.sleep(pause if number else 0)
    s.sendto(b"who am I?", (host, int(port)))
    print(s.recv(2048).decode(), flush=True)
"""
# Says its port after talking to the mirror, then waits for one datagram from anyone.
WAIT = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(5)
s.sendto(b"who am I?", (sys.argv[1], 7001))
print(s.recv(2048).decode().split()[1], flush=True)
s.settimeout(2)
try:
    print(s.recvfrom(2048)[1][0], flush=True)
except TimeoutError:
    print("nothing", flush=True)
"""
SEND = "import socket, sys; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n" \
    "s.sendto(b'knock', (sys.argv[1], int(sys.argv[2])))"  # fmt: skip


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    lab = Lab("labtest")
    lab.down()  # of a run that was killed
    lab.up(["sip1", "sip2"], {"proxies": ["sip1", "sip2"], "databases": ["sip1"]})
    yield lab
    lab.down()


@pytest.fixture
def outside(lab: Lab) -> Iterator[Outside]:
    with Outside(lab) as outside:
        yield outside


@contextmanager
def mirror_on(host: LabHost) -> Iterator[None]:
    """The mirror in the host's network. The host has no Python, so this machine's is lent to it."""
    pid = run(["docker", "inspect", "--format", "{{.State.Pid}}", host.container]).stdout.strip()
    argv = as_root(["nsenter", "--target", pid, "--net", sys.executable, "-c", MIRROR])
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as mirror:
        assert mirror.stdout is not None
        assert mirror.stdout.readline() == "ready\n"
        try:
            yield
        finally:
            mirror.terminate()


def look(phone: Namespace, host: LabHost, *ports: int, pause: float = 0) -> list[tuple[str, int]]:
    argv = [*phone.exec_prefix, sys.executable, "-c", LOOK, host.address, str(pause), *map(str, ports)]
    seen = [line.split() for line in run(argv, timeout=30).stdout.splitlines()]
    return [(address, int(port)) for address, port in seen]


def test_hosts_are_fresh_debian_machines(lab: Lab) -> None:
    for host in lab.hosts():
        assert host.ssh("systemctl is-system-running --wait").stdout.strip() == "running"
        assert host.ssh("uname -n").stdout.strip() == host.name
        assert host.ssh("command -v docker dockerd python3", check=False).stdout == ""
        assert "VERSION_CODENAME=trixie" in host.ssh("cat /etc/os-release").stdout


def test_each_host_has_its_own_keys(lab: Lab) -> None:
    keys = {host.exec("cat", "/etc/ssh/ssh_host_ed25519_key.pub").stdout for host in lab.hosts()}
    machines = {host.exec("cat", "/etc/machine-id").stdout for host in lab.hosts()}
    assert len(keys) == len(machines) == 2


def test_ssh_refuses_a_host_with_another_key(lab: Lab, tmp_path: Path) -> None:
    sip1, sip2 = lab.hosts()
    true_keys = lab.state.known_hosts.read_text().replace(f"{sip1.name},{sip1.address}", "nobody")
    swapped = tmp_path / "known_hosts"
    swapped.write_text(true_keys.replace(sip2.address, sip1.address))
    argv = ["ssh", "-F", str(lab.state.ssh_config), "-o", "BatchMode=yes"]
    assert run([*argv, sip1.name, "true"], check=False).returncode == 0
    refused = run([*argv, "-o", f"UserKnownHostsFile={swapped}", sip1.name, "true"], check=False)
    assert refused.returncode == 255
    assert "Host key verification failed" in refused.stderr


def test_hosts_reach_each_other_by_name(lab: Lab) -> None:
    sip1, sip2 = lab.hosts()
    assert sip1.ssh("ping -c 1 -W 5 sip2").returncode == 0
    assert sip2.ssh("ping -c 1 -W 5 sip1").returncode == 0


def test_up_leaves_running_hosts_alone(lab: Lab) -> None:
    what = "{{.Id}} {{.State.StartedAt}} {{.State.Pid}}"
    before = [run(["docker", "inspect", "--format", what, host.container]).stdout for host in lab.hosts()]
    state = lab.state.read()
    lab.up(["sip1"], state["groups"])
    after = [run(["docker", "inspect", "--format", what, host.container]).stdout for host in lab.hosts()]
    assert after == before
    assert lab.state.read() == state


def test_a_host_survives_a_power_cut(lab: Lab) -> None:
    host = lab.hosts()[1]
    host.ssh("echo kept > /var/lib/witness && sync")
    host.kill()
    assert host.ssh("true", check=False, timeout=3).returncode != 0
    host.start()
    assert host.ssh("cat /var/lib/witness").stdout == "kept\n"


def test_mistakes_are_told(lab: Lab) -> None:
    with pytest.raises(OperatorError, match="proxy"):
        lab.up(["sip1"], {"proxy": ["sip1"]})
    with pytest.raises(OperatorError, match="sip9"):
        lab.up(["sip1"], {"proxies": ["sip9"]})
    with pytest.raises(OperatorError, match="SIP1"):
        lab.up(["SIP1"])
    with pytest.raises(OperatorError, match="my-lab"):
        Lab("my-lab")


def test_up_does_not_trust_a_lab_that_lost_its_files(lab: Lab) -> None:
    hidden = lab.state.hosts_json.rename(lab.state.folder / "hidden")
    try:
        with pytest.raises(OperatorError, match="lab down --name labtest"):
            lab.up(["sip1"])
    finally:
        hidden.rename(lab.state.hosts_json)


def test_state_is_for_its_owner_only(lab: Lab) -> None:
    assert lab.state.folder.stat().st_mode & 0o777 == 0o700


def pyinfra(lab: str, *argv: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pyinfra", str(ROOT / "inventories" / "lab.py"), *argv]
    return run(command, env={"SIPSTACK_LAB": lab}, check=False, timeout=120)


def test_the_inventory_is_the_lab_that_is_up(lab: Lab) -> None:
    shown = pyinfra(lab.name, "debug-inventory", "--json")
    hosts = {host["name"]: host for host in json.loads(shown.stdout)}
    assert {"proxies", "databases"} <= set(hosts["sip1"]["groups"])
    assert "databases" not in hosts["sip2"]["groups"]
    assert pyinfra(lab.name, "-y", "exec", "--", "test", "-d", "/run/systemd/system").returncode == 0


def test_the_inventory_says_when_no_lab_is_up() -> None:
    refused = pyinfra("nosuchlab", "exec", "--", "true")
    assert refused.returncode == 1
    assert "sipstack lab up --name nosuchlab" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_public_phone_is_seen_as_itself(lab: Lab, outside: Outside) -> None:
    host, phone = lab.hosts()[0], outside.public("alice")
    with mirror_on(host):
        assert look(phone, host, PORTS[0])[0][0] == phone.address


def test_nat_hides_the_phone_behind_the_router(lab: Lab, outside: Outside) -> None:
    host, phone = lab.hosts()[0], outside.behind_nat("bob")
    with mirror_on(host):
        first, second = look(phone, host, *PORTS)
    assert first[0] == phone.public_address != phone.address
    assert first == second  # one port for all destinations


def test_symmetric_nat_shows_each_destination_another_port(lab: Lab, outside: Outside) -> None:
    host, phone = lab.hosts()[0], outside.behind_nat("carol", nat="symmetric")
    with mirror_on(host):
        first, second = look(phone, host, *PORTS)
    assert first[0] == second[0] == phone.public_address
    assert first[1] != second[1]


def test_nat_forgets_a_silent_flow(lab: Lab, outside: Outside) -> None:
    host = lab.hosts()[0]
    hasty = outside.behind_nat("hasty", nat="symmetric", udp_timeout=1)
    patient = outside.behind_nat("patient", nat="symmetric", udp_timeout=60)
    with mirror_on(host):
        before, after = look(hasty, host, PORTS[0], PORTS[0], pause=3)
        assert before != after
        before, after = look(patient, host, PORTS[0], PORTS[0], pause=3)
        assert before == after


def test_nat_lets_no_stranger_in(lab: Lab, outside: Outside) -> None:
    host, stranger = lab.hosts()[0], outside.public("mallory")
    for phone in (outside.public("open"), outside.behind_nat("closed")):
        argv = [*phone.exec_prefix, sys.executable, "-c", WAIT, host.address]
        with mirror_on(host), subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as waiting:
            assert waiting.stdout is not None
            port = waiting.stdout.readline().strip()
            run([*stranger.exec_prefix, sys.executable, "-c", SEND, phone.public_address, port])
            heard = waiting.stdout.readline().strip()
        assert heard == ("nothing" if phone.router else stranger.address)


def test_down_leaves_nothing(lab: Lab) -> None:
    other = Lab("labgone")
    other.down()
    other.up(["sip1"])
    network = other.network
    assert network.subnet != lab.network.subnet  # two labs at a time do not clash
    phone = Outside(other).behind_nat("left")  # never closed, as by a run that was killed
    with subprocess.Popen([*phone.exec_prefix, "sleep", "600"]) as sleeper:
        await_process_in(phone)
        try:
            other.down()
            assert sleeper.wait(10) != 0
        finally:
            sleeper.kill()
    for kind in ("container", "volume", "network"):
        everything = ["--all"] if kind == "container" else []
        listed = run(["docker", kind, "ls", *everything, "--quiet", "--filter", f"label={other.label}"])
        assert listed.stdout == "", kind
    assert "sl-labgone" not in run(["ip", "netns", "list"]).stdout
    assert not Path("/sys/class/net", network.bridge).exists()
    assert not other.state.folder.exists()
    assert lab.hosts()[0].ssh("true").returncode == 0


def await_process_in(phone: Namespace) -> None:
    deadline = time.monotonic() + 10
    while not run(as_root(["ip", "netns", "pids", phone.name])).stdout.split():
        assert time.monotonic() < deadline, "the sleeper never started"
        time.sleep(0.05)
