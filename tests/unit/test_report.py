"""The last lines of a run: what they say, and that they come."""

import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
from pyinfra.connectors.ssh import SSHConnector

from sipstack import guard
from sipstack.paths import ROOT
from sipstack.rollout.report import Report, Row


def test_a_run_without_changes_reports_nothing() -> None:
    assert str(Report()) == ""


def test_a_report_tells_what_happened_to_each_proxy() -> None:
    report = Report(rows=[Row("sip1", "aa", "bb", 700, (40, 40), (3, 2), outcome="proved")])
    assert str(report).splitlines() == [
        "--> Rollout",
        "  sip1: aa -> bb, SIP silent 0.7 s, bindings 40 -> 40,"
        " calls in progress 3, 2 of them after the switch, proved",
    ]


def test_what_did_not_end_is_not_called_proved() -> None:
    assert str(Report(rows=[Row("sip1", "aa", "bb")])).endswith("aa -> bb, not finished")


def test_a_rollout_that_stopped_says_where_and_what_was_left_alone() -> None:
    report = Report(rows=[Row("sip1", "aa", "bb", outcome="FAILED: silence")], stopped="sip1", untouched=["sip2"])
    said = str(report)
    assert said.startswith("--> Rollout STOPPED at sip1")
    assert said.endswith("not touched: sip2")


def test_the_same_refusal_on_all_hosts_is_explained_once() -> None:
    report = Report()
    for name in ("sip1", "sip2"):
        report.refused(name, "bb", "it does not start", ["because"])
    assert str(report).count("because") == 1
    assert str(report).count("it does not start") == 2


def host(name: str, active: bool) -> Any:
    """A pyinfra host by SSH. active: its connection is up."""
    connector = MagicMock(spec=SSHConnector)
    connector.client = MagicMock()
    connector.client.get_transport.return_value.is_active.return_value = active
    made = MagicMock(connector=connector)
    made.name = name
    return made


def test_hosts_that_failed_are_named_with_what_became_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    report = Report(begun=True, rows=[Row("sip1", "aa", "bb", outcome="FAILED: silence")], stopped="sip1")
    monkeypatch.setattr(guard, "REPORT", report)
    one, two, three, four = host("sip1", True), host("sip2", False), host("sip3", False), host("db1", True)
    state: Any = SimpleNamespace(failed_hosts={one, two, three, four}, activated_hosts={one, two, four})
    guard.note_failures(state)
    assert str(report).splitlines() == [
        "--> Rollout STOPPED at sip1",
        "  sip1: aa -> bb, FAILED: silence",
        "  failed, see above: db1: run again when that is mended",
        "  lost on the way: sip2 (no connection any more): run again when it is back",
        "  not reached: sip3: run again when it is back",
    ]


def test_a_host_that_vanished_is_the_last_word() -> None:
    said = str(Report(begun=True, failed=["sip3"], lost=["sip3"])).splitlines()
    assert said == [
        "--> Rollout INCOMPLETE",
        "  lost on the way: sip3 (no connection any more): run again when it is back",
    ]


def test_a_dead_host_stops_a_run_and_is_named_in_its_last_line(tmp_path: Path) -> None:
    """pyinfra as an operator starts it; nothing listens on that port."""
    dead = ("sip3", {"ssh_hostname": "127.0.0.1", "ssh_port": 1, "ssh_user": "root", "address": "192.0.2.1"})
    inventory = tmp_path / "dead.py"
    inventory.write_text(f"proxies = databases = media = pbx = [{dead!r}]\n")
    pyinfra = Path(sys.executable).parent / "pyinfra"
    done = subprocess.run(
        [pyinfra, inventory, "deploy.py", "-y"], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout
    head, last = done.stdout.splitlines()[-2:]
    assert head == "--> Rollout NOT BEGUN, nothing was changed"
    assert last == "  not reached: sip3: run again when it is back, or go on without it: --fail-percent 50"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_is_no_success(tmp_path: Path, number: signal.Signals) -> None:
    """Whoever reads the exit code, such as a script that deploys, must not go on."""
    deploy = tmp_path / "wait.py"
    begun = tmp_path / "begun"
    deploy.write_text(
        f"from pyinfra.operations import server\nserver.shell(name='Wait', commands=['touch {begun}; sleep 2'])\n"
    )
    run = subprocess.Popen(
        [Path(sys.executable).parent / "pyinfra", "@local", deploy, "-y"], cwd=ROOT, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 30
    while not begun.exists():
        assert time.monotonic() < deadline and run.poll() is None
        time.sleep(0.05)
    run.send_signal(number)
    said, _ = run.communicate(timeout=30)
    assert run.returncode == 128 + number, said
    assert "--> Rollout INTERRUPTED" in said
