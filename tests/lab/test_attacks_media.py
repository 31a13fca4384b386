"""Nobody who is not in a call hears it or speaks in it (RTP bleed and inject, CVE-2025-53399); those who are in it do.

The attacker has an address of its own, knows every media port, and sends from before the call to its end.
"""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pytest

from sipstack.firewall import MEDIA_TABLE, SERVICE
from sipstack.lab.namespaces import Namespace, ip_in
from sipstack.lab.outside import Nat, Outside
from sipstack.lab.shell import run
from sipstack.probe.call import Call
from sipstack.probe.phone import Phone
from tests.lab.bystander import Attacker, Onlooker
from tests.lab.system import System
from tests.lab.test_calls import hear_each_other
from tests.lab.wire import DOMAIN, Wire, forget_bindings

ALL_PORTS = (30000, 39999)
# Longer than rtpengine learns where a phone sends from (3 s after the last word of the signalling).
LEARNT_SECONDS = 4.0
HOMES: list[Nat | None] = [None, "port-restricted", "symmetric"]


@dataclass
class Scene:
    """Two phones, each on a machine of its own, and who wants to get between them."""

    outside: Outside
    homes: list[Namespace]
    anna: Phone
    bert: Phone
    attacker: Attacker
    onlookers: list[Onlooker]

    def unharmed(self) -> None:
        """The attacker sent a lot, got nothing, and nothing of it came to a phone."""
        sent, received = self.attacker.end()
        assert sent > 10_000
        assert received == 0, f"{received} packets of the call went to the attacker"
        assert [onlooker.end() for onlooker in self.onlookers] == [[0], [0]], "packets of the attacker came to a phone"


@contextmanager
def scene(system: System, *nats: Nat | None) -> Iterator[Scene]:
    """The attack has begun, and no call yet."""
    await_learnt(system)
    with ExitStack() as stack:
        outside = stack.enter_context(Outside(system.lab))
        homes = [
            outside.behind_nat(name, nat) if nat else outside.public(name)
            for name, nat in zip(("anna", "bert"), nats, strict=True)
        ]
        anna, bert = (
            stack.enter_context(system.phone(number, tone=tone, exec_prefix=home.exec_prefix))
            for number, tone, home in zip((6001, 6002), (440, 880), homes, strict=True)
        )
        for phone in (anna, bert):
            phone.register(check=True)
        attacker = stack.enter_context(Attacker(outside.public("mallory"), system.address))
        onlookers = [stack.enter_context(Onlooker(home)) for home in homes]
        attacker.attack(*ALL_PORTS)
        yield Scene(outside, homes, anna, bert, attacker, onlookers)


def await_learnt(system: System) -> None:
    """Right after the very first deploy the firewall lets the calls that there are go on."""
    deadline = time.monotonic() + 15
    while "elements" in system.host.exec("nft", "list", "set", *MEDIA_TABLE.split(), "learning").stdout:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def answered(caller: Phone, callee: Phone, number: str) -> tuple[Call, Call]:
    call = caller.call(number)
    incoming = callee.expect_call()
    incoming.answer()
    call.wait_state("confirmed")
    incoming.wait_state("confirmed")
    return call, incoming


def media_port(call: Call) -> int:
    """The port at which rtpengine takes what this phone sends."""
    return int(call.audio().remote.rpartition(":")[2])


@contextmanager
def mute(home: Namespace) -> Iterator[None]:
    """Nothing of what a phone says leaves its machine."""
    rule = "table ip mute { chain output { type filter hook output priority 0; udp dport 30000-39999 drop; }; }"
    run([*home.exec_prefix, "nft", rule])
    try:
        yield
    finally:
        run([*home.exec_prefix, "nft", "delete table ip mute"])


@pytest.mark.parametrize("nat", HOMES, ids=["open", "port-restricted", "symmetric"])
def test_a_call_is_between_two(system: System, nat: Nat | None) -> None:
    with scene(system, nat, nat) as made:
        sides = answered(made.anna, made.bert, "6002")
        hear_each_other(*sides)
        # Now all that it has at the two ports, their RTCP, and what lies between.
        ports = sorted(media_port(side) for side in sides)
        made.attacker.attack(ports[0], min(ports[0] + 3, ports[1] + 1))
        time.sleep(1)
        made.attacker.attack(ports[1], ports[1] + 1)
        time.sleep(LEARNT_SECONDS)
        hear_each_other(*sides)
        sides[0].hangup()
        made.unharmed()


@pytest.mark.parametrize("silent", [0, 1], ids=["caller", "callee"])
def test_a_phone_that_is_silent_is_not_stood_in_for(system: System, silent: int) -> None:
    """Before its first packet, however late that comes."""
    with scene(system, "symmetric", "symmetric") as made:
        with mute(made.homes[silent]):
            sides = answered(made.anna, made.bert, "6002")
            port = media_port(sides[silent])
            made.attacker.attack(port, port + 1)
            time.sleep(LEARNT_SECONDS)
        hear_each_other(*sides)
        made.unharmed()


def test_a_call_to_asterisk(system: System) -> None:
    with scene(system, "symmetric", None) as made:
        call = made.anna.call("9002", timeout=5)
        call.wait_hears(440)
        port = media_port(call)
        made.attacker.attack(port, port + 1)
        time.sleep(LEARNT_SECONDS)
        call.wait_hears(440)
        call.hangup()
        made.unharmed()


def test_a_phone_that_moves_is_heard_where_it_says_so(system: System) -> None:
    """Its router gets another address; with the re-INVITE from there the call goes on."""
    with scene(system, "symmetric", None) as made:
        sides = answered(made.anna, made.bert, "6002")
        hear_each_other(*sides)
        spare = made.outside.public("spare")
        spare.close()
        router, old = made.homes[0].router, made.homes[0].public_address
        assert router
        ip_in(router, "address", "add", f"{spare.address}/24", "dev", "eth0")
        ip_in(router, "address", "delete", f"{old}/24", "dev", "eth0")
        ip_in(router, "address", "replace", f"{spare.address}/24", "dev", "eth0")
        ip_in(router, "route", "replace", "default", "via", made.outside.lab.network.gateway)
        # Nobody has said that it is there: what comes from there is a stranger's.
        sides[1].wait_silence()
        assert sides[0].reinvite() == 200
        hear_each_other(*sides)
        made.unharmed()


@pytest.mark.parametrize("verb", ["reload", "restart"])
def test_the_firewall_may_be_loaded_while_people_talk(system: System, verb: str) -> None:
    """Also when it knows nothing of them any more, as after a restart."""
    with scene(system, "symmetric", "symmetric") as made:
        sides = answered(made.anna, made.bert, "6002")
        hear_each_other(*sides)
        made.attacker.end()
        system.host.exec("systemctl", verb, SERVICE)
        await_learnt(system)
        hear_each_other(*sides)
        ports = [media_port(side) for side in sides]
        with Attacker(made.outside.public("oscar"), system.address) as attacker:
            attacker.attack(min(ports), min(ports) + 1)
            time.sleep(LEARNT_SECONDS)
            hear_each_other(*sides)
            assert attacker.end()[1] == 0
        assert [onlooker.end() for onlooker in made.onlookers] == [[0], [0]]


def test_who_answers_at_once_is_heard_at_once(system: System) -> None:
    """rtpengine alone would begin at its next second; of three calls that would be more than a hundred packets."""
    lost = 0
    with Outside(system.lab) as outside, ExitStack() as stack:
        anna, bert = (
            stack.enter_context(
                system.phone(number, tone=tone, exec_prefix=outside.behind_nat(name, "symmetric").exec_prefix)
            )
            for number, tone, name in ((6001, 440, "anna"), (6002, 880, "bert"))
        )
        for phone in (anna, bert):
            phone.register(check=True)
        for _ in range(3):
            sides = answered(anna, bert, "6002")
            hear_each_other(*sides)
            here, there = (side.audio() for side in sides)
            lost += here.sent + there.sent - here.received - there.received
            sides[0].hangup()
            sides[1].wait_state("disconnected")
    assert lost < 40


@pytest.mark.parametrize("line", ["c=IN IP4 {0}: 1", "c=IN IP4 {0} : 1\r\nm=audio {1} : 1", "m=audio : {1}"])
def test_a_header_does_not_say_where_the_first_packet_goes(system: System, line: str) -> None:
    with ExitStack() as stack:
        caller, called = (stack.enter_context(Wire(system.address)) for _ in range(2))
        other = stack.enter_context(socket.socket(type=socket.SOCK_DGRAM))
        other.bind((caller.address, 45000))  # which is the port in the offer, too
        other.settimeout(1)
        stack.callback(forget_bindings, system)
        assert called.register("slot_6002", system.password(6002)) == 200
        target, headers = f"sip:6002@{DOMAIN}", (line.format(caller.address, 45000),)
        caller.ask_as("slot_6001", system.password(6001), "INVITE", target, 1.0, headers=headers)
        with pytest.raises(TimeoutError):
            while sent_by_a_relay := other.recvfrom(2000):
                assert 30000 <= sent_by_a_relay[1][1] <= 39999, "it came from the proxy itself"
