"""Scanners: sipvicious as it is, the same under another name, and others by the names that they give themselves."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sipstack.lab.namespaces import Namespace
from tests.lab import attacks
from tests.lab.attacker import bans, datagrams, stranger, there
from tests.lab.hostile import answers_options, phones_are_served
from tests.lab.system import System

NAMES = ["friendly-scanner", "sipvicious", "sipcli/v1.8", "sundayddr", "VaxSIPUserAgent/3.1", "pplsip", "Gulp", "iWar"]
# Its tools have no option for the name that they send.
UNDER_ANOTHER_NAME = """
import importlib, sys
from sipvicious.libs import svhelper
give = svhelper.makeRequest
give.__defaults__ = tuple("Phone/1.0" if value == "friendly-scanner" else value for value in give.__defaults__)
importlib.import_module("sipvicious." + sys.argv.pop(1)).main()
"""


def sipvicious(place: Namespace, home: Path, tool: str, *arguments: str, renamed: bool = False) -> list[str]:
    """Run a tool of sipvicious there; the rows of the table in which it shows what it has found."""
    own = str(Path(sys.executable).parent / f"sipvicious_{tool}")
    command = [sys.executable, "-c", UNDER_ANOTHER_NAME, tool] if renamed else [own]
    done = subprocess.run(
        [*place.exec_prefix, *command, *arguments],
        capture_output=True, text=True, timeout=120, cwd=home, env={**os.environ, "HOME": str(home)},
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    # The first row is its head.
    return [line for line in done.stdout.splitlines() if line.startswith("|")][1:]


@pytest.mark.parametrize(
    "name", [*NAMES[:2], *(pytest.param(name, marks=pytest.mark.slow) for name in NAMES[2:])]
)  # fmt: skip
def test_who_calls_himself_a_scanner_over_udp_is_ignored(system: System, name: str) -> None:
    """And bans nobody: the source of a datagram may be forged."""
    with stranger(system) as place:
        assert there(place, attacks.code_over_udp, system.address, name, "OPTIONS") == 0
        assert there(place, attacks.code_over_udp, system.address, name, "REGISTER") == 0
        assert bans(system) == {}
        assert there(place, attacks.code_over_udp, system.address) == 200


def test_who_calls_himself_a_scanner_over_tcp_is_banned(system: System) -> None:
    with stranger(system) as place:
        assert there(place, attacks.code_over_tcp, system.address, NAMES[0], "OPTIONS") == 0
        assert bans(system) == {place.address: "scanner"}
        assert there(place, attacks.code_over_udp, system.address) == 0
        assert there(place, attacks.code_over_tcp, system.address) == 0
        assert answers_options(system)


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("svmap", ()),
        ("svmap", ("-m", "REGISTER")),
        ("svmap", ("-m", "INVITE")),
        ("svwar", ("-e", "6001-6010", "--template=slot_%s", "--force")),
        ("svwar", ("-e", "6001-6010", "-m", "INVITE", "--force")),
        ("svcrack", ("-u", "slot_6005", "-r", "1-50")),
    ],
)
def test_sipvicious_finds_nothing(system: System, tmp_path: Path, tool: str, arguments: tuple[str, ...]) -> None:
    with stranger(system) as place:
        before = datagrams(system)
        assert sipvicious(place, tmp_path, tool, *arguments, system.address) == []
        assert datagrams(system) > before, "nothing was scanned"
        assert bans(system) == {}
        phones_are_served(system)


@pytest.mark.parametrize("method", ["REGISTER", "INVITE", "OPTIONS"])
def test_under_another_name_it_cannot_tell_users_from_others(system: System, tmp_path: Path, method: str) -> None:
    scan = ("-e", "6001-6010,6900-6909", "--template=slot_%s", "-m", method, "--force")
    with stranger(system) as place:
        before = datagrams(system)
        found = sipvicious(place, tmp_path, "svwar", *scan, system.address, renamed=True)
        # How many it asks for is its own choice (fewer once it is challenged): test_attacks_learning.py asks for each.
        assert datagrams(system) > before, "nothing was scanned"
        assert len([row for row in found if "slot_60" in row]) == len([row for row in found if "slot_69" in row]), found


def test_under_another_name_it_cracks_nothing_and_is_not_heard_any_more(system: System, tmp_path: Path) -> None:
    """Banned for its guesses, or for answering no challenge as it should: it takes each one for another kind."""
    with stranger(system) as place:
        crack = ("-u", "slot_6005", "-r", "1-100", "--maximumtime=5")
        assert sipvicious(place, tmp_path, "svcrack", *crack, system.address, renamed=True) == []
        assert there(place, attacks.code_over_udp, system.address, "", "REGISTER") == 0
        phones_are_served(system)
