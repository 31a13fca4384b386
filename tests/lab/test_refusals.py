"""What the deploy refuses, on a host that has nothing yet: one line that says what to do, and the host as it was."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from shutil import rmtree
from typing import Any

import pytest

from sipstack.lab.hosts import GROUPS, Lab
from sipstack.lab.machine import LabHost
from sipstack.paths import STATE
from tests.lab.inventories import entry, pyinfra, write_inventory


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    lab = Lab(f"{os.environ.get('SIPSTACK_TEST_LAB', 'test')}2")
    yield lab
    lab.down()


@pytest.fixture(scope="module")
def fresh(lab: Lab) -> LabHost:
    return lab.up(["fresh1"])[0]


@pytest.fixture
def inventory(lab: Lab, fresh: LabHost, tmp_path: Path) -> Path:
    return write_inventory(tmp_path / "fresh.py", entry(lab, fresh))


def refused(inventory: Path | str, *arguments: str, **env: str) -> str:
    """The one line that a refused deploy ends with."""
    done = pyinfra(inventory, "deploy.py", "-y", *arguments, env=env)
    return last_line(done)


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    output = done.stdout + done.stderr
    assert done.returncode == 1, output
    assert "Traceback" not in output
    assert "Beginning operation run" not in output
    return [line for line in output.splitlines() if line.strip()][-1]


@pytest.fixture
def untouched(fresh: LabHost) -> Iterator[None]:
    """Nothing of a deploy is on the host after the test."""
    yield
    look = "ls -d /opt/vss /usr/bin/dockerd /usr/sbin/dockerd /var/lib/apt/lists/*_* 2>/dev/null || true"
    assert fresh.exec("sh", "-c", look).stdout == ""


# More than any machine has that this runs on.
NO_ROOM = "disk_free_gb=1000000"

pytestmark = pytest.mark.usefixtures("untouched")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("sip_prot=5060", "fresh1: unknown setting sip_prot: did you mean sip_port?"),
        ("sip_port=70000", "fresh1: sip_port = 70000: write 65535 or less"),
        ('sip_port="5060"', "fresh1: sip_port = '5060': write a whole number, without quotes"),
        ('slots_auto=["6001-6010", 6005]', "slots of kind AUTO: 6005 is in 6001-6010 and again in 6005: write it once"),
        ("slots_mf=[6500]", "slots of kind MF: 6500 is of kind AUTO, not MF"),
        ("slots_ls=[9000]", "slots of kind LS: 9000 is outside the numbering plan"),
        ('gateways=["192.0.2.300:5060"]', "'192.0.2.300:5060' is not address:port: write it as 192.0.2.10:5060"),
        ('call_outside_pattern="^\\"$"', "without quotes, spaces and backslashes"),
        ("postgres_host=192.0.2.7", "postgres_host is 192.0.2.7 and group databases has fresh1: keep one of the two"),
        ("slots_csv=no/such.csv", "no/such.csv: cannot read the slots"),
        (NO_ROOM, "1000000 are needed: make room, or lower disk_free_gb"),
    ],
)
def test_bad_settings(inventory: Path, data: str, message: str) -> None:
    assert message in refused(inventory, "--data", data)


def test_an_empty_secret(inventory: Path) -> None:
    line = refused(inventory, SIPSTACK_SECRET_AUTH_SECRET="")
    assert "SIPSTACK_SECRET_AUTH_SECRET is empty: give it one line of printable text, or remove it" in line


def test_a_broken_line_of_the_csv_is_named_and_its_password_is_not(inventory: Path, tmp_path: Path) -> None:
    file = tmp_path / "slots.csv"
    file.write_text('number,password\n6100,long-enough-1\n6101,"never closed\n6100,long-enough-2\n')
    line = refused(inventory, "--data", f"slots_csv={file}")
    assert "slots.csv: line 3: a quote is not closed" in line
    assert "line 4: 6100 is already in line 2" in line
    assert "never" not in line and "long-enough" not in line


def test_a_database_of_ones_own_needs_its_passwords(lab: Lab, fresh: LabHost, tmp_path: Path) -> None:
    roles = ("media", "pbx", "proxies")
    path = write_inventory(tmp_path / "own.py", entry(lab, fresh, state=f"{lab.name}-own"), groups=roles)
    try:
        line = refused(path, "--data", "postgres_host=192.0.2.7")
    finally:
        rmtree(STATE / f"{lab.name}-own", ignore_errors=True)
    assert "secret postgres_password is missing: set the environment variable SIPSTACK_SECRET_POSTGRES_PASSWORD" in line


@pytest.fixture
def port_5060_taken(fresh: LabHost) -> Iterator[None]:
    command = ["systemd-run", "--unit=taker", "systemd-socket-activate", "--listen=5060", "cat"]
    fresh.exec(*command)
    fresh.exec("sh", "-c", "until ss -Hlnt | grep -q :5060; do sleep 0.1; done", timeout=10)
    yield
    fresh.exec("systemctl", "stop", "taker")


@pytest.fixture
def another_system(fresh: LabHost) -> Iterator[None]:
    fresh.exec(
        "sh", "-c", "cp /usr/lib/os-release /tmp/kept; sed -i 's/^VERSION_ID=.*/VERSION_ID=12/' /usr/lib/os-release"
    )
    yield
    fresh.exec("sh", "-c", "cat /tmp/kept > /usr/lib/os-release")


def test_everything_that_is_wrong_with_a_host_is_said_at_once(
    inventory: Path, port_5060_taken: None, another_system: None
) -> None:
    line = refused(inventory, "--data", NO_ROOM)
    assert "fresh1: debian 12 is not supported: use Debian 13, or any system that has Docker with the compose" in line
    assert "GB of disk are free, 1000000 are needed" in line
    assert "port 5060/tcp is taken by systemd-socket-" in line and "stop it, or set sip_port" in line


def test_a_user_without_root(lab: Lab, fresh: LabHost, tmp_path: Path) -> None:
    fresh.exec(
        "sh", "-euc",
        "id plain >/dev/null 2>&1 || useradd -m plain; install -d -m 700 -o plain /home/plain/.ssh; "
        "install -m 600 -o plain /root/.ssh/authorized_keys /home/plain/.ssh/authorized_keys",
    )  # fmt: skip
    plain = write_inventory(tmp_path / "plain.py", entry(lab, fresh, ssh_user="plain"))
    assert "fresh1: not root: connect as root, or set _sudo = True for this host" in refused(plain)
    # There is no sudo on the host either.
    sudo = write_inventory(tmp_path / "sudo.py", entry(lab, fresh, ssh_user="plain", _sudo=True))
    done = pyinfra(sudo, "deploy.py", "-y")
    last_line(done)
    assert "[fresh1] " in done.stderr and "sudo" in done.stderr


def pair(lab: Lab, fresh: LabHost, path: Path, second: tuple[str, dict[str, Any]]) -> Path:
    """An inventory of the fresh host, in all groups, and a second one beside it."""
    path.write_text("".join(f"{group} = {[entry(lab, fresh)]!r}\n" for group in GROUPS) + f"media.append({second!r})\n")
    return path


def test_a_host_that_cannot_be_reached_stops_the_others(lab: Lab, fresh: LabHost, tmp_path: Path) -> None:
    away = entry(lab, fresh, ssh_hostname="127.0.0.1", ssh_port=9, address="192.0.2.77")[1]
    done = pyinfra(pair(lab, fresh, tmp_path / "pair.py", ("gone1", away)), "deploy.py", "-y")
    last_line(done)
    assert "[gone1]" in done.stdout + done.stderr


def test_each_host_that_is_refused_has_a_line(lab: Lab, fresh: LabHost, tmp_path: Path) -> None:
    second = next(host for host in lab.up(["fresh2"]) if host.name == "fresh2")
    path = pair(lab, fresh, tmp_path / "pair.py", entry(lab, second))
    done = pyinfra(path, "deploy.py", "-y", "--data", NO_ROOM)
    assert done.returncode == 1
    said = [line for line in done.stderr.splitlines() if "GB of disk are free" in line]
    assert len(said) == 2, done.stderr
    assert "fresh1: " in said[0] and "fresh2: " in said[1]


def test_a_machine_under_two_names(lab: Lab, fresh: LabHost, tmp_path: Path) -> None:
    twin = ("twin", {**entry(lab, fresh)[1], "address": "192.0.2.77"})
    line = refused(pair(lab, fresh, tmp_path / "pair.py", twin))
    assert "twin: this machine is in the inventory under another name too: list it once" in line


@pytest.mark.parametrize("operation", [("deploy.py", "-y"), ("exec", "--", "true"), ("fact", "server.Hostname")])
def test_no_hosts(inventory: Path, tmp_path: Path, operation: tuple[str, ...]) -> None:
    # Before any of it, for what follows `--` is the command.
    done = pyinfra(inventory, "--limit", "nothing", *operation)
    assert "--limit or --exclude leaves no host" in last_line(done)
    done = pyinfra("inventories/lob.py", *operation)
    assert "no inventory inventories/lob.py: did you mean inventories/lab.py?" in last_line(done)
    path = write_inventory(tmp_path / "empty.py")
    assert "no hosts in" in last_line(pyinfra(path, *operation))


def test_pyinfras_own_verbs_still_work(inventory: Path) -> None:
    assert pyinfra(inventory, "exec", "--", "hostname").returncode == 0
    assert '"fresh1"' in pyinfra(inventory, "debug-inventory", "--json").stdout
    assert '"fresh1": "fresh1"' in pyinfra(inventory, "fact", "server.Hostname").stderr
