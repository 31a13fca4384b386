"""A rehearsal plays an inventory as it is: its names and addresses lead to lab hosts, and nothing leads elsewhere."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sipstack.errors import OperatorError
from sipstack.lab.hosts import LabHost
from sipstack.lab.namespaces import FILES
from sipstack.lab.outside import Outside
from sipstack.lab.shell import as_root, run
from sipstack.paths import ROOT
from sipstack.rehearsal.stage import Rehearsal
from tests.lab.test_lab import LOOK, look, mirror_on

ALL = "proxies = databases = media = pbx = "
FLEET = f"""
{ALL}[
    ("sip1.example.net", {{
        "ssh_user": "root", "ssh_key": "/nowhere/key", "ssh_known_hosts_file": "/nowhere/known_hosts",
        # pragma: allowlist nextline secret
        "ssh_config_file": "/nowhere/config", "ssh_password": "wrong", "address": "192.0.2.10",
        # pragma: allowlist nextline secret
        "state": "rehtestreal", "secrets_file": "nowhere.age",
    }}),
    ("sip2.example.net", {{
        "ssh_user": "debian", "ssh_port": 2222, "ssh_hostname": "203.0.113.9", "_sudo": True, "address": "192.0.2.11",
        # pragma: allowlist nextline secret
        "state": "rehtestreal", "secrets_file": "nowhere.age",
    }}),
    # pragma: allowlist nextline secret
    ("plain", {{"ssh_hostname": "jump.example.org", "state": "rehtestreal", "secrets_file": "nowhere.age"}}),
]
"""
# What verification does to get to a host: OpenSSH, as the inventory has it.
VERIFY = """
import sys
from sipstack import inventory
from sipstack.ssh import Connections
_, raw = inventory.read(sys.argv[1])
with Connections((name, data) for name, _, data in raw) as connections:
    for name, _, _ in raw:
        print(name, connections.run(name, "id -un; echo $SSH_CONNECTION | cut -d' ' -f3-").stdout.split())
"""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rehearsal]:
    file = tmp_path_factory.mktemp("inventories") / "rehtest.py"
    file.write_text(FLEET)
    rehearsal = Rehearsal(file)
    rehearsal.down()  # of a run that was killed
    rehearsal.up()
    yield rehearsal
    rehearsal.down()


def at_desk(rehearsal: Rehearsal, *command: str) -> subprocess.CompletedProcess[str]:
    argv = [*rehearsal.exec_prefix, *command]
    environment = {**rehearsal.environment, "PYTHONPATH": str(ROOT)}
    return subprocess.run(argv, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=120)


def pyinfra(rehearsal: Rehearsal, *arguments: str) -> str:
    """What pyinfra prints; hosts' output is on its stderr."""
    done = at_desk(rehearsal, "pyinfra", str(rehearsal.inventory), *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout if "--json" in arguments else done.stderr


def host(rehearsal: Rehearsal, name: str) -> LabHost:
    return next(host for host in rehearsal.lab.hosts() if host.name == name)


def seen_by(target: LabHost, address: str, source: LabHost) -> str:
    """The address that `target`, asked at `address`, sees `source` come from."""
    pid = run(["docker", "inspect", "--format", "{{.State.Pid}}", source.container]).stdout.strip()
    with mirror_on(target):
        enter = as_root(["nsenter", "--target", pid, "--net"])
        return run([*enter, sys.executable, "-c", LOOK, address, "0", "7001"], timeout=30).stdout.split()[0]


def test_the_unchanged_inventory_leads_to_the_hosts(fleet: Rehearsal) -> None:
    shown = pyinfra(fleet, "-y", "exec", "--", "echo $(uname -n) $(id -un)")
    for name in ("sip1.example.net", "sip2.example.net", "plain"):
        assert f"{name} root\n" in shown


def test_verification_gets_there_too(fleet: Rehearsal) -> None:
    shown = at_desk(fleet, sys.executable, "-c", VERIFY, str(fleet.inventory))
    assert shown.returncode == 0, shown.stderr
    assert "sip1.example.net ['root', '192.0.2.10', '22']" in shown.stdout
    assert "sip2.example.net ['root']" in shown.stdout  # through sudo, which drops SSH_CONNECTION
    assert f"plain ['root', '{host(fleet, 'plain').address}', '22']" in shown.stdout


def test_the_port_and_the_user_are_the_inventorys(fleet: Rehearsal) -> None:
    config = fleet.lab.state.folder / "rehearsal_ssh_config"
    done = at_desk(fleet, "ssh", "-F", str(config), "203.0.113.9", "id -un; echo $SSH_CONNECTION")
    assert done.stdout.split()[0] == "debian", done.stderr
    assert done.stdout.endswith("203.0.113.9 2222\n")


def test_hosts_see_the_inventorys_addresses(fleet: Rehearsal) -> None:
    sip1, sip2, plain = (host(fleet, name) for name in ("sip1.example.net", "sip2.example.net", "plain"))
    assert seen_by(sip2, "192.0.2.11", source=sip1) == "192.0.2.10"
    assert seen_by(sip1, "192.0.2.10", source=sip2) == "192.0.2.11"
    assert seen_by(sip1, "192.0.2.10", source=plain) == plain.address
    assert seen_by(plain, plain.address, source=sip1) == "192.0.2.10"
    assert "192.0.2.10" in sip2.ssh("getent hosts sip1.example.net").stdout
    assert "192.0.2.11" in plain.ssh("getent hosts sip2").stdout


def test_phones_reach_the_inventorys_addresses(fleet: Rehearsal) -> None:
    sip1 = host(fleet, "sip1.example.net")
    played = LabHost(sip1.lab, sip1.name, "192.0.2.10", sip1.container)
    with Outside(fleet.lab) as outside, mirror_on(sip1):
        for phone in (outside.public("anna"), outside.behind_nat("bert")):
            assert look(phone, played, 7001)[0][0] == phone.public_address


def test_addresses_survive_a_power_cut(fleet: Rehearsal) -> None:
    sip2 = host(fleet, "sip2.example.net")
    sip2.kill()
    sip2.start()
    assert seen_by(host(fleet, "sip1.example.net"), "192.0.2.10", source=sip2) == "192.0.2.11"
    assert sip2.ssh("ss -Hltn sport = 2222").stdout
    pyinfra(fleet, "-y", "--limit", "sip2.example.net", "exec", "--", "true")


def test_the_desk_reaches_the_lab_only(fleet: Rehearsal) -> None:
    routes = json.loads(at_desk(fleet, "ip", "-json", "route").stdout)
    assert routes and not any("gateway" in route for route in routes)
    for elsewhere in ("192.0.2.1", "203.0.113.8", "8.8.8.8", "10.0.0.1"):
        assert at_desk(fleet, "ip", "route", "get", elsewhere).returncode != 0
    assert at_desk(fleet, "ip", "-6", "route", "get", "2001:db8::1").returncode != 0
    assert at_desk(fleet, "getent", "ahostsv4", "sip3.example.net").returncode != 0
    assert at_desk(fleet, "cat", "/etc/resolv.conf").stdout == ""


def test_a_host_that_is_down_is_not_looked_for_elsewhere(fleet: Rehearsal) -> None:
    sip1, plain = host(fleet, "sip1.example.net"), host(fleet, "plain")
    sip1.kill()
    try:
        for way in (at_desk(fleet, "ip", "route", "get", "192.0.2.10").stdout, plain.ssh("ip r get 192.0.2.10").stdout):
            assert "via" not in way and "dev eth0" in way
    finally:
        sip1.start()


def test_a_real_address_is_not_used_outside_of_the_lab(fleet: Rehearsal) -> None:
    sip1 = host(fleet, "sip1.example.net")
    for elsewhere in ("8.8.8.8", fleet.lab.network.gateway):
        assert sip1.ssh(f"ip route get {elsewhere} from 192.0.2.10", check=False).returncode != 0
    # Packages come by the lab's own address.
    assert f"src {sip1.address} " in sip1.ssh("ip route get 8.8.8.8").stdout


def test_secrets_are_the_rehearsals(fleet: Rehearsal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIPSTACK_SECRET_AUTH_SECRET", "real")
    monkeypatch.setenv("SSH_AUTH_SOCK", "/nowhere/agent")
    assert "SECRET" not in at_desk(fleet, "env").stdout
    assert "SSH_AUTH_SOCK" not in at_desk(fleet, "env").stdout
    shown = pyinfra(fleet, "--data", "state=prod", "debug-inventory", "--json")
    for one in json.loads(shown):
        assert one["data"]["state"] == fleet.lab.state.folder.name
        assert one["data"]["secrets_file"] == one["data"]["ssh_password"] == ""
    assert not (ROOT / ".state" / "rehtestreal").exists()


def test_its_mode_is_refused_elsewhere(fleet: Rehearsal) -> None:
    argv = [sys.executable, "-m", "pyinfra", str(fleet.inventory), "-y", "exec", "--", "true"]
    done = subprocess.run(argv, env=fleet.environment, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert "not its network" in done.stderr and "Connecting" not in done.stderr


def test_the_lab_inventory_reaches_the_hosts_from_outside(fleet: Rehearsal) -> None:
    argv = [sys.executable, "-m", "pyinfra", "inventories/lab.py", "-y", "exec", "--", "uname -n"]
    done = run(argv, env={"SIPSTACK_LAB": fleet.lab.name}, timeout=60)
    assert "[sip1.example.net] sip1.example.net" in done.stderr


def test_a_second_rehearsal_uses_what_is_up(fleet: Rehearsal, tmp_path: Path) -> None:
    what = "{{.Id}} {{.State.StartedAt}} {{.State.Pid}}"
    before = [run(["docker", "inspect", "--format", what, one.container]).stdout for one in fleet.lab.hosts()]
    Rehearsal(fleet.inventory).up()
    assert before == [run(["docker", "inspect", "--format", what, one.container]).stdout for one in fleet.lab.hosts()]
    other = tmp_path / fleet.inventory.name
    other.write_text(FLEET)
    with pytest.raises(OperatorError, match=r"rehtest\.py, and would play .* --down"):
        Rehearsal(other).up()


def test_a_host_that_has_changed_is_refused(fleet: Rehearsal) -> None:
    fleet.inventory.write_text(FLEET.replace("192.0.2.11", "192.0.2.12"))
    try:
        with pytest.raises(OperatorError, match=r"sip2\.example\.net is up and has changed .* --down"):
            Rehearsal(fleet.inventory).up()
    finally:
        fleet.inventory.write_text(FLEET)


def test_down_leaves_nothing(tmp_path: Path) -> None:
    file = tmp_path / "rehgone.py"
    file.write_text(f'{ALL}["192.0.2.20"]\n')
    rehearsal = Rehearsal(file)
    rehearsal.down()  # of a run that was killed
    rehearsal.up()
    assert at_desk(rehearsal, "pyinfra", str(file), "-y", "exec", "--", "true").returncode == 0
    assert (FILES / rehearsal.desk / "hosts").exists()
    rehearsal.down()
    assert not (FILES / rehearsal.desk).exists()
    assert not rehearsal.lab.state.folder.exists()
    assert rehearsal.desk not in run(["ip", "netns", "list"]).stdout
    for kind in ("container", "volume", "network"):
        everything = ["--all"] if kind == "container" else []
        listed = run(["docker", kind, "ls", *everything, "--quiet", "--filter", f"label={rehearsal.lab.label}"])
        assert listed.stdout == "", kind
    with pytest.raises(OperatorError, match="not on stage"):
        _ = rehearsal.exec_prefix
