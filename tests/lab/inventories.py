"""Inventories of a test's own: other users, other groups, other hosts than the lab's file has."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from pprint import pformat
from typing import Any

from sipstack.lab.hosts import GROUPS, Lab
from sipstack.lab.machine import LabHost
from sipstack.paths import ROOT


def entry(lab: Lab, host: LabHost, **data: Any) -> tuple[str, dict[str, Any]]:
    """A lab host as an inventory lists it; data are added or replace what is usual."""
    usual = {
        "address": host.address,
        "state": lab.state.folder.name,
        "ssh_hostname": host.address,
        "ssh_user": "root",
        "ssh_key": str(lab.state.key),
        "ssh_known_hosts_file": str(lab.state.known_hosts),
        "ssh_strict_host_key_checking": "yes",
    }
    return host.name, {**usual, **data}


def write_inventory(path: Path, *entries: tuple[str, dict[str, Any]], groups: tuple[str, ...] = GROUPS) -> Path:
    """An inventory file with these hosts in each of the groups."""
    path.write_text("".join(f"{group} = {pformat(list(entries))}\n" for group in groups))
    return path


def pyinfra(
    inventory: Path | str, *arguments: str, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the pyinfra command in the repository."""
    return subprocess.run(
        [str(Path(sys.executable).parent / "pyinfra"), str(inventory), *arguments],
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=900,
    )
