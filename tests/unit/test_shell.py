"""Commands on a host: what is told of them, and that they end. The host is this machine."""

import os
import subprocess
import time
from types import SimpleNamespace
from typing import Any

import pytest
from paramiko import SSHException
from pyinfra.connectors.util import CommandOutput, OutputLine

from sipstack.operations.tidy import leftovers
from sipstack.rollout import proof
from sipstack.rollout.proof import Watch
from sipstack.rollout.shell import Answer, bounded, run


class Here:
    """A pyinfra host, as far as `run` needs one. said: commands that were run."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def run_shell_command(self, command: str, _timeout: int, _stdin: str = "") -> tuple[bool, CommandOutput]:
        self.said.append(command)
        done = subprocess.run(
            ["sh", "-c", command], input=_stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            timeout=_timeout,
        )  # fmt: skip
        return done.returncode == 0, CommandOutput([OutputLine("stdout", line) for line in done.stdout.splitlines()])


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr("sipstack.rollout.shell.privileges", lambda host: {})
    return Here()


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ('echo "it\'s" $(cat)', Answer(True, "it's secret")),
        ("echo no >&2; exit 3", Answer(False, "no")),
        ("{ false; } 2>&1 || { echo log; exit 1; }", Answer(False, "log")),
    ],
)
def test_what_a_command_says(here: Any, command: str, answer: Answer) -> None:
    assert run(here, command, stdin="secret") == answer


def test_a_command_that_does_not_end_is_ended_on_the_host(here: Any) -> None:
    begun = time.monotonic()
    assert run(here, "echo begun; sleep 60; echo done", seconds=1) == Answer(False, "begun\nno end within 1 s")
    assert time.monotonic() - begun < 5


def test_its_children_are_ended_with_it() -> None:
    script = bounded("sleep 61.5 & sleep 61.5", 1)
    subprocess.run(["sh", "-c", script], stdout=subprocess.DEVNULL, timeout=10)
    assert subprocess.run(["pgrep", "-f", "^sleep 61.5"], stdout=subprocess.DEVNULL).returncode == 1


DOCKER = """#!/bin/sh
# Of docker what a watch asks for; a container is a process, and its name a file with its number.
names=${0%/*}
case $1 in
run)
    while [ "$1" != --name ]; do shift; done
    echo $$ >"$names/$2"
    trap 'echo "{\\"longest_silence_ms\\": 7}"; rm -f "$names/'$2'"; exit' TERM
    echo "WARNING: of the engine"
    for _ in $(seq 100); do sleep 0.1; done ;;
ps) ls "$names/vss-watch" 2>/dev/null ;;
rm) [ ! -e "$names/vss-watch" ] || { kill -9 "$(cat "$names/vss-watch")"; rm "$names/vss-watch"; } ;;
kill) kill -s TERM "$(cat "$names/vss-watch")" ;;
esac
"""


def test_a_watch_tells_how_long_it_was_silent_and_leaves_nothing(
    here: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "docker").write_text(DOCKER)
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(proof, "_WATCH_LOG", str(tmp_path / "watch.log"))
    monkeypatch.setattr(proof, "all_images", lambda settings: {"probe": SimpleNamespace(tag="vss/probe:1")})
    node: Any = SimpleNamespace(address="192.0.2.1", settings=SimpleNamespace(sip_port=5060, drain_seconds=60))
    Watch(here, node).__enter__()  # of a run that was killed
    killed = (tmp_path / "vss-watch").read_text()
    begun = time.monotonic()
    with Watch(here, node) as watch:
        assert (tmp_path / "vss-watch").read_text() != killed
    assert watch.silent_ms == 7
    assert not (tmp_path / "vss-watch").exists()
    assert time.monotonic() - begun < 3
    assert any("watch --seconds 240 192.0.2.1:5060" in command for command in here.said)


def test_only_what_is_never_there_between_runs_is_left_over() -> None:
    names = {"vss-kamailio", "vss-kamailio-trial", "vss-kamailio-trial-run-0a1b", "vss-watch", "vss-postgres"}
    assert leftovers(names) == ["vss-kamailio-trial", "vss-kamailio-trial-run-0a1b", "vss-watch"]


@pytest.mark.parametrize("error", [EOFError(), OSError("gone"), TimeoutError(), SSHException("not active")])
def test_a_host_that_is_gone_is_told_from_a_command_that_fails(here: Any, error: Exception) -> None:
    def vanish(*_: Any, **__: Any) -> None:
        raise error

    here.run_shell_command = vanish
    answer = run(here, "true")
    assert (answer.ok, answer.unreachable) == (False, True)
    assert answer.text
