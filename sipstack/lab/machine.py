"""One lab host: what can be done to it from outside."""

import subprocess
import time
from dataclasses import dataclass

from sipstack.errors import OperatorError
from sipstack.lab.shell import failure, run
from sipstack.lab.state import LabState
from sipstack.oci import never_began

BOOT_SECONDS = 60
TRIES = 3


@dataclass(frozen=True)
class LabHost:
    """A running or stopped lab host. `container` is its name for the docker command."""

    lab: str
    name: str
    address: str
    container: str

    def exec(
        self, *argv: str, stdin: str | None = None, check: bool = True, timeout: float | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on the host, past SSH.

        timeout is in seconds. With check, OperatorError if the command fails or takes longer. One that never began,
        on the host or in a container there, is tried again; a script, parts of which may have been done, is not.
        """
        interactive = ["--interactive"] if stdin is not None else []
        command = ["docker", "exec", *interactive, self.container, *argv]
        done = run(command, stdin=stdin, check=False, timeout=timeout)
        whole = argv[:2] == ("docker", "exec") or not any("docker" in word for word in argv)
        for _ in range(TRIES - 1):
            if done.returncode != 126 or not whole or not never_began(done.stdout + done.stderr):
                break
            time.sleep(0.5)
            done = run(command, stdin=stdin, check=False, timeout=timeout)
        if check and done.returncode != 0:
            raise OperatorError(failure(command, done))
        return done

    def kill(self) -> None:
        """Cut the power: every process ends at once, the disks keep what was written."""
        run(["docker", "kill", self.container])

    def start(self) -> None:
        """Give power again and wait until SSH answers."""
        run(["docker", "start", self.container])
        self.await_ssh()

    def pause(self) -> None:
        """Freeze the host: it keeps its address and its connections and answers nothing."""
        run(["docker", "pause", self.container])

    def unpause(self) -> None:
        run(["docker", "unpause", self.container])

    def ssh(self, *argv: str, check: bool = True, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a shell command on the host through SSH, as a deploy does. timeout in seconds."""
        config = str(LabState(self.lab).ssh_config)
        ssh = ["ssh", "-F", config, "-o", "BatchMode=yes", self.name]
        return run([*ssh, *argv], check=check, timeout=timeout)

    def await_ssh(self) -> None:
        """Wait until SSH lets our key in. OperatorError after BOOT_SECONDS."""
        deadline = time.monotonic() + BOOT_SECONDS
        while (tried := self.ssh("true", check=False)).returncode != 0:
            if time.monotonic() > deadline:
                words = tried.stderr.strip().splitlines() or ["no message"]
                raise OperatorError(
                    f"{self.name}: no SSH within {BOOT_SECONDS} s ({words[-1]}); "
                    f"see `docker exec {self.container} journalctl -u ssh`"
                )
            time.sleep(0.2)
