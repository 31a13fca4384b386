"""A Docker engine on the operator's machine: used if one answers, installed and started if none does."""

import os
import subprocess
import time
from pathlib import Path

from sipstack.errors import OperatorError
from sipstack.lab.shell import as_root, ensure_command, run
from sipstack.paths import STATE

START_SECONDS = 60
# Left by a machine that was cut off, these make dockerd refuse to start, or wait for a dead containerd.
PID_FILES = {
    Path("/var/run/docker.pid"): "dockerd",
    Path("/var/run/docker/containerd/containerd.pid"): "containerd",
}


def ensure_engine() -> None:
    """Return when `docker info` answers.

    An engine that already answers is left alone, and none is ever stopped. OperatorError where the engine
    is refused to us, is remote and silent, or does not come up within START_SECONDS.
    """
    if engine_answers():
        return
    if remote := os.environ.get("DOCKER_HOST"):
        raise OperatorError(f"no engine answers at DOCKER_HOST={remote}; start it, or unset DOCKER_HOST")
    ensure_command("dockerd", "docker.io")
    # Debian 13 packs the client apart from the engine, Debian 12 and Ubuntu do not.
    ensure_command("docker", "docker-cli")
    if engine_answers():  # the package has started it
        return
    print("starting the Docker engine", flush=True)
    if Path("/run/systemd/system").exists():
        run(as_root(["systemctl", "start", "docker"]), timeout=START_SECONDS)
        _await_engine(None, "journalctl -u docker")
    else:
        log = _log_file()
        _await_engine(_start_detached(log), str(log))


def engine_answers() -> bool:
    """Whether `docker info` answers. OperatorError if an engine is there and refuses this user."""
    try:
        asked = run(["docker", "info", "--format", "{{.ServerVersion}}"], timeout=20, check=False)
    except OperatorError:  # no client
        return False
    if "permission denied" in asked.stderr.lower():
        raise OperatorError(
            "the Docker engine refuses this user; run `sudo usermod -aG docker $USER`, log in again and retry"
        )
    return asked.returncode == 0 and bool(asked.stdout.strip())


def _log_file() -> Path:
    STATE.mkdir(mode=0o700, exist_ok=True)
    return STATE / "dockerd.log"


def _start_detached(log: Path) -> subprocess.Popen[bytes]:
    for path, process in PID_FILES.items():
        _drop_stale_pid_file(path, process)
    # An engine must outlive the command that needed it, and not get its Ctrl-C: a session of its own.
    with log.open("ab") as out:
        return subprocess.Popen(
            as_root(["dockerd"]),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
            env={**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"},
        )


def _drop_stale_pid_file(path: Path, process: str) -> None:
    """Remove a pid file whose process is gone, or whose number now belongs to something else."""
    if not path.exists():
        return
    pid = run(as_root(["cat", str(path)])).stdout.strip()
    comm = Path(f"/proc/{pid}/comm")
    if not comm.exists() or comm.read_text().strip() != process:
        run(as_root(["rm", "-f", str(path)]))


def _await_engine(process: subprocess.Popen[bytes] | None, log: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not engine_answers():
        if process is not None and process.poll() is not None:
            raise OperatorError(f"dockerd ended at once (exit {process.returncode}); the reason is in {log}")
        if time.monotonic() > deadline:
            raise OperatorError(f"the Docker engine did not answer within {START_SECONDS} s; see {log}")
        time.sleep(0.3)
