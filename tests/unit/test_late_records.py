"""files/kamailio/bin/late-records with a database that refuses some lines."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sipstack.paths import ROOT

PROGRAM = ROOT / "files/kamailio/bin/late-records"
# Takes a file whole or not at all, as COPY does, also if its last line has no end; refuses it if a line has BAD in it.
PSQL = """#!/bin/sh
case "$*" in *"SELECT 1"*) exit 0 ;; esac
cat >"$TAKEN.new"
[ -e "$TAKEN.full" ] && { echo tried >>"$TAKEN.full"; echo "ERROR:  53100: could not extend file" >&2; exit 3; }
grep -q BAD "$TAKEN.new" && exit 3
sed '$a\\' "$TAKEN.new" >>"$TAKEN"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, script in (("psql", PSQL), ("kamcmd", "#!/bin/sh\n")):
        (tmp_path / name).write_text(script)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "taken").touch()
    (tmp_path / "records").mkdir()
    return tmp_path / "records"


@contextmanager
def running(folder: Path) -> Iterator[None]:
    environment = {**os.environ, "PATH": f"{folder.parent}:{os.environ['PATH']}", "TAKEN": str(folder.parent / "taken")}
    with subprocess.Popen([PROGRAM, folder], stdin=subprocess.PIPE, env=environment) as process:
        try:
            yield
        finally:
            process.communicate(timeout=20)
    assert process.returncode == 0


def names(folder: Path, pattern: str) -> list[str]:
    return sorted(path.read_text() for path in folder.glob(pattern))


def await_files(folder: Path, late: int, refused: int) -> None:
    deadline = time.monotonic() + 30
    while [len(list(folder.glob(pattern))) for pattern in ("*.late", "*.refused")] != [late, refused]:
        assert time.monotonic() < deadline, sorted(path.name for path in folder.iterdir())
        time.sleep(0.05)


def test_a_line_that_is_refused_keeps_no_other_one_waiting(folder: Path) -> None:
    lines = [f"INVITE|{number}" for number in range(50)]
    lines[7], lines[30] = "INVITE|BAD7", "INVITE|BAD30"
    (folder / "acc_cdrs_3.1790000000.123456.late").write_text("".join(f"{line}\n" for line in lines))
    (folder / "acc_4.1790000000.123456.late").write_text("REGISTER|1")  # its process was killed: no end of line
    with running(folder):
        await_files(folder, 0, 2)
    assert names(folder, "*.refused") == ["INVITE|BAD30\n", "INVITE|BAD7\n"]
    taken = (folder.parent / "taken").read_text().splitlines()
    assert sorted(taken) == sorted(["acc|REGISTER|1", *(f"acc_cdrs|{line}" for line in lines if "BAD" not in line)])


def test_while_the_disk_is_full_no_line_is_to_blame(folder: Path) -> None:
    """It answers, and writes nothing: what waits is written as soon as there is room, and not ten minutes later."""
    full = folder.parent / "taken.full"
    full.touch()
    late = folder / "acc_3.1790000000.1a.late"
    late.write_text("INVITE|one\nINVITE|two\n")
    with running(folder):
        deadline = time.monotonic() + 30
        while full.read_text().count("tried") < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert [path.name for path in folder.iterdir()] == [late.name]
        full.unlink()
        await_files(folder, 0, 0)
    assert (folder.parent / "taken").read_text() == "acc|INVITE|one\nacc|INVITE|two\n"


def test_what_was_refused_is_tried_again_later(folder: Path) -> None:
    late, soon = folder / "acc_3.1790000000.1a.refused", folder / "acc_3.1790000000.1b.refused"
    for path in (late, soon):
        path.write_text("INVITE|good\n")
    os.utime(late, (time.time() - 700, time.time() - 700))
    with running(folder):
        await_files(folder, 0, 1)
    assert (folder.parent / "taken").read_text() == "acc|INVITE|good\n"
    assert soon.exists()
