"""Hosts that fail: the others go on at once, and what comes back knows what has changed meanwhile."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import pytest

from sipstack.lab.machine import LabHost
from sipstack.probe.phone import Phone
from tests.lab.fleet import PROXIES, TONES, Fleet, eventually, others
from tests.lab.fleet_calls import agree, forget_bindings, talk
from tests.lab.wire import Wire

FIRST_CALL_S = 6.0
NEXT_CALL_S = 1.0
GATEWAY_S = 3.0
BACK_S = 60.0
CUT_S = 120


@pytest.fixture(autouse=True)
def nobody_registered(fleet: Fleet) -> None:
    forget_bindings(fleet)


@contextmanager
def without(host: LabHost) -> Iterator[None]:
    """A host has no power, for the time of the block at least."""
    host.kill()
    try:
        yield
    finally:
        with suppress(Exception):
            host.start()


@contextmanager
def cut_off(fleet: Fleet, proxy: str) -> Iterator[None]:
    """A proxy and the others do not reach each other; all of them reach everything else."""
    peers = {proxy: others(proxy), **{other: [proxy] for other in others(proxy)}}
    for host, away in peers.items():
        # Lost, not refused: as when a switch between them fails, nobody is told.
        addresses = ", ".join(fleet.address[name] for name in away)
        rule = f"type filter hook input priority -10; ip saddr {{ {addresses} }} drop;"
        fleet.hosts[host].exec("nft", "-f", "-", stdin=f"table inet cut {{ chain input {{ {rule} }}; }}")
    try:
        yield
    finally:
        for host in peers:
            fleet.hosts[host].exec("nft", "delete", "table", "inet", "cut", check=False)


def call_through(callers: list[Phone], callee: Phone, number: int) -> None:
    """Each calls; the first call of each may take as long as it takes to see that a proxy is away."""
    for caller in callers:
        for patience in (FIRST_CALL_S, NEXT_CALL_S, NEXT_CALL_S):
            talk(caller, callee, number, (TONES[0], TONES[1]), patience)[0].hangup()


def test_a_proxy_that_loses_its_power(fleet: Fleet) -> None:
    password = fleet.passwords
    with (
        fleet.phones((6001, "sip1")) as one,
        fleet.phones((6002, "sip3")) as three,
        fleet.phone(7001, "sip2", tone=TONES[1]) as bert,
        fleet.phone(7002, "sip1") as late,
        Wire(fleet.address["sip1"]) as leaver,
    ):
        bert.register(check=True)
        assert leaver.register("slot_8001", password["slot_8001"]) == 200
        eventually(lambda: ("slot_8001") in {user for user, _ in fleet.bindings("sip2")}, 3)
        with without(fleet.hosts["sip2"]):
            call_through([*one, *three], bert, 7001)
            late.register(check=True)
            gone = ("Expires: 0",)
            assert leaver.register("slot_8001", password["slot_8001"], headers=gone) == 200
        eventually(lambda: fleet.serves("sip2"), BACK_S)
        users = {"slot_6001", "slot_6002", "slot_7001", "slot_7002"}
        agree(fleet, users)
        with fleet.phones((6003, "sip2")) as (carol,):
            talk(carol, bert, 7001)[0].hangup()


def test_a_phone_that_leaves_through_another_proxy_is_gone_everywhere(fleet: Fleet) -> None:
    """Its own proxy, which the others do not reach, sees it in the database; and tells nobody that it was there."""
    owner, other = "sip1", "sip2"
    user = "slot_8001"
    password = fleet.passwords[user]
    with Wire(fleet.address[owner]) as phone:
        assert phone.register(user, password) == 200
        agree(fleet, {user})
        with cut_off(fleet, owner):
            phone.socket.connect((fleet.address[other], 5060))
            assert phone.register(user, password, headers=("Expires: 0",)) == 200
            eventually(lambda: user not in {bound for bound, _ in fleet.bindings(owner)}, 15)
        agree(fleet, set())


def test_a_proxy_that_starts_does_not_bring_back_who_has_left(fleet: Fleet) -> None:
    """One that knows of a binding too long tells it to its owner, which has just started."""
    owner, late = "sip1", "sip2"
    user = "slot_8001"
    password = fleet.passwords[user]
    with Wire(fleet.address[owner]) as phone:
        assert phone.register(user, password) == 200
        agree(fleet, {user})
        # One that has started itself within the last twenty seconds still looks for all that was ever removed.
        eventually(lambda: "value: 0" in fleet.kamcmd(late, "pv.shvGet", "rounds"), BACK_S)
        try:
            with cut_off(fleet, late):
                fleet.hosts[late].exec("docker", "pause", "vss-kamailio")
                assert phone.register(user, password, headers=("Expires: 0",)) == 200
                # As it is a minute later, when nobody looks for it any more, nor repeats what was not heard.
                fleet.sql("UPDATE location_gone SET gone = gone - interval '1 hour'")
                fleet.hosts[owner].exec("docker", "stop", "vss-kamailio")
                fleet.hosts[late].exec("docker", "unpause", "vss-kamailio")
            assert user in {bound for bound, _ in fleet.bindings(late)}
        finally:
            fleet.hosts[late].exec("docker", "unpause", "vss-kamailio", check=False)
            fleet.hosts[owner].exec("docker", "start", "vss-kamailio")
        eventually(lambda: fleet.serves(owner), BACK_S)
        agree(fleet, set())


def call_outside_twice(phones: Sequence[Phone]) -> None:
    """Each phone in turn, through its own proxy, and again: each call is up soon and echoes."""
    for index, phone in enumerate([*phones, *phones]):
        call = phone.call("9002", timeout=GATEWAY_S)
        call.wait_hears(TONES[index % 3 % 2])
        call.hangup()


@pytest.mark.parametrize("host", ["pbx1", "pbx2"])
def test_an_asterisk_that_is_killed(fleet: Fleet, host: str) -> None:
    """Each of the two in turn: one of them is always the next to be asked."""
    gateway = fleet.hosts[host]
    with fleet.phones(*zip((6001, 6002, 6003), PROXIES, strict=True)) as phones:
        gateway.exec("docker", "kill", "vss-asterisk")
        try:
            call_outside_twice(phones)
        finally:
            gateway.exec("docker", "start", "vss-asterisk")
        uri = f"sip:{gateway.address}:5080"
        for proxy in PROXIES:
            eventually(lambda proxy=proxy: fleet.destinations(proxy).get(uri) == "AP", 30, uri)  # type: ignore[misc]


@pytest.mark.parametrize("host", ["db1", "pbx1"])
def test_an_rtpengine_that_is_killed(fleet: Fleet, host: str) -> None:
    relay = fleet.hosts[host]
    with fleet.phones(*zip((6001, 6002, 6003), PROXIES, strict=True)) as phones:
        relay.exec("docker", "kill", "vss-rtpengine")
        try:
            call_outside_twice(phones)
        finally:
            relay.exec("docker", "start", "vss-rtpengine")


@pytest.mark.slow
def test_a_proxy_that_was_cut_off_for_two_minutes(fleet: Fleet) -> None:
    """What registers, refreshes and leaves on both sides meanwhile is known to all afterwards, and nothing else is."""
    here, there = "sip3", "sip1"
    password = fleet.passwords
    sockets = {number: (here if number % 2 else there) for number in (6001, 6002, 6003, 6004, 7001, 7002, 8001, 8002)}
    before, leave, come = (6001, 6002, 6003, 6004, 7001, 7002), (6003, 6004), (8001, 8002)
    wires = {number: Wire(fleet.address[proxy]) for number, proxy in sockets.items()}

    def register(number: int, seconds: int) -> None:
        user = f"slot_{number}"
        code = wires[number].register(user, password[user], headers=(f"Expires: {seconds}",))
        assert code == 200, number

    for number in before:
        register(number, 100 if number in (7001, 7002) else 600)
    agree(fleet, {f"slot_{number}" for number in before})
    with cut_off(fleet, here):
        eventually(lambda: fleet.destinations(here)[f"sip:{fleet.address[there]}:5060"] != "AP", 30)
        for number in leave:
            register(number, 0)
        for number in come:
            register(number, 600)
        # These would expire within the cut if they were not refreshed.
        for _ in range(0, CUT_S, 20):
            time.sleep(20)  # here it is time itself that is tested
            for number in (7001, 7002):
                register(number, 100)
    left = {f"slot_{number}" for number in (*before, *come) if number not in leave}
    agree(fleet, left)
    time.sleep(25)  # what is told late must not bring back what has left
    agree(fleet, left)
    for wire in wires.values():
        wire.socket.close()
