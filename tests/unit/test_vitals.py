"""What a host says of itself, and what is wrong then, in words. The words of the programs are theirs, as they came."""

import re
from types import SimpleNamespace
from typing import Any

import pytest

from sipstack import faults
from sipstack.facts.firewall import FirewallState
from sipstack.facts.vitals import Disk, Vitals, VitalsFact
from sipstack.facts.watch import WatchState

SAID = """now=1790000000.5
disk=/ 41% 3%
disk=/var/lib/docker 93% 10%
database=1
memory={
memory=	total: 268435456
memory=	free: 250000000
memory=	used: 15000000
memory=	real_used: 18435456
memory=	max_used: 18435456
memory=	fragments: 12
memory=}
peer={
peer=	host: 198.18.0.12
peer=	port: 5062
peer=	proto: 1
peer=	resolved_ip: 198.18.0.12
peer=	status: active
peer=	last_notification: 0
peer=	local: 0
peer=}
peer={
peer=	host: 198.18.0.13
peer=	port: 5062
peer=	status: disabled
peer=	local: 0
peer=}
peer={
peer=	host: 198.18.0.11
peer=	status: active
peer=	local: 1
peer=}
"""
BOTH = {"vss-database-watch.service", "vss-revive.service"}
WATCH = WatchState(BOTH, BOTH)
WELL = Vitals(now=0.0, database="", memory=(10, 100), peers={"192.0.2.2": "active"})


def node(**changes: Any) -> Any:
    values = {
        "peers": [SimpleNamespace(name="sip2", address="192.0.2.2")],
        "settings": SimpleNamespace(proxy_peer_port=5062),
        "database": SimpleNamespace(over_network=False),
        "has": lambda role: role == "proxies",
    }
    return SimpleNamespace(**values | changes)


def vitals(**changes: Any) -> Vitals:
    return Vitals(**vars(WELL) | changes)


def test_what_is_said_is_understood() -> None:
    found = VitalsFact().process(SAID.splitlines())
    assert found.now == 1790000000.5
    assert found.disks == [Disk("/", 41, 3), Disk("/var/lib/docker", 93, 10)]
    assert found.memory == (18435456, 268435456)
    assert found.peers == {"198.18.0.12": "active", "198.18.0.13": "disabled"}
    assert (found.database, found.cut_off, found.deploy) == ("", False, "")


def test_a_host_that_says_nothing_is_no_host_that_is_well() -> None:
    assert faults.proxy_faults(VitalsFact().process([]), node(peers=[])) != []


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (vitals(), ""),
        (vitals(cut_off=True), "PostgreSQL is silent or slow"),
        (vitals(database="psql: error: connection refused"), "cannot ask PostgreSQL: psql: error: connection refused"),
        (vitals(database=None), "cannot be asked about its database"),
        (vitals(memory=(95 << 20, 100 << 20)), r"shared memory is full to 95 % \(95 of 100 MB\)"),
        (vitals(peers={"192.0.2.2": "disabled"}), r"proxy sip2 does not answer it \(DMQ: disabled\)"),
        (vitals(peers={}), r"proxy sip2 does not answer it \(DMQ: unknown\)"),
    ],
)
def test_what_a_proxy_lacks_is_named(found: Vitals, said: str) -> None:
    wrong = faults.proxy_faults(found, node())
    assert len(wrong) == bool(said)
    if said:
        assert re.search(said, wrong[0])


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (vitals(disks=[Disk("/", 89, 1)]), ""),
        (vitals(disks=[Disk("/", 90, 1)]), "disk / is full to 90 % (room): make room"),
        (vitals(disks=[Disk("/", 9, 99)]), "disk / is full to 99 % (inodes): make room"),
        (vitals(now=60.0), "its clock is +60 s from this machine's: see chrony or systemd-timesyncd"),
        (vitals(now=-60.0), "its clock is -60 s from this machine's: see chrony or systemd-timesyncd"),
    ],
)
def test_what_a_host_lacks_is_named(found: Vitals, said: str) -> None:
    assert faults.host_faults(found, 0.0) == ([said] if said else [])


@pytest.mark.parametrize(
    ("firewall", "watch", "said"),
    [
        (FirewallState(files={"a": "b"}, loaded=True, enabled=True), WATCH, ""),
        (FirewallState(), WATCH, ""),
        (FirewallState(files={"a": "b"}, enabled=True), WATCH, "the firewall is not in force"),
        (FirewallState(files={"a": "b"}, loaded=True), WATCH, "would not come back after a reboot"),
        (FirewallState(), WatchState(BOTH, {"vss-revive.service"}), "vss-database-watch.service does not run"),
        (FirewallState(), WatchState({"vss-database-watch.service"}, BOTH), "vss-revive.service does not run"),
    ],
)
def test_guards_that_do_not_stand_are_named(firewall: FirewallState, watch: WatchState, said: str) -> None:
    wrong = faults.guard_faults(firewall, watch, node())
    assert (said in wrong[0]) if said else wrong == []
