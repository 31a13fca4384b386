"""What outlives the proxy: bindings and calls, whether it is restarted or killed. Runs last."""

import time

import pytest

from sipstack.lab.outside import Outside
from tests.lab.outage import wait_for_proxy
from tests.lab.system import System
from tests.lab.test_calls import hear_each_other, phones, talk
from tests.lab.wire import DOMAIN, Wire, forget_bindings, held

# The engine takes `docker kill` for an operator's wish and leaves the container down; this is a crash.
CRASH = "kill -9 $(docker inspect -f '{{.State.Pid}}' vss-kamailio)"
STOPS = {"restart": "docker restart vss-kamailio", "kill": CRASH}


@pytest.fixture(autouse=True)
def nobody_registered(system: System) -> None:
    forget_bindings(system)


def stop(system: System, how: str) -> None:
    """End the proxy and wait until it is back, by itself after a crash."""
    before = system.started_at()["vss-kamailio"]
    started = "docker inspect -f '{{.State.StartedAt}}' vss-kamailio"
    script = f"{STOPS[how]}; until {started} | grep -qv {before}; do sleep 0.1; done"
    system.host.exec("sh", "-c", script, timeout=60)
    wait_for_proxy(system)


@pytest.mark.parametrize("how", STOPS)
def test_bindings_survive(system: System, how: str) -> None:
    with phones(system, 6001, 6002) as (anna, bert):
        stop(system, how)
        talk(anna, bert, "6002")[0].hangup()


def test_bindings_behind_nat_survive(system: System) -> None:
    with Outside(system.lab) as outside:
        home = outside.behind_nat("home", "symmetric")
        with phones(system, 6001) as (anna,), system.phone(6002, tone=880, exec_prefix=home.exec_prefix) as bert:
            bert.register(check=True)
            stop(system, "kill")
            talk(anna, bert, "6002")[0].hangup()


def test_a_tcp_phone_is_called_over_a_new_connection(system: System) -> None:
    """Its connection ended with the proxy. One that listens at its Contact is reached there."""
    with phones(system, 6001) as (anna,), system.phone(6002, tone=880, transport="tcp") as bert:
        bert.register(check=True)
        stop(system, "kill")
        talk(anna, bert, "6002")[0].hangup()


def test_a_tcp_phone_behind_nat_is_back_with_its_next_registration(system: System) -> None:
    """Nobody but the phone can make a new connection: until then the caller is told at once."""
    with (
        phones(system, 6001) as (anna,),
        Outside(system.lab) as outside,
        system.phone(6002, tone=880, transport="tcp", exec_prefix=outside.behind_nat("home").exec_prefix) as bert,
    ):
        bert.register(check=True)
        stop(system, "kill")
        call = anna.call("6002")
        call.wait_state("disconnected", timeout=3)
        assert call.code == 480
        rows = system.sql(f"SELECT sip_code FROM missed_calls WHERE callid = '{call.call_id}'")
        assert rows == [["480"]]
        bert.register(check=True)
        talk(anna, bert, "6002")[0].hangup()


@pytest.mark.parametrize("ender", [0, 1], ids=["caller", "callee"])
@pytest.mark.parametrize("how", STOPS)
def test_a_call_survives(system: System, how: str, ender: int) -> None:
    with phones(system, 6001, 6002) as (anna, bert):
        start = time.monotonic()
        sides = talk(anna, bert, "6002")
        stop(system, how)
        hear_each_other(*sides)
        assert sides[ender].reinvite() == 200
        hear_each_other(*sides)
        sides[ender].hangup()
        sides[1 - ender].wait_state("disconnected")
        lasted = time.monotonic() - start
        query = "SELECT duration, src_user, dst_user FROM acc_cdrs WHERE callid = "
        ((duration, source, target),) = system.sql(f"{query}'{sides[0].call_id}'")
    assert lasted - 2 <= float(duration) <= lasted
    assert (source, target) == ("slot_6001", "slot_6002")
    assert held(system, sides[0].call_id) == (0, 0)


def test_a_call_that_has_ended_does_not_come_back(system: System) -> None:
    """Killed right after a BYE: else the call would be on record for hours."""
    with phones(system, 6001, 6002) as (anna, bert):
        sides = talk(anna, bert, "6002")
        sides[0].hangup()
        stop(system, "kill")
    assert sides[0].call_id not in system.kamcmd("dialog.list")
    assert held(system, sides[0].call_id) == (0, 0)
    assert len(system.sql(f"SELECT 1 FROM acc_cdrs WHERE callid = '{sides[0].call_id}'")) == 1


def test_a_call_through_asterisk_survives(system: System) -> None:
    with phones(system, 6001) as (anna,):
        call = anna.call("9002", timeout=5)
        call.wait_hears(440)
        stop(system, "kill")
        call.wait_hears(440)
        call.hangup()
        shown = system.host.exec(
            "docker", "exec", "vss-asterisk", "asterisk", "-C", "/etc/asterisk/asterisk.conf", "-rx",
            "core show channels count",
        ).stdout  # fmt: skip
        assert "0 active channels" in shown


def test_a_silent_rtpengine_holds_up_one_call_and_not_each(system: System) -> None:
    """It takes a second to know that nobody answers; what is asked next does not wait. New calls find it again."""
    with phones(system, 6001, 6002) as (anna, bert):
        calls = [talk(anna, bert, "6002") for _ in range(3)]
        took = []
        system.host.exec("docker", "pause", "vss-rtpengine")
        try:
            for call, incoming in calls:
                began = time.monotonic()
                call.hangup()
                incoming.wait_state("disconnected")
                took.append(time.monotonic() - began)
        finally:
            system.host.exec("docker", "unpause", "vss-rtpengine")
        assert took[0] > 0.9 and max(took[1:]) < 0.5, took
        talk(anna, bert, "6002")[0].hangup()


@pytest.mark.parametrize("_", range(3))
def test_rtpengine_that_comes_back_is_used_at_once(system: System, _: int) -> None:
    """Workers have met its absence; none may go on refusing calls because of that, or leave one silent.

    Thrice: it is left to chance whether the worker that met it first asks for a call next, or for its answer.
    """
    with phones(system, 6001) as (anna,), Wire(system.address) as wire:
        system.host.exec("docker", "stop", "vss-rtpengine")
        try:
            for _ in range(5):
                call = anna.call("9002")
                call.wait_state("disconnected", timeout=3)
                assert call.code == 503
                # The workers take turns; without this fifth message it would be the same one's each time.
                assert wire.ask(wire.message("OPTIONS", f"sip:{DOMAIN}"))[0] == 200
        finally:
            system.start("vss-rtpengine")
        for _ in range(5):
            call = anna.call("9002", timeout=5)
            call.wait_hears(440)
            call.hangup()
