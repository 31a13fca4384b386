"""`sipstack verify`: the checks of tests/verify over an inventory, one line a check, and a verdict."""

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from sipstack.errors import OperatorError
from sipstack.inventory import load
from sipstack.lock import LOCK_FILE
from sipstack.paths import ROOT
from sipstack.ssh import Connections

# More than this in the last line would no longer be one line.
SHOWN_FAULTS = 4


def main(inventory: str | Path, limit: Sequence[str] = (), pytest_args: Sequence[str] = ()) -> int:
    """Verify the hosts of an inventory; 0 only if at least one check was made and all of them passed.

    limit: groups, names or patterns of names. pytest_args: more for pytest, such as ["-k", "options"].
    What fails is printed with the part that it is, its last log lines and one line of advice.
    """
    verdict = Verdict()
    limits = [bit for pattern in limit for bit in ("--limit", pattern)]
    arguments = [
        *(str(ROOT / "tests" / "verify"), "--rootdir", str(ROOT), "-c", str(ROOT / "pyproject.toml")),
        *("--inventory", str(Path(inventory).absolute()), *limits),
        # One line a check; no header, no list of what was skipped, no lines of our code.
        *("-q", "-rN", "-o", "verbosity_test_cases=1", "-o", "console_output_style=classic"),
        *("-o", f"pythonpath={ROOT}"),
        # Deploying has loaded plugins of pytest before pytest itself came: that costs their own asserts some words.
        *("-W", "ignore::pytest.PytestAssertRewriteWarning"),
        *("-p", "no:cacheprovider", *pytest_args),
    ]
    status = int(pytest.main(arguments, plugins=[verdict]))
    if status == pytest.ExitCode.TESTS_FAILED:
        for name, who in deploys(inventory).items():
            print(f"{name}: a deploy runs, which restarts what is proved here: {who}: verify again when it has ended")
    if status in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED):
        print(verdict)
    sys.stdout.flush()
    return status or (0 if verdict.passed else int(pytest.ExitCode.NO_TESTS_COLLECTED))


def deploys(inventory: str | Path) -> dict[str, str]:
    """Which hosts are being deployed at this moment, and by whom."""
    found = {}
    try:
        hosts = load(str(inventory)).everyone
    except OperatorError:
        return {}
    with Connections((host.name, host.data) for host in hosts) as connections:
        for host in hosts:
            try:
                said = connections.run(
                    host.name, f"[ ! -s {LOCK_FILE} ] || flock -n {LOCK_FILE} true || cat {LOCK_FILE}"
                )
            except OperatorError:
                continue  # the checks have said so
            if who := said.stdout.strip():
                found[host.name] = who
    return found


class Verdict:
    """Counts the checks as pytest reports them. Its text is the last line."""

    def __init__(self) -> None:
        self.passed = 0
        self.failed = 0
        self.hosts: set[str] = set()
        # Parts and hosts that do not serve; checks that failed although all that they need serves.
        self.faults: dict[str, None] = {}
        self.checks: dict[str, None] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.passed += report.when == "call" and report.passed
        self.failed += report.failed
        for kind, text in report.user_properties:
            if kind == "host":
                self.hosts.add(str(text))
            elif kind == "fault":
                self.faults[str(text)] = None
            elif kind == "check":
                self.checks[str(text)] = None

    def __str__(self) -> str:
        hosts = f"{len(self.hosts)} host{'s' if len(self.hosts) != 1 else ''}"
        if not self.passed and not self.failed:
            return "NOT verified: no check was made"
        if not self.failed:
            return f"verified: {self.passed} checks on {hosts}"
        named = list(self.faults or self.checks)
        more = f"; and {len(named) - SHOWN_FAULTS} more" if len(named) > SHOWN_FAULTS else ""
        failed = f"NOT verified: {self.failed} of {self.passed + self.failed} checks failed on {hosts}"
        return f"{failed}: {'; '.join(named[:SHOWN_FAULTS])}{more}" if named else failed
