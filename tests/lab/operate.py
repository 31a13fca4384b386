"""What an operator types beside pyinfra, run as an operator would: in the repository, against a lab."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Protocol

from sipstack.lab.hosts import Lab
from sipstack.paths import ROOT

INVENTORY = "inventories/lab.py"


class Deployed(Protocol):
    """A system, or a fleet."""

    lab: Lab


def sipstack(
    system: Deployed, verb: str, *arguments: str, root: Path = ROOT, seconds: float = 300
) -> subprocess.CompletedProcess[str]:
    """Run `sipstack VERB inventories/lab.py ARGUMENTS` in a checkout; it may take so long."""
    return subprocess.run(
        [sys.executable, "-m", "sipstack", verb, INVENTORY, *arguments],
        cwd=root,
        env={**os.environ, "SIPSTACK_LAB": system.lab.name, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=seconds,
    )


def status(system: Deployed) -> subprocess.CompletedProcess[str]:
    """`sipstack status`."""
    return sipstack(system, "status", seconds=120)
