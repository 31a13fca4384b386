"""Calls through a fleet, and what they leave in its database."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from sipstack.probe.call import Call
from sipstack.probe.errors import ProbeError
from sipstack.probe.phone import Phone
from tests.lab.fleet import PROXIES, TONES, Fleet, eventually, on_this_machine

AGREE_SECONDS = 30.0


def forget_bindings(fleet: Fleet) -> None:
    """Remove every binding, also those that a failed test has left."""
    for (user,) in fleet.sql("SELECT DISTINCT username FROM location"):
        for proxy in PROXIES:
            fleet.hosts[proxy].exec(
                "docker", "exec", "vss-kamailio", "kamcmd", "ul.rm", "location", user, check=False
            )  # fmt: skip


def talk(
    caller: Phone, callee: Phone, number: int, tones: tuple[int, int] = TONES, arrives_within: float = 5.0
) -> tuple[Call, Call]:
    """A call that is answered, and heard on both sides. tones: what the caller plays, and the called phone."""
    call = caller.call(str(number))
    try:
        incoming = callee.expect_call(arrives_within)
    except ProbeError as error:
        raise AssertionError(f"{error}; the caller has {call.state} {call.code} {call.reason}") from error
    incoming.answer()
    sides = (call, incoming)
    for side in sides:
        side.wait_state("confirmed")
    hear(sides, tones)
    return sides


def hear(sides: tuple[Call, Call], tones: tuple[int, int] = TONES) -> None:
    sides[0].wait_hears(tones[1])
    sides[1].wait_hears(tones[0])


def end(fleet: Fleet, sides: tuple[Call, Call], ender: int) -> None:
    """One side hangs up; the call is on record once, and no proxy takes it for one that goes on."""
    sides[ender].hangup()
    sides[1 - ender].wait_state("disconnected")
    name = sides[0].call_id
    eventually(lambda: fleet.sql(f"SELECT 1 FROM dialog WHERE callid = '{name}'") == [], 3, "a dialog stays")
    eventually(partial(on_record, fleet, sides[0]), 3, "no CDR, or two")


def on_record(fleet: Fleet, call: Call) -> bool:
    """Whether the call has exactly one CDR."""
    return len(fleet.sql(f"SELECT 1 FROM acc_cdrs WHERE callid = '{call.call_id}'")) == 1


def rows(fleet: Fleet, number: int) -> list[list[str]]:
    return fleet.sql(f"SELECT contact, server_id FROM location WHERE username = 'slot_{number}'")


def known_at(fleet: Fleet, number: int) -> dict[str, int]:
    """How many bindings of a slot each proxy knows."""
    return {
        proxy: sum(user == f"slot_{number}" for user, _ in fleet.bindings(proxy)) for proxy in PROXIES
    }  # fmt: skip


def agree(fleet: Fleet, users: set[str]) -> None:
    """Wait until every proxy and the database know the bindings of exactly these users, each once."""
    stored = "SELECT username, split_part(contact, ';ob', 1) FROM location WHERE expires > now() AT TIME ZONE 'UTC'"

    def differences() -> dict[str, set[tuple[str, str]]]:
        rows = [(user, contact) for user, contact in fleet.sql(stored)]
        known = {proxy: fleet.bindings(proxy) for proxy in PROXIES}
        wrong = {where: found ^ set(rows) for where, found in known.items() if found != set(rows)}
        if sorted(user for user, _ in rows) != sorted(users):
            wrong["database"] = set(rows)
        return wrong

    deadline = time.monotonic() + AGREE_SECONDS
    while wrong := differences():
        assert time.monotonic() < deadline, f"only {sorted(users)} are registered; {wrong}"
        time.sleep(0.5)


@contextmanager
def held_call(fleet: Fleet, caller: str = "sip1", callee: str = "sip2") -> Iterator[tuple[Call, Call]]:
    """A call between phones of two proxies that goes on for as long as the block, and is heard to its end."""
    with fleet.phones((6001, caller), (7001, callee)) as (anna, bert):
        eventually(lambda: known_at(fleet, 7001)[caller] == 1, on_this_machine(1.0), "the caller's proxy knows nothing")
        sides = talk(anna, bert, 7001)
        yield sides
        hear(sides)
        end(fleet, sides, ender=1)
