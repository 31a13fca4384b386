"""Run commands of the operator's machine: one helper, errors that say what failed."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence

from sipstack.errors import OperatorError


def run(
    argv: Sequence[str],
    *,
    stdin: str | None = None,
    timeout: float | None = None,
    check: bool = True,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run `argv` and return what it printed.

    timeout is in seconds. With check, a failure or a timeout raises OperatorError with the last line of
    the command's error output; without it, the caller looks at `returncode` (124 after a timeout).
    """
    try:
        done = subprocess.run(
            list(argv),
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            env={**os.environ, **(env or {})},
        )
    except FileNotFoundError:
        raise OperatorError(f"{argv[0]}: no such command on this machine; install it and try again") from None
    except subprocess.TimeoutExpired:
        done = subprocess.CompletedProcess(list(argv), 124, "", f"no answer within {timeout:g} s")
    if check and done.returncode != 0:
        raise OperatorError(failure(argv, done))
    return done


def failure(argv: Sequence[str], done: subprocess.CompletedProcess[str]) -> str:
    """One line on a command that failed: the start of the command, its exit status, its last words."""
    words = (done.stderr.strip() or done.stdout.strip()).splitlines()
    command = " ".join(argv)
    shown = command if len(command) <= 100 else command[:97] + "..."
    return f"`{shown}` failed ({done.returncode}): {words[-1] if words else 'no message'}"


def as_root(argv: Sequence[str]) -> list[str]:
    """`argv` for a command that needs root: as it is for root, through sudo without a password otherwise."""
    return list(argv) if os.geteuid() == 0 else ["sudo", "-n", *argv]


def ensure_command(command: str, *packages: str) -> None:
    """Install `packages` with apt if `command` is absent. OperatorError where apt or root is missing."""
    # Administrators' tools live in sbin, which is not on every user's PATH.
    if shutil.which(command) or shutil.which(command, path="/usr/local/sbin:/usr/sbin:/sbin"):
        return
    wanted = " ".join(packages)
    if not shutil.which("apt-get"):
        raise OperatorError(f"{command} is missing and there is no apt here; install {wanted} by hand")
    print(f"installing {wanted}", flush=True)
    apt = as_root(["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"])
    run([*apt, "update"], timeout=300)
    run([*apt, "install", "-y", "--no-install-recommends", *packages], timeout=900)
