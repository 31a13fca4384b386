"""What a host's history says of a change: who made it, and from which commit."""

import subprocess
from functools import cache

from sipstack.lock import operator
from sipstack.paths import ROOT

# A subject may be long, and anything may be in it.
SUBJECT_LENGTH = 100


@cache
def about(verb: str) -> str:
    """verb, operator and commit, with a tab between them. verb: deploy, or rollback."""
    return "\t".join((verb, operator(), _commit()))


def _commit() -> str:
    """Hash and subject of the checkout that is deployed, and whether it has been edited; empty where there is none."""
    commit = _git("log", "-1", "--format=%h %s")
    if not commit:
        return ""
    edited = " (edited)" if _git("status", "--porcelain", "--untracked-files=no") else ""
    return "".join(character if character.isprintable() else " " for character in commit[:SUBJECT_LENGTH]) + edited


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
