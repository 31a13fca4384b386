"""The mistakes that slow tests make in a copy of the project can still be made: what they replace is there."""

import shutil
from pathlib import Path

import pytest

from sipstack.paths import ROOT
from tests.lab.faults import DEAF, LATE, UNFIT, WRONG, Fault

FAULTS = {**UNFIT, **WRONG, "late": LATE, "deaf": DEAF}


@pytest.mark.parametrize("name", FAULTS)
def test_a_mistake_changes_the_file_that_it_is_about(tmp_path: Path, name: str) -> None:
    fault: Fault = FAULTS[name]
    copy = tmp_path / fault.path
    copy.parent.mkdir(parents=True)
    shutil.copy(ROOT / fault.path, copy)
    fault.make(tmp_path)
    assert copy.read_text() != (ROOT / fault.path).read_text()
