"""A command that never began is given again, and nothing else is."""

import os
import subprocess
from pathlib import Path

import pytest

from sipstack.errors import OperatorError
from sipstack.lab import machine
from sipstack.lab.machine import LabHost
from sipstack.oci import in_proxy

LOST = (
    "OCI runtime exec failed: exec failed: unable to start container process: waiting for init preliminary setup:"
    " read init-p: connection reset by peer: unknown"
)
HOST = LabHost("lab", "sip1", "198.51.100.11", "sipstack-lab-sip1")


class Engine:
    """Stands in for the engine: loses as many commands as it is told, with these words and exit code."""

    def __init__(self, loses: int, said: str = LOST, code: int = 126) -> None:
        self.left, self.said, self.code, self.asked = loses, said, code, 0

    def run(self, argv: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        self.asked += 1
        self.left -= 1
        if self.left >= 0:
            return subprocess.CompletedProcess(argv, self.code, "", self.said)
        return subprocess.CompletedProcess(argv, 0, "pong\n", "")


def ask(monkeypatch: pytest.MonkeyPatch, engine: Engine, *argv: str) -> str:
    monkeypatch.setattr(machine, "run", engine.run)
    monkeypatch.setattr("sipstack.lab.machine.time.sleep", lambda _: None)
    return HOST.exec(*argv).stdout


@pytest.mark.parametrize("argv", [("docker", "exec", "vss-kamailio", "kamcmd", "core.ping"), ("cat", "/etc/hosts")])
def test_a_lab_host_tries_again(monkeypatch: pytest.MonkeyPatch, argv: tuple[str, ...]) -> None:
    engine = Engine(loses=2)
    assert ask(monkeypatch, engine, *argv) == "pong\n"
    assert engine.asked == 3


@pytest.mark.parametrize(
    ("engine", "argv"),
    [
        (Engine(1), ("sh", "-c", "touch /began; docker exec vss-kamailio kamcmd core.ping")),
        (Engine(1, "kamcmd: command not found", 127), ("docker", "exec", "vss-kamailio", "kamcmd")),
        (Engine(1, "OCI runtime exec failed: permission denied"), ("docker", "exec", "vss-kamailio", "/etc/hosts")),
        (Engine(1, LOST, 1), ("docker", "exec", "vss-kamailio", "cat", "log-of-the-engine")),
    ],
    ids=["script", "no such command", "no program", "its own words"],
)
def test_a_lab_host_does_not_try_again(monkeypatch: pytest.MonkeyPatch, engine: Engine, argv: tuple[str, ...]) -> None:
    with pytest.raises(OperatorError):
        ask(monkeypatch, engine, *argv)
    assert engine.asked == 1


def test_a_lab_host_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(loses=9)
    with pytest.raises(OperatorError, match="init-p"):
        ask(monkeypatch, engine, "true")
    assert engine.asked == machine.TRIES


@pytest.mark.parametrize(("code", "asked", "ends"), [(0, 1, 0), (126, 2, 0), (1, 1, 1)])
def test_a_line_of_shell_tries_again(tmp_path: Path, code: int, asked: int, ends: int) -> None:
    docker = tmp_path / "docker"
    docker.write_text(f'#!/bin/sh\necho "$*" >>{tmp_path}/asked\n[ $(wc -l <{tmp_path}/asked) -gt 1 ] || exit {code}\n')
    docker.chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["sh", "-c", in_proxy("kamcmd core.ping")], env=environment)
    assert done.returncode == ends
    assert (tmp_path / "asked").read_text() == "exec vss-kamailio kamcmd core.ping\n" * asked
