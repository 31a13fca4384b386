"""Several proxies are one service: a slot is reached through each of them, wherever it registered."""

import time
from collections.abc import Iterator
from functools import partial

import pytest

from tests.lab.fleet import PROXIES, TONES, Fleet, eventually, on_this_machine, others
from tests.lab.fleet_calls import end, forget_bindings, hear, known_at, on_record, rows, talk
from tests.lab.homes import HOMES, home
from tests.lab.wire import DOMAIN, Wire

# What one proxy learns another knows within this, seconds.
KNOWN_WITHIN = 1.0
BERTS = 620  # Hz
ASTERISK = ("docker", "exec", "vss-asterisk", "asterisk", "-C", "/etc/asterisk/asterisk.conf", "-rx")


@pytest.fixture(autouse=True, scope="module")
def nothing_wrong_in_the_logs(fleet: Fleet) -> Iterator[None]:
    """Proxies that write over each other's rows would say so here, or PostgreSQL would."""
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    yield
    for host, container in [*((proxy, "vss-kamailio") for proxy in PROXIES), ("db1", "vss-postgres")]:
        said = fleet.logs(host, container, since=since).splitlines()
        bad = [line for line in said if any(word in line for word in ("ERROR", "CRITICAL", "duplicate key"))]
        assert bad == [], f"{container} on {host}"


@pytest.fixture(autouse=True)
def nobody_registered(fleet: Fleet) -> None:
    forget_bindings(fleet)


@pytest.mark.parametrize("kind", HOMES)
def test_a_slot_is_called_through_every_proxy(fleet: Fleet, kind: str) -> None:
    own = PROXIES[list(HOMES).index(kind) % len(PROXIES)]
    with (
        home(fleet.lab, kind) as options,
        fleet.phones(*((6001 + index, proxy) for index, proxy in enumerate(others(own)))) as callers,
        fleet.phone(7001, own, tone=BERTS, **options) as bert,
    ):
        for ender, caller in enumerate(callers):
            bert.register(check=True)
            eventually(lambda: known_at(fleet, 7001) == dict.fromkeys(PROXIES, 1), on_this_machine(KNOWN_WITHIN))
            tones = (TONES[ender], BERTS)
            sides = talk(caller, bert, 7001, tones)
            for side in sides:  # the second only when the first is over, as RFC 3261 section 14.1 has it
                assert side.reinvite() == 200
                hear(sides, tones)
            end(fleet, sides, ender)
        assert len(rows(fleet, 7001)) == 1
        assert known_at(fleet, 7001) == dict.fromkeys(PROXIES, 1)
    assert rows(fleet, 7001) == []


@pytest.mark.parametrize("kind", ["udp-symmetric-nat", "tcp-nat"])
def test_both_sides_behind_nat_at_different_proxies(fleet: Fleet, kind: str) -> None:
    with (
        home(fleet.lab, kind, "home") as here,
        home(fleet.lab, kind, "farm") as there,
        fleet.phone(6001, "sip1", tone=TONES[0], **here) as anna,
        fleet.phone(7001, "sip3", tone=TONES[1], **there) as bert,
    ):
        anna.register(check=True)
        bert.register(check=True)
        for caller, callee, number, tones in ((anna, bert, 7001, TONES), (bert, anna, 6001, TONES[::-1])):
            sides = talk(caller, callee, number, tones)
            assert [side.reinvite() for side in sides] == [200, 200]
            hear(sides, tones)
            end(fleet, sides, ender=1)


def test_a_call_is_refused_cancelled_and_unanswered_through_another_proxy(fleet: Fleet) -> None:
    with fleet.phones((6001, "sip1"), (7001, "sip2")) as (anna, bert):
        call = anna.call("7001")
        bert.expect_call(KNOWN_WITHIN).answer(486)
        call.wait_state("disconnected")
        assert call.code == 486
        again = anna.call("7001")
        incoming = bert.expect_call()
        incoming.ring()
        again.wait_state("early")
        again.hangup()
        assert again.code == 487
        incoming.wait_state("disconnected")
    for which, code in ((call, "486"), (again, "487")):
        found = fleet.sql(f"SELECT sip_code FROM missed_calls WHERE callid = '{which.call_id}'")
        assert found == [[code]], "once, by the proxy that was asked"


def test_who_leaves_by_another_proxy_has_left_everywhere(fleet: Fleet) -> None:
    password = fleet.passwords["slot_7001"]
    with fleet.phones((6001, "sip3")) as (anna,), Wire(fleet.address["sip1"]) as wire:
        assert wire.register("slot_7001", password) == 200
        eventually(lambda: known_at(fleet, 7001) == dict.fromkeys(PROXIES, 1), KNOWN_WITHIN + 1)
        with Wire(fleet.address["sip2"]) as other:
            gone = (f"Contact: <sip:slot_7001@{wire.contact}>", "Expires: 0")
            assert other.register("slot_7001", password, contact=False, headers=gone) == 200
        eventually(lambda: known_at(fleet, 7001) == dict.fromkeys(PROXIES, 0), KNOWN_WITHIN + 1)
        assert rows(fleet, 7001) == []
        call = anna.call("7001")
        call.wait_state("disconnected")
        assert call.code == 480


def test_a_phone_that_moves_is_called_through_its_new_proxy(fleet: Fleet) -> None:
    """Wire hears only the proxy to which it is connected."""
    password = fleet.passwords["slot_7001"]
    with fleet.phones((6001, "sip1"), (6002, "sip3")) as callers, Wire(fleet.address["sip1"]) as wire:
        for round_, proxy in enumerate(("sip1", "sip2", "sip1")):
            wire.socket.connect((fleet.address[proxy], 5060))
            assert wire.register("slot_7001", password) == 200
            for caller in callers:
                call = caller.call("7001")
                first, invite = wire.next_request(KNOWN_WITHIN)
                assert first.startswith("INVITE "), (round_, first)
                wire.answer(invite, b"486 Busy Here", tag=b"x")
                assert wire.next_request()[0].startswith("ACK ")
                call.wait_state("disconnected")
                assert call.code == 486, (round_, proxy)
            assert len(rows(fleet, 7001)) == 1
            assert known_at(fleet, 7001) == dict.fromkeys(PROXIES, 1)


def test_outside_is_called_through_every_proxy(fleet: Fleet) -> None:
    with fleet.phones(*zip((6001, 6002, 6003), PROXIES, strict=True), transport="tcp") as phones:
        for index, phone in enumerate(phones):
            for _ in range(2):  # the Asterisks take turns
                call = phone.call("9002", timeout=5)
                call.wait_hears(TONES[index % 2])
                call.hangup()
                eventually(partial(on_record, fleet, call), 3, "no CDR, or two")


@pytest.mark.parametrize("gateway", ["pbx1", "pbx2"])
@pytest.mark.parametrize("own", PROXIES)
def test_asterisk_reaches_a_slot_wherever_it_registered(fleet: Fleet, gateway: str, own: str) -> None:
    """Which proxy Asterisk asks is its own choice: the first one of its list that answers."""
    with fleet.phones((7001, own)) as (bert,):
        for proxy in PROXIES:
            target = f"PJSIP/proxies/sip:7001@{fleet.address[proxy]}:5060"
            fleet.hosts[gateway].exec(*ASTERISK, f"channel originate {target} application Milliwatt")
            incoming = bert.expect_call()
            assert incoming.source == f"{fleet.address[own]}:5060", proxy
            incoming.answer()
            incoming.wait_hears(1004)
            incoming.hangup()


def test_who_does_not_authenticate_reaches_nobody_through_a_peer(fleet: Fleet) -> None:
    """A proxy trusts what another one sends; nobody else may pass for one."""
    with fleet.phones((7001, "sip2")) as (bert,), Wire(fleet.address["sip1"]) as wire:
        lie = (f"P-Delivery: <{bert.uri}>",)
        assert wire.ask(wire.invite(f"sip:7001@{DOMAIN}", headers=lie))[0] == 407
