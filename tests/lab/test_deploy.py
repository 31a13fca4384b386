"""What a run changes on a host that is deployed already: nothing without need, and only what reads what has changed."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sipstack.paths import COMPOSE_FILE, HOME
from tests.lab.inventories import entry, pyinfra, write_inventory
from tests.lab.system import System

ALL = {"vss-postgres", "vss-rtpengine", "vss-asterisk", "vss-kamailio"}


@pytest.fixture(autouse=True, scope="module")
def back_to_the_defaults(system: System) -> Iterator[None]:
    yield
    system.deploy()


def restarted(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def changes(system: System, **data: Any) -> list[str]:
    """The operations that --dry announces as changes."""
    settings = [bit for key, value in data.items() for bit in ("--data", f"{key}={json.dumps(value)}")]
    done = system.pyinfra("deploy.py", "--dry", "--json", *settings)
    assert done.returncode == 0, done.stdout + done.stderr
    return [operation["name"] for operation in json.loads(done.stdout)["plan"] if operation["hosts_with_change"]]


def test_a_second_run_changes_nothing(system: System) -> None:
    system.deploy()
    before = system.started_at()
    assert changes(system) == []
    output = system.deploy()
    assert "[sip1] Success" not in output
    assert "[sip1] No changes" in output
    assert system.started_at() == before


def test_a_change_restarts_only_what_reads_it(system: System) -> None:
    system.deploy()
    settings: dict[str, Any] = {}
    for change, expected, why in (
        ({"kamailio_debug": 2}, {"vss-kamailio"}, "vss-kamailio restarts: KAMAILIO_DEBUG 3 -> 2"),
        ({"rtp_port_max": 39000}, {"vss-rtpengine"}, "vss-rtpengine restarts: etc/rtpengine.conf changed"),
        ({"asterisk_rtp_port_max": 29000}, {"vss-asterisk"}, "vss-asterisk restarts: etc/rtp.conf changed"),
        ({"gateways": ["203.0.113.9:5060"]}, set(), "Gateways: add sip:203.0.113.9:5060"),
        ({"slots_auto": ["6001-6010", 6050]}, set(), "1 added, 0 changed, 0 removed"),
        ({"log_mb": 11}, ALL, "vss-postgres restarts: max-size 10m -> 11m"),
    ):
        settings |= change
        before = system.started_at()
        output = system.deploy(**settings)
        assert restarted(before, system.started_at()) == expected, change
        assert why in output
    assert changes(system, **settings) == []


def test_a_new_slot_registers_at_once_and_a_removed_one_no_more(system: System) -> None:
    system.deploy()
    before = system.started_at()
    system.deploy(slots_auto=["6001-6010", 6051])
    with system.phone(6051) as phone:
        phone.register(check=True)
    output = system.deploy()
    assert "0 added, 0 changed, 1 removed" in output
    # The proxy had the password in its memory.
    with system.phone(6051) as phone:
        assert phone.register() in (401, 403, 404)
    assert system.started_at() == before


def test_dry_says_what_would_change_and_why_and_changes_nothing(system: System) -> None:
    system.deploy()
    listing = ("sh", "-c", f"find {HOME} | sort; readlink {HOME}/*.yml; docker ps -a --no-trunc")
    before = system.host.exec(*listing).stdout
    done = system.pyinfra("deploy.py", "--dry", "--data", "kamailio_children=5", "--data", "slots_mf=[7001]")
    assert done.returncode == 0
    assert "vss-kamailio restarts: KAMAILIO_CHILDREN 4 -> 5" in done.stderr
    assert "Subscribers: 0 added, 0 changed, 19 removed" in done.stderr
    assert system.host.exec(*listing).stdout.split("CONTAINER")[0] == before.split("CONTAINER")[0]
    assert system.sql("SELECT count(*) FROM subscriber WHERE username LIKE 'slot_70__'") == [["21"]]


def test_removing_most_slots_is_refused_before_anything_changes(system: System) -> None:
    system.deploy()
    started = system.started_at()
    nearly_none = ("--data", "slots_auto=[6001]", "--data", "slots_mf=[]", "--data", "slots_ls=[]")
    done = system.pyinfra("deploy.py", "-y", *nearly_none, "--data", "kamailio_debug=4")
    assert done.returncode == 1
    assert "39 of the 42 users of vss.internal would be removed" in done.stderr
    assert "set slots_allow_mass_removal" in done.stderr
    assert system.started_at() == started
    assert changes(system) == []


def test_a_file_edited_by_hand_is_put_right_and_what_read_it_restarts(system: System) -> None:
    system.deploy()
    before = system.started_at()
    mounts = "{{range .Mounts}}{{.Source}} {{end}}"
    sources = system.host.exec("docker", "inspect", "-f", mounts, "vss-kamailio").stdout.split()
    values = next(path for path in sources if path.endswith("/etc")) + "/values.cfg"
    system.host.exec("sed", "-i", "s/^#!define REGISTER_MIN .*/#!define REGISTER_MIN 61/", values)
    output = system.deploy()
    assert f"{values} was changed by hand and is put right" in output
    assert "vss-kamailio restarts: etc/values.cfg was changed by hand" in output
    assert restarted(before, system.started_at()) == {"vss-kamailio"}
    assert "REGISTER_MIN 60" in system.host.exec("cat", values).stdout
    assert changes(system) == []


def test_a_service_that_read_an_edited_file_restarts_even_if_the_file_was_put_right_since(system: System) -> None:
    # As when a run ends between putting the files right and restarting what reads them.
    system.deploy()
    before = system.started_at()
    system.host.exec("sh", "-c", f"touch {HOME}/config/rtpengine/*/etc/rtpengine.conf")
    output = system.deploy()
    assert "vss-rtpengine restarts: its files were put right after it started" in output
    assert restarted(before, system.started_at()) == {"vss-rtpengine"}
    assert changes(system) == []


def test_containers_that_were_stopped_or_removed_come_back(system: System) -> None:
    system.deploy()
    before = system.started_at()
    system.host.exec("docker", "rm", "-f", "vss-rtpengine")
    system.host.exec("docker", "stop", "vss-asterisk")
    output = system.deploy()
    assert "vss-rtpengine starts: not there yet" in output
    assert "vss-asterisk restarts: it is exited" in output
    assert restarted(before, system.started_at()) == {"vss-rtpengine", "vss-asterisk"}
    assert changes(system) == []


def test_a_service_that_does_not_start_fails_the_run_with_its_log(system: System) -> None:
    system.deploy()
    tag = system.host.exec("docker", "inspect", "-f", "{{.Config.Image}}", "vss-rtpengine").stdout.strip()
    system.host.exec("docker", "tag", tag, "kept:rtpengine")
    broken = f'FROM {tag}\nENTRYPOINT ["sh", "-c", "echo the dog ate the interface >&2; exit 3"]\n'
    try:
        system.host.exec("docker", "build", "-q", "-t", tag, "-", stdin=broken)
        done = system.pyinfra("deploy.py", "-y", "--data", "rtp_port_max=38000")
        assert done.returncode == 1
        assert "the dog ate the interface" in done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr
    finally:
        system.host.exec("docker", "tag", "kept:rtpengine", tag)
    system.deploy()
    assert "vss-rtpengine" in system.started_at()


def test_a_user_with_sudo_can_deploy(system: System, tmp_path: Path) -> None:
    system.deploy()
    system.host.exec(
        "sh", "-euc",
        "command -v sudo >/dev/null || { apt-get -q update; apt-get -qy install sudo; }; "
        "id clerk 2>/dev/null || useradd -m clerk; echo 'clerk ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/clerk; "
        "install -d -m 700 -o clerk /home/clerk/.ssh; "
        "install -m 600 -o clerk /root/.ssh/authorized_keys /home/clerk/.ssh/authorized_keys",
    )  # fmt: skip
    path = tmp_path / "clerks.py"
    write_inventory(path, entry(system.lab, system.host, ssh_user="clerk", _sudo=True))
    before = system.started_at()
    done = pyinfra(path, "deploy.py", "-y", "--data", "kamailio_debug=2", "--data", 'slots_auto=["6001-6009"]')
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 added, 0 changed, 1 removed" in done.stderr
    assert restarted(before, system.started_at()) == {"vss-kamailio"}
    assert system.host.exec("find", "/tmp", "-user", "clerk").stdout == ""


def test_a_start_by_hand_after_a_deploy_restarts_nothing(system: System) -> None:
    system.deploy(kamailio_debug=2)
    before = system.started_at()
    system.host.exec("docker", "compose", "-f", f"{HOME}/{COMPOSE_FILE}", "up", "-d", "kamailio")
    system.host.exec("docker", "compose", "-f", f"{HOME}/{COMPOSE_FILE}", "up", "-d")
    assert system.started_at() == before
    system.deploy()
