"""A million slots, a hundred thousand bindings, five thousand calls, ten thousand bans: true figures, nothing lost."""

import os
import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.lab.crowd import Crowd, Talk
from tests.lab.fleet import Fleet, eventually
from tests.lab.lend import lend
from tests.lab.operate import sipstack
from tests.lab.system import System

pytestmark = pytest.mark.slow
GROUPS = {"databases": ["sip1"], "media": ["sip1", "sip2"], "pbx": ["sip1"], "proxies": ["sip1", "sip2"]}
PROXIES = ("sip1", "sip2")
FIRST, SLOTS, BINDINGS, CALLS, BANS = 7_000_001, 999_960, 100_000, 5_000, 10_000
SETTINGS = f"""
slot_numbers_mf = "{FIRST}-7999999"
slots_mf = []
slots_csv = "slots.csv"
kamailio_bindings = {BINDINGS}
kamailio_calls = {CALLS}
rtp_port_max = 49999
"""
# What a proxy may have of its shared memory in use when all of this is there (`sipstack status` complains at 85 %).
MEMORY_SHARE = 0.8


def password(number: int) -> str:
    return f"pass-word-of-{number}"


@dataclass
class Crowded:
    """The fleet, the checkout that it is deployed from, its phones and the calls that they hold."""

    fleet: Fleet
    root: Path
    crowd: Crowd
    talks: list[Talk]

    def deploy(self, **data: object) -> str:
        return self.fleet.start(root=self.root, **data).end_well().report

    def sipstack(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return sipstack(self.fleet, *arguments, root=self.root)

    def table(self, *arguments: str) -> list[list[str]]:
        """The lines of a command that ends well, without their heads."""
        done = self.sipstack(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return [line.split() for line in done.stdout.splitlines()[1:]]


@pytest.fixture(scope="module")
def crowded(system: System, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crowded]:
    """Two proxies: what the first one is told, the second one has to hold, too."""
    fleet = Fleet(f"{os.environ.get('SIPSTACK_TEST_LAB', 'test')}4", GROUPS)
    try:
        lend(system.host, fleet.hosts.values(), GROUPS)
        root = fleet.checkout(tmp_path_factory.mktemp("size"))
        passwords = {number: password(number) for number in range(FIRST, FIRST + SLOTS)}
        (root / "slots.csv").write_text("number,password\n" + "".join(f"{n},{p}\n" for n, p in passwords.items()))
        (root / "group_data/lab.py").write_text(SETTINGS)
        fleet.start(root=root).end_well()
        with Crowd(fleet.address["sip1"], passwords) as crowd:
            yield Crowded(fleet, root, crowd, [])
    finally:
        fleet.down()


def test_each_of_many_phones_is_bound_on_both_proxies(crowded: Crowded) -> None:
    assert crowded.crowd.register(range(FIRST, FIRST + BINDINGS)) == []
    for proxy in PROXIES:
        eventually(lambda name=proxy: bindings(crowded, name) == BINDINGS, 60, f"bindings of {proxy}")  # type: ignore[misc]


def test_many_calls_are_held(crowded: Crowded) -> None:
    pairs = [(FIRST + 2 * number, FIRST + 2 * number + 1) for number in range(CALLS)]
    crowded.talks, refused = crowded.crowd.call(pairs)
    assert refused == []


def test_status_has_true_figures(crowded: Crowded) -> None:
    lines = crowded.table("status")
    assert [line[2:5] for line in lines] == [["healthy", str(BINDINGS), str(CALLS)], ["healthy", str(BINDINGS), "0"]]


@pytest.mark.parametrize("command", ["ul.show", "dialog.list"])
def test_everything_can_be_listed(crowded: Crowded, command: str) -> None:
    shown = crowded.fleet.kamcmd("sip1", command)
    if command == "ul.show":
        assert len(re.findall(r"^ *slot_\d+ ", shown, re.MULTILINE)) == BINDINGS
    else:
        assert {talk.call_id for talk in crowded.talks} <= set(re.findall(r'"call-id":"([^"]+)"', shown))


def test_bans_are_listed_and_lifted(crowded: Crowded) -> None:
    now = int(time.time())
    banned = [f"203.{number >> 8}.{number & 255}.1" for number in range(BANS)]
    tell(crowded, "sip1", [f"htable.sets ban {who} guesses:{now}:{now + 3600}:1" for who in banned])
    tell(crowded, "sip1", [f"htable.sets unwritten {who} written" for who in banned])
    assert {line[0] for line in crowded.table("bans")} == set(banned)
    eventually(lambda: crowded.fleet.sql("SELECT count(*) FROM ban") == [[str(BANS)]], 60, "not all are written")


def test_a_rollout_loses_no_call_and_says_so(crowded: Crowded) -> None:
    report = crowded.deploy(call_ring_seconds=110)
    assert f"calls in progress {CALLS}, {CALLS} of them after the switch, proved" in report, report
    assert report.count(f"bindings {BINDINGS} -> {BINDINGS}") == len(PROXIES), report
    assert len(crowded.table("bans")) == BANS


def test_a_rollback_loses_no_call_and_says_so(crowded: Crowded) -> None:
    done = crowded.sipstack("rollback")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"calls in progress {CALLS}, {CALLS} of them after the switch" in done.stdout + done.stderr
    assert len(crowded.table("releases")) >= len(PROXIES)


def test_a_killed_proxy_has_everything_again(crowded: Crowded) -> None:
    crowded.fleet.hosts["sip1"].exec("docker", "kill", "-s", "KILL", "vss-kamailio")
    crowded.fleet.hosts["sip1"].exec("docker", "start", "vss-kamailio")
    eventually(lambda: crowded.fleet.serves("sip1"), 60, "it does not serve")
    assert bindings(crowded, "sip1") == BINDINGS
    assert calls(crowded, "sip1") == CALLS


def test_all_bans_are_lifted(crowded: Crowded) -> None:
    done = crowded.sipstack("bans", "--lift", "all")
    assert done.returncode == 0, done.stdout + done.stderr
    assert crowded.sipstack("bans").stdout == "nobody is banned\n"


def test_memory_suffices(crowded: Crowded) -> None:
    for proxy in PROXIES:
        said = dict(re.findall(r"(\w+): (\d+)", crowded.fleet.kamcmd(proxy, "core.shmmem")))
        assert int(said["max_used"]) < MEMORY_SHARE * int(said["total"]), said


def test_the_calls_went_on_and_end(crowded: Crowded) -> None:
    assert not crowded.crowd.ended
    assert crowded.crowd.hang_up(crowded.talks) == []
    assert crowded.crowd.ended == {talk.call_id for talk in crowded.talks}


def bindings(crowded: Crowded, proxy: str) -> int:
    return figure(crowded, proxy, "stats.fetch", "usrloc.location_contacts")


def calls(crowded: Crowded, proxy: str) -> int:
    return figure(crowded, proxy, "dlg.stats_active")


def figure(crowded: Crowded, proxy: str, *command: str) -> int:
    found = re.search(r"(?:location_contacts|ongoing): (\d+)", crowded.fleet.kamcmd(proxy, *command))
    assert found
    return int(found[1])


def tell(crowded: Crowded, proxy: str, commands: Sequence[str]) -> None:
    """Commands for kamcmd, all in one run."""
    container = crowded.fleet.hosts[proxy].container
    run = ["docker", "exec", "-i", container, "docker", "exec", "-i", "vss-kamailio", "/usr/sbin/kamcmd"]
    done = subprocess.run(run, input="\n".join(commands) + "\n", capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "error" not in done.stdout, done.stdout[-500:]
