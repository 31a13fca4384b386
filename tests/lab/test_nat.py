"""Phones behind NAT routers: signalling and media reach them in both directions."""

import pytest

from sipstack.lab.outside import Nat, Outside
from tests.lab.system import System
from tests.lab.test_calls import hear_each_other, talk

NATS: list[tuple[Nat, Nat]] = [("port-restricted", "port-restricted"), ("symmetric", "symmetric")]


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize("nats", NATS, ids=["port-restricted", "symmetric"])
def test_two_phones_behind_nats_talk(system: System, nats: tuple[Nat, Nat], transport: str) -> None:
    with Outside(system.lab) as outside:
        homes = [outside.behind_nat(name, nat) for name, nat in zip(("home", "farm"), nats, strict=True)]
        with (
            system.phone(6001, tone=440, exec_prefix=homes[0].exec_prefix, transport=transport) as anna,
            system.phone(7001, tone=880, exec_prefix=homes[1].exec_prefix, transport=transport) as bert,
        ):
            anna.register(check=True)
            bert.register(check=True)
            received = dict(system.sql("SELECT username, received FROM location"))
            assert homes[0].public_address in received["slot_6001"]
            for ender in (0, 1):
                sides = talk(anna, bert, "7001")
                assert all(side.audio().remote.startswith(f"{system.address}:") for side in sides)
                assert [side.reinvite() for side in sides] == [200, 200]
                hear_each_other(*sides)
                sides[ender].hangup()
                sides[1 - ender].wait_state("disconnected")


def test_behind_nat_and_in_the_open(system: System) -> None:
    with Outside(system.lab) as outside:
        inside, open_ = outside.behind_nat("inside", "symmetric"), outside.public("open")
        with (
            system.phone(6001, tone=440, exec_prefix=inside.exec_prefix) as anna,
            system.phone(6002, tone=880, exec_prefix=open_.exec_prefix) as bert,
        ):
            anna.register(check=True)
            bert.register(check=True)
            talk(anna, bert, "6002")[0].hangup()
            call = bert.call("6001")
            incoming = anna.expect_call()
            incoming.answer()
            call.wait_hears(440)
            incoming.wait_hears(880)


def test_asterisk_is_heard_behind_nat(system: System) -> None:
    with Outside(system.lab) as outside:
        home = outside.behind_nat("home", "symmetric")
        with system.phone(6001, tone=440, exec_prefix=home.exec_prefix) as anna:
            anna.register(check=True)
            call = anna.call("9002", timeout=5)
            call.wait_hears(440)
            call.hangup()


def test_a_caller_behind_nat_cancels(system: System) -> None:
    with Outside(system.lab) as outside:
        homes = [outside.behind_nat(name) for name in ("home", "farm")]
        with (
            system.phone(6001, exec_prefix=homes[0].exec_prefix) as anna,
            system.phone(7001, exec_prefix=homes[1].exec_prefix) as bert,
        ):
            anna.register(check=True)
            bert.register(check=True)
            call = anna.call("7001")
            incoming = bert.expect_call()
            incoming.ring()
            call.wait_state("early")
            call.hangup()
            incoming.wait_state("disconnected")
