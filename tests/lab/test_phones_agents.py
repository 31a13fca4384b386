"""Real user agents beside pjsua2: baresip, linphone and sipp call each other, and all is heard (docs/phones.md)."""

from itertools import product
from pathlib import Path

import pytest

from tests.agents.cases import KINDS, TRANSPORTS, Case, Place, all_cases, play
from tests.agents.features import FEATURES
from tests.lab.system import System

NUMBERS = (7011, 7012, 7013)
BY_NAME = {feature.name: feature for feature in FEATURES}


def made(system: System, folder: Path, cases: list[Case]) -> None:
    """All these calls end as they should, with all sides heard."""
    passwords = {f"slot_{number}": system.password(number) for number in NUMBERS}
    results = play(Place(system.address, passwords, folder), cases, NUMBERS)
    failed = [f"{result.case}: {result.error}" for result in results if result.error]
    assert not failed, "\n".join(failed)


@pytest.mark.parametrize(
    ("caller", "called", "transport", "feature"),
    [
        ("pjsua2", "baresip", "udp", "blind transfer"),  # which calls as the number by which it was called itself
        pytest.param("baresip", "linphone", "tcp", "hold by called", marks=pytest.mark.slow),
        pytest.param("linphone", "sipp", "tcp", "DTMF", marks=pytest.mark.slow),
        ("baresip", "sipp", "tcp", "hold by called"),
        ("sipp", "pjsua2", "udp", "PRACK, early media"),
    ],
)
def test_real_phones_call_each_other(
    system: System, tmp_path: Path, caller: str, called: str, transport: str, feature: str
) -> None:
    made(system, tmp_path, [Case(caller, called, transport, BY_NAME[feature])])


@pytest.mark.slow
@pytest.mark.parametrize(("caller", "called", "transport"), list(product(KINDS, KINDS, TRANSPORTS)))
def test_every_feature_of_every_pair(system: System, tmp_path: Path, caller: str, called: str, transport: str) -> None:
    """But for the refresh of a session timer, which takes a minute: tests.agents.run."""
    cases = [
        case
        for case in all_cases()
        if (case.caller, case.called, case.transport) == (caller, called, transport) and not case.feature.settings.timer
    ]
    made(system, tmp_path, cases)
