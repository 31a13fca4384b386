"""Of two deploys at once one wins. Runs here take the lock as deploy.py does, then wait for a file to appear."""

import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sipstack import lock
from sipstack.errors import OperatorError
from sipstack.lab.hosts import Lab
from sipstack.lab.machine import LabHost
from sipstack.paths import ROOT
from tests.lab.inventories import entry

# The lease is what a test waits for; a run waits in an operation, as a real one builds images.
DEPLOY = """
import time
from pathlib import Path
from sipstack import lock
lock.LEASE_SECONDS = {lease}
from pyinfra import host
from pyinfra.operations import python, server
from sipstack.deploys.exclusive import exclusive

def wait():
    Path({folder!r}, "started").touch()
    while not Path({folder!r}, "go").exists():
        time.sleep(0.1)

exclusive()
server.shell(name="First", commands=["true"])
python.call(name="Wait", function=wait)
python.call(name="Last", function=Path({folder!r}, "done").touch)
"""
LEASE = 4.0
HELD = r"\w+@\S+ \(pid \d+\) with \S+\.py since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC: wait for its end"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    # Not the lab of the one host, also where that is kept: three would be deployed there from then on.
    lab = Lab(f"{os.environ.get('SIPSTACK_TEST_LAB', 'test')}3")
    lab.up(["sip1", "sip2", "sip3"])
    yield lab
    lab.down()


@dataclass
class Run:
    """A pyinfra run of the deploy above, of its own folder."""

    folder: Path
    process: subprocess.Popen[str]

    def await_wait(self) -> None:
        """Until it has the lock and is in the middle of its work."""
        self.await_(lambda: (self.folder / "started").exists())

    def await_(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 30
        while not condition():
            assert self.process.poll() is None, self.end()
            assert time.monotonic() < deadline, "the run does not get on"
            time.sleep(0.05)

    @property
    def done(self) -> bool:
        """Whether it came to its last operation."""
        return (self.folder / "done").exists()

    def go(self) -> None:
        (self.folder / "go").touch()

    def end(self) -> str:
        """What it has printed, once it is over."""
        return self.process.communicate(timeout=60)[0]


Start = Callable[..., Run]


@pytest.fixture
def start(lab: Lab, tmp_path: Path) -> Iterator[Start]:
    """Start a run; its arguments are pyinfra's. It is ended with the test."""
    runs: list[Run] = []

    def make(*arguments: str, lease: float = LEASE, stdin: int = subprocess.DEVNULL, file: Path | None = None) -> Run:
        folder = tmp_path / str(len(runs))
        folder.mkdir()
        deploy = folder / "deploy.py"
        deploy.write_text(DEPLOY.format(lease=lease, folder=str(folder)))
        pyinfra = str(Path(sys.executable).parent / "pyinfra")
        process = subprocess.Popen(
            [pyinfra, str(file or fleet(lab, tmp_path)), str(deploy), *arguments],
            cwd=ROOT,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        runs.append(Run(folder, process))
        return runs[-1]

    yield make
    for run in runs:
        run.process.kill()
        run.process.communicate()


def fleet(lab: Lab, folder: Path, **data: object) -> Path:
    """sip1 has the database, so it is the anchor; sip2 is the proxy; sip3 has the rest."""
    sip1, sip2, sip3 = (entry(lab, host, **data) for host in lab.hosts())
    file = folder / "fleet.py"
    file.write_text(f"databases = [{sip1!r}]\nproxies = [{sip2!r}]\nmedia = pbx = [{sip3!r}]\n")
    return file


def is_free(host: LabHost) -> bool:
    """Whether no holder runs. Looked up, not tried: a lock that a test takes for a moment would refuse a run."""
    look = f"readlink /proc/[0-9]*/fd/9 | grep -qxF {lock.LOCK_FILE}"
    return host.exec("sh", "-c", look, check=False).returncode == 1


def await_free(lab: Lab, within: float) -> float:
    """Seconds until the lock of every host is free."""
    began = time.monotonic()
    while not all(map(is_free, lab.hosts())):
        assert time.monotonic() < began + within, f"not free within {within} s"
        time.sleep(0.05)
    return time.monotonic() - began


def test_one_wins_and_the_other_names_it(lab: Lab, start: Start) -> None:
    first = start("-y")
    first.await_wait()
    second = start("-y")
    said = second.end()
    assert second.process.returncode == 1
    assert re.search(rf"sip1: another deploy runs: {HELD}", said), said
    assert f"(pid {first.process.pid})" in said
    assert "Traceback" not in said
    assert said.count("another deploy runs") == 1
    first.go()
    assert first.process.wait(30) == 0, first.end()
    assert first.done
    assert not second.done
    await_free(lab, within=3)


def test_two_that_start_together_do_not_both_lose(start: Start) -> None:
    runs = [start("-y"), start("-y")]
    for run in runs:
        run.go()
    said = [run.end() for run in runs]
    won = [run.process.returncode == 0 for run in runs]
    assert any(won), said
    assert all(won) or "another deploy runs" in said[won.index(False)]  # the slower may have come after the faster


def test_a_killed_run_frees_its_hosts_at_once(lab: Lab, start: Start) -> None:
    first = start("-y", lease=60)
    first.await_wait()
    assert not any(map(is_free, lab.hosts()))
    first.process.kill()
    assert await_free(lab, within=3) < 3
    second = start("-y")
    second.go()
    assert second.process.wait(30) == 0, second.end()


def test_a_frozen_run_loses_its_lock_and_does_not_go_on(lab: Lab, start: Start) -> None:
    first = start("-y")
    first.await_wait()
    time.sleep(2 * LEASE)
    assert not any(map(is_free, lab.hosts())), "heartbeats keep it"
    first.process.send_signal(signal.SIGSTOP)
    await_free(lab, within=LEASE + 2)
    second = start("-y")
    second.go()
    assert second.process.wait(30) == 0, second.end()
    first.go()
    first.process.send_signal(signal.SIGCONT)
    said = first.end()
    assert first.process.returncode == 1
    assert "sip1, sip2, sip3: the deploy lock is lost" in said
    assert "Traceback" not in said
    assert not first.done


def test_an_operator_who_thinks_it_over_keeps_the_lock(lab: Lab, start: Start) -> None:
    ours, terminal = pty.openpty()
    run = start(stdin=terminal)
    run.go()
    run.await_(lambda: not is_free(lab.hosts()[2]))
    time.sleep(3 * LEASE)
    assert not any(map(is_free, lab.hosts()))
    os.write(ours, b"\n")
    assert run.process.wait(30) == 0, run.end()
    leaves = start(stdin=terminal, lease=60)
    leaves.await_(lambda: not is_free(lab.hosts()[2]))
    time.sleep(1)
    leaves.process.send_signal(signal.SIGINT)
    leaves.process.wait(5)
    await_free(lab, within=3)
    os.close(ours)
    os.close(terminal)


@pytest.mark.parametrize("looks", [("--dry",), ("--json",), ("--debug-operations",), ("--dry", "-y")])
def test_a_run_that_only_looks_takes_no_lock(start: Start, looks: tuple[str, ...]) -> None:
    first = start("-y", lease=60)
    first.await_wait()
    other = start(*looks)
    assert other.process.wait(30) == 0, other.end()


def test_disjoint_runs_meet_at_the_anchor(lab: Lab, start: Start) -> None:
    first = start("-y", "--limit", "sip2")
    first.await_wait()
    assert [is_free(host) for host in lab.hosts()] == [False, False, True]
    second = start("-y", "--limit", "sip3")
    assert re.search(rf"sip1: another deploy runs: {HELD}", second.end())
    assert second.process.returncode == 1
    assert is_free(lab.hosts()[2])


def test_an_anchor_out_of_reach_is_a_warning(lab: Lab, start: Start) -> None:
    anchor = lab.hosts()[0]
    anchor.kill()
    try:
        run = start("-y", "--limit", "sip2")
        run.go()
        said = run.end()
    finally:
        anchor.start()
    assert run.process.returncode == 0, said
    assert "sip1 cannot be reached" in said


def test_users_with_sudo_meet_root(lab: Lab, start: Start, tmp_path: Path) -> None:
    for host in lab.hosts():
        host.exec("sh", "-euc", USER, timeout=120)
    users = fleet(lab, tmp_path / "..", ssh_user="ops", _sudo=True)
    first = start("-y", file=users, lease=60)
    first.await_wait()
    assert "another deploy runs" in start("-y").end()
    first.process.kill()
    await_free(lab, within=3)
    root = start("-y")
    root.await_wait()
    assert "another deploy runs" in start("-y", file=users).end()
    plain = fleet(lab, tmp_path, ssh_user="ops")
    assert "sip1: not root: connect as root, or set _sudo = True for this host" in start("-y", file=plain).end()


USER = """
command -v sudo >/dev/null || { apt-get -q update; apt-get -qy install --no-install-recommends sudo; } >/dev/null
id ops 2>/dev/null || useradd -m -s /bin/bash ops
cp -r /root/.ssh /home/ops/ && chown -R ops: /home/ops/.ssh
echo 'ops ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/ops
echo 'echo welcome' > /home/ops/.bashrc
"""


def test_the_machine_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """@local takes the same way, without SSH. Needs root, as a deploy of the machine itself does."""
    monkeypatch.setattr(lock, "LOCK_FILE", str(tmp_path / "lock"))
    monkeypatch.setattr(lock, "_SCRIPT", lock._SCRIPT.replace("/run/vss-deploy.lock", str(tmp_path / "lock")))
    ours, theirs = lock.holder("a.py"), lock.holder("b.py")
    first, second = lock.DeployLock(), lock.DeployLock()
    first.take("@local", lock.local_wire(["sh", "-c", lock.command(ours)]), ours)
    with pytest.raises(OperatorError, match=rf"@local: another deploy runs: {HELD}"):
        second.take("@local", lock.local_wire(["sh", "-c", lock.command(theirs)]), theirs)
    first.release()
    second.release()
    second.take("@local", lock.local_wire(["sh", "-c", lock.command(theirs)]), theirs)
    second.release()
