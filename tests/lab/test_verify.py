"""Verification passes on a system that works, and on no other: each part is taken away, and found missing."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from sipstack.paths import COMPOSE_FILE, HOME, ROOT
from tests.lab.fleet import on_this_machine
from tests.lab.system import System

PARTS = ("kamailio", "asterisk", "rtpengine", "postgres")
# After a part has come back, others find it again at their own pace.
HEALED_SECONDS = 240
MINUTE = 60


def verify(system: System, inventory: str = "inventories/lab.py", *arguments: str) -> subprocess.CompletedProcess[str]:
    """`sipstack verify`, as an operator runs it; a minute is all that it may take, whatever is broken."""
    return _run(system, "-m", "sipstack", "verify", inventory, *arguments)


def hardening(system: System) -> subprocess.CompletedProcess[str]:
    """Its checks of what a container and a host may do, without the others."""
    command = "from sipstack.verify import main; raise SystemExit(main('inventories/lab.py', (), ['-k', 'hardening']))"
    return _run(system, "-c", command)


def _run(system: System, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, "SIPSTACK_LAB": system.lab.name, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=on_this_machine(MINUTE),
    )


@contextmanager
def broken(system: System, part: str, fault: str, remedy: str) -> Iterator[None]:
    """The part is stopped or frozen for as long as this lasts; afterwards the system verifies again."""
    system.host.exec("docker", fault, f"vss-{part}")
    try:
        yield
    finally:
        system.host.exec("docker", remedy, f"vss-{part}")
        deadline = time.monotonic() + HEALED_SECONDS
        while (done := verify(system)).returncode and time.monotonic() < deadline:
            pass
    assert done.returncode == 0, done.stdout + done.stderr


def assert_names(done: subprocess.CompletedProcess[str], part: str, state: str) -> None:
    assert done.returncode == 1, done.stdout + done.stderr
    last = done.stdout.rstrip().splitlines()[-1]
    assert last.startswith("NOT verified:"), last
    assert f"vss-{part} on sip1 is {state}" in last, last
    assert sum(f"vss-{other} on" in last for other in PARTS) == 1, f"only {part} is to blame: {last}"
    heading = f"last 20 log lines of vss-{part} on sip1"
    assert done.stdout.count(heading) == 1, done.stdout
    after = done.stdout.partition(heading)[2].splitlines()
    assert len(after) > 2 and after[1].strip(), "its log is shown"


def test_passes(system: System) -> None:
    done = verify(system)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.rstrip().splitlines()[-1].startswith("verified: ")
    assert done.stdout.rstrip().endswith("checks on 1 host")


def test_leaves_no_binding(system: System) -> None:
    bindings = "SELECT ruid FROM location WHERE username IN ('slot_6000', 'slot_7000')"
    before = system.sql(bindings)
    assert verify(system).returncode == 0
    assert [ruid for ruid in system.sql(bindings) if ruid not in before] == []


def test_restarts_nothing(system: System) -> None:
    before = system.started_at()
    assert verify(system).returncode == 0
    assert system.started_at() == before


@pytest.mark.parametrize(
    "part", [part if part in ("kamailio", "postgres") else pytest.param(part, marks=pytest.mark.slow) for part in PARTS]
)
def test_stopped_part(system: System, part: str) -> None:
    with broken(system, part, "stop", "start"):
        assert_names(verify(system), part, "exited")


@pytest.mark.slow
@pytest.mark.parametrize("part", ["kamailio", "postgres"])
def test_frozen_part(system: System, part: str) -> None:
    with broken(system, part, "pause", "unpause"):
        assert_names(verify(system), part, "paused")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("inventories/labb.py",), "no such inventory"),
        (("inventories/lab.py", "--limit", "nothing"), "matches no host"),
    ],
)
def test_nothing_to_verify(system: System, arguments: tuple[str, ...], reason: str) -> None:
    done = verify(system, *arguments)
    assert done.returncode != 0
    lines = (done.stdout + done.stderr).strip().splitlines()
    assert len(lines) == 1 and reason in lines[0], lines


# What no release of ours says. Compose adds lists to those of the release; what it replaces has a tag.
SLOPPY = """
services:
  rtpengine:
    user: "0:0"
    read_only: false
    pids_limit: -1
    security_opt: !override ["seccomp:unconfined"]
    cap_add: [NET_ADMIN]
    environment: {{ LEFT_OVER: "{secret}" }}
    labels: {{ note: "{secret}" }}
    volumes: ["/var/run/docker.sock:/var/run/docker.sock", "/etc:/host/etc"]
"""
COMPOSE = f"docker compose -f {HOME}/{COMPOSE_FILE}"


@contextmanager
def shell(system: System, fault: str, remedy: str) -> Iterator[None]:
    """Something is done on the host, and undone."""
    system.host.exec("sh", "-euc", fault)
    try:
        yield
    finally:
        system.host.exec("sh", "-euc", remedy)


def test_a_container_that_may_do_anything(system: System) -> None:
    secret = json.loads((system.lab.state.folder / "secrets.json").read_text())["postgres_password"]
    write = f"cat > /tmp/sloppy.yml <<'END'\n{SLOPPY.format(secret=secret)}END\n"
    with shell(
        system,
        f"{write}{COMPOSE} -f /tmp/sloppy.yml up -d --wait rtpengine",
        f"rm /tmp/sloppy.yml; {COMPOSE} up -d --wait rtpengine",
    ):
        done = hardening(system)
    assert done.returncode == 1, done.stdout + done.stderr
    for word in (
        "vss-rtpengine on sip1 has processes of root",
        "vss-rtpengine on sip1: its root file system can be written to",
        "vss-rtpengine on sip1 has capabilities (CapEff",
        "vss-rtpengine on sip1 has /etc, /var/run/docker.sock of the host",
        "vss-rtpengine on sip1: a secret is in its environment, labels and command",
    ):
        assert word in done.stdout, word


@pytest.mark.parametrize(
    ("fault", "remedy", "said"),
    [
        (
            "chmod 444 /opt/vss/config/postgres/*/admin_password",
            "chmod 400 /opt/vss/config/postgres/*/admin_password",
            "admin_password has a secret in it and mode 444",
        ),
        (
            "nft flush chain inet vss input",
            "systemctl reload vss-firewall",
            "the firewall's rules are not in force",
        ),
        (
            "nft delete table inet vss_media",
            "systemctl reload vss-firewall",
            "the firewall's rules are not in force",
        ),
        (
            "docker exec -d vss-postgres perl -MIO::Socket -e"
            " '$s = IO::Socket::INET->new(LocalPort => 7777, Listen => 1); sleep 300';"
            " for i in $(seq 50); do ss -Hltn 'sport = :7777' | grep -q . && break; sleep 0.1; done",
            "docker exec vss-postgres pkill perl",
            "vss-postgres on sip1 listens on tcp:0.0.0.0:7777, which nobody asks",
        ),
        (
            "docker exec vss-kamailio sh -c 'echo {secret} >/var/log/kamailio/stray'",
            "docker exec vss-kamailio rm /var/log/kamailio/stray",
            "a secret is in its log files",
        ),
        (
            "t=$(docker inspect -f '{{{{.Config.Image}}}}' vss-rtpengine); docker tag $t vss/rtpengine:real;"
            " docker tag $(docker inspect -f '{{{{.Config.Image}}}}' vss-postgres) $t",
            "docker tag vss/rtpengine:real $(docker inspect -f '{{{{.Config.Image}}}}' vss-rtpengine);"
            " docker image rm vss/rtpengine:real",
            "was given to another image",
        ),
        (
            "nft insert rule inet vss input tcp dport 5432 accept",
            "systemctl reload vss-firewall",
            "the firewall's rules are not in force",
        ),
        (
            "systemctl disable -q vss-firewall",
            "systemctl enable -q vss-firewall",
            "the firewall is another one than the settings ask for",
        ),
    ],
    ids=[
        "secret file",
        "firewall",
        "media",
        "socket",
        "secret in a log",
        "image",
        "opened by hand",
        "firewall at boot",
    ],
)
def test_a_hole(system: System, fault: str, remedy: str, said: str) -> None:
    secret = json.loads((system.lab.state.folder / "secrets.json").read_text())["postgres_password"]
    with shell(system, fault.format(secret=secret), remedy.format()):
        done = hardening(system)
    assert done.returncode == 1, done.stdout + done.stderr
    assert said in done.stdout, done.stdout
    assert done.stdout.rstrip().splitlines()[-1].startswith("NOT verified: 1 of "), done.stdout


@pytest.mark.slow
def test_a_deploy_that_runs_is_told_of_when_something_fails(system: System) -> None:
    hold = "exec 9>>/run/vss-deploy.lock; flock 9; echo root@ops1 since now >/run/vss-deploy.lock; sleep 61"
    with broken(system, "asterisk", "stop", "start"):
        system.host.exec("sh", "-c", f"setsid sh -c '{hold}' >/dev/null 2>&1 & sleep 0.5")
        try:
            said = verify(system).stdout
        finally:
            system.host.exec("pkill", "-f", "sleep 6[1]")
        assert "sip1: a deploy runs, which restarts what is proved here: root@ops1 since now" in said
