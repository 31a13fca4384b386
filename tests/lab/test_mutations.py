"""Mutated messages by the thousand: nothing dies, nothing leaks, phones are served meanwhile.

The seed is printed. SIPSTACK_MUTATION_SEED makes the same messages again, SIPSTACK_MUTATIONS another number of them.
"""

import os
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.lab.hostile import TELLTALE, Memory, Watch, answers_options, memory, phones_are_served
from tests.lab.system import System
from tests.torture.mutate import mutant

# Percent. What Kamailio keeps of a stranger's message ends with its transaction, so a lasting growth is a leak.
GROWTH = 5.0
# One in so many over TCP, where each has a connection of its own.
TCP_SHARE = 10
# What is answered is forgotten by then: tm's wt_timer, and connections that brought no message.
FORGOTTEN = 20.0


@pytest.fixture
def seed() -> int:
    seed = int(os.environ.get("SIPSTACK_MUTATION_SEED") or secrets.randbelow(2**32))
    print(f"SIPSTACK_MUTATION_SEED={seed}")
    return seed


@pytest.fixture
def udp(system: System) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.connect((system.address, 5060))
        udp.setblocking(False)
        yield udp


def test_a_seed_makes_the_same_messages() -> None:
    assert [mutant(7, number) for number in range(300)] == [mutant(7, number) for number in range(300)]
    assert len({mutant(7, number) for number in range(300)}) > 290


@pytest.mark.parametrize("count", [2_000, pytest.param(20_000, marks=pytest.mark.slow)])
def test_mutations(system: System, udp: socket.socket, seed: int, count: int) -> None:
    count = int(os.environ.get("SIPSTACK_MUTATIONS") or count)
    phones_are_served(system)  # what is made once, at the first call, is no growth
    barrage(system, udp, seed, range(count, count + 500))
    time.sleep(FORGOTTEN)
    before = memory(system)
    start = time.monotonic()
    with Watch(system) as watch:
        slowest, served = 0.0, []
        for tenth in range(10):
            slowest = max(slowest, barrage(system, udp, seed, range(tenth * count // 10, (tenth + 1) * count // 10)))
            served.append(phones_are_served(system))
            watch.unharmed()
        took = time.monotonic() - start
    time.sleep(FORGOTTEN)
    shared, private = before.growth(after := memory(system))
    print(
        f"{count} messages in {took:.0f} s; the slowest answer to others took {slowest:.2f} s, "
        f"two registrations and a call {max(served):.1f} s at most; "
        f"shared memory {before.shared} -> {after.shared} ({shared:+.2f} %), "
        f"private at most {private:+.2f} %"
    )
    assert slowest < 1.0
    assert max(served) < 5.0
    assert shared < GROWTH
    assert private < GROWTH, growths(before, after)


def barrage(system: System, udp: socket.socket, seed: int, numbers: range) -> float:
    """Send these; returns how long somebody else's OPTIONS took at most meanwhile, seconds."""
    slowest = 0.0
    for number in numbers:
        octets = mutant(seed, number)
        try:
            if number % TCP_SHARE:
                hear(udp)
                udp.send(octets)
            else:
                with socket.create_connection((system.address, 5060), timeout=3) as tcp:
                    tcp.sendall(octets)
                slowest = max(slowest, answers_options(system))
        except AssertionError:
            pytest.fail(f"no answer to others after message {number} of seed {seed}")
        except OSError as error:
            # A connection may be reset as soon as its first octets are no SIP; an empty datagram's answer may be ICMP.
            assert isinstance(error, ConnectionError | BlockingIOError), f"message {number} of seed {seed}: {error}"
    return slowest


def hear(udp: socket.socket) -> None:
    """Answers that have come; none may tell what the proxy is."""
    with suppress(BlockingIOError, ConnectionError):
        while answer := udp.recv(65_536):
            assert not TELLTALE.search(answer), answer.decode("utf-8", "replace")


def growths(before: Memory, after: Memory) -> str:
    return "\n".join(f"process {pid}: {used} -> {after.private[pid]}" for pid, used in before.private.items())
