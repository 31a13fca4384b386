"""`sipstack rollback`: every host, or some, back to a release that is still there."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from sipstack.paths import ROOT

DEPLOY = "sipstack/deploys/go_back.py"


def main(inventory: str, to: str = "", limit: Sequence[str] = ()) -> int:
    """Run pyinfra with the deploy that goes back; its exit status.

    to: the beginning of a release's name, empty for the one before. limit: groups, names or patterns of names.
    """
    limits = [bit for pattern in limit for bit in ("--limit", pattern)]
    command = [str(Path(sys.executable).parent / "pyinfra"), str(Path(inventory).absolute()), DEPLOY, "-y", *limits]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, "SIPSTACK_GO_BACK_TO": to}).returncode
