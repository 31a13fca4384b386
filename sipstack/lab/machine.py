"""One lab host: what can be done to it from outside."""

import subprocess
import time
from dataclasses import dataclass

from sipstack.errors import OperatorError
from sipstack.lab.shell import run
from sipstack.lab.state import LabState

BOOT_SECONDS = 60


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

        timeout is in seconds. With check, OperatorError if the command fails or takes longer.
        """
        interactive = ["--interactive"] if stdin is not None else []
        return run(["docker", "exec", *interactive, self.container, *argv], stdin=stdin, check=check, timeout=timeout)

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
