"""Debian packages, also on a host where another apt is at work: a fresh one updates itself in its first minutes."""

import re
import shlex
import time
from collections.abc import Generator, Sequence

from pyinfra.api.command import PyinfraCommand
from pyinfra.api.host import Host
from pyinfra.api.operation import operation

from sipstack.errors import OperatorError
from sipstack.operations.commands import Call
from sipstack.rollout.shell import run

# Error-Mode: else apt-get takes a mirror that does not answer for a warning, and ends well with empty lists.
APT_GET = "DEBIAN_FRONTEND=noninteractive apt-get -q -o Acquire::Retries=5 -o APT::Update::Error-Mode=any"
INSTALL_SECONDS = 900
# How long another apt is waited for; unattended-upgrades of a whole point release takes minutes.
LOCKED_SECONDS = 900
PAUSE_SECONDS = 3.0
# As apt says it: the file, the process, and its name if that is known.
_LOCKED = re.compile(
    r"Could not get lock (\S+?)\.? .*?held by process (\d+)(?: \(([^)]*)\))?|Unable to (?:acquire|lock)"
)


@operation(is_idempotent=False)
def packages_installed(packages: list[str]) -> Generator[PyinfraCommand, None, None]:
    """Debian packages are installed, without what they only recommend. Call it when they are known to be missing.

    + packages: their names
    """
    yield Call(install, packages)


def install(host: Host, packages: Sequence[str]) -> None:
    """Install packages on a host, once no other apt is at work there.

    Raises OperatorError with what apt said, or who held its lock for too long.
    """
    names = shlex.join(packages)
    script = f"{APT_GET} update && {APT_GET} install -y --no-install-recommends {names}"
    deadline = time.monotonic() + LOCKED_SECONDS
    told = ""
    while not (answer := run(host, script, seconds=INSTALL_SECONDS)).ok:
        holder = lock_holder(answer.text)
        if not holder:
            raise OperatorError(f"{names} cannot be installed: {_errors(answer.text)}")
        if time.monotonic() > deadline:
            raise OperatorError(
                f"{holder} has had apt's lock for {LOCKED_SECONDS // 60} minutes: look what it waits for"
            )
        if holder != told:
            host.log_styled(
                f"{holder} is using apt: waiting for its end, {LOCKED_SECONDS // 60} minutes at most", fg="yellow"
            )
            told = holder
        time.sleep(PAUSE_SECONDS)


def lock_holder(said: str) -> str:
    """Who holds the lock that apt could not get, in words; empty if that is not what it failed for."""
    found = _LOCKED.search(said)
    if not found:
        return ""
    name, pid = found[3] or "another program", found[2]
    return f"{name} (pid {pid})" if pid else name


def _errors(said: str) -> str:
    """What apt calls errors; all that it said if there are none."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    wrong = [line for line in lines if line.startswith(("E:", "Error:", "dpkg: error"))]
    return "; ".join(wrong or lines[-5:] or ["no output"])
