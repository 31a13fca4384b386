"""The clock of a proxy is set by an hour: calls go on, phones register, and nobody stays unheard."""

from collections.abc import Iterator

import pytest

from tests.lab.attacker import forget
from tests.lab.clock import movable_clock, set_clock
from tests.lab.hostile import Watch
from tests.lab.outage import await_that
from tests.lab.system import System
from tests.lab.test_calls import hear_each_other, phones, talk
from tests.lab.wire import DOMAIN, Wire, digest, forget_bindings

HOUR = 3600
URI = f"sip:{DOMAIN}"


@pytest.fixture(scope="module")
def movable(system: System) -> Iterator[System]:
    with movable_clock(system):
        yield system


@pytest.fixture
def proxy(movable: System) -> Iterator[System]:
    """A proxy with the right time and the same processes before and after; nobody is registered, and nobody known."""
    forget_bindings(movable)
    forget(movable)
    with Watch(movable):
        yield movable
        set_clock(movable, 0)


def ask_for_nonce(wire: Wire, user: str) -> str:
    return wire.ask(wire.message("REGISTER", URI, user=user))[1]["www-authenticate"]


def answer(system: System, wire: Wire, user: str, challenge: str) -> tuple[int, dict[str, str]]:
    """What a right password is answered with a nonce of before."""
    credentials = digest(challenge, user, system.password(int(user[-4:])), "REGISTER", URI)
    return wire.ask(wire.message("REGISTER", URI, user=user, cseq=2, headers=(f"Authorization: {credentials}",)))


@pytest.mark.parametrize("offset", [HOUR, -HOUR], ids=["forwards", "backwards"])
def test_a_call_goes_on_and_phones_register(proxy: System, offset: int) -> None:
    """A nonce of before is asked anew; it is not the password that is wrong."""
    count = "SELECT count(*) FROM acc_cdrs"
    with phones(proxy, 6001, 6002, 6003) as (anna, bert, carl), Wire(proxy.address) as wire:
        call, incoming = talk(anna, bert, "6002")
        ((before,),) = proxy.sql(count)
        challenge = ask_for_nonce(wire, "slot_6004")
        set_clock(proxy, offset)
        code, headers = answer(proxy, wire, "slot_6004", challenge)
        assert (code, "stale=true" in headers["www-authenticate"].replace('"', "").lower()) == (401, True)
        assert answer(proxy, wire, "slot_6004", headers["www-authenticate"])[0] == 200
        if offset > 0:  # what is registered has expired
            await_that(lambda: "slot_6002" not in proxy.kamcmd("ul.dump"), 10, "a binding is still there")
        bert.register(check=True)
        second, ringing = talk(carl, bert, "6002")
        hear_each_other(call, incoming)
        for one, other in ((call, incoming), (second, ringing)):
            one.hangup()
            other.wait_state("disconnected")
        await_that(lambda: proxy.sql(count) == [[str(int(before) + 2)]], 5, "the calls are not on record")


def test_phones_can_be_called_when_it_is_set_back(proxy: System) -> None:
    with phones(proxy, 6001, 6002) as (anna, bert):
        set_clock(proxy, -HOUR)
        talk(anna, bert, "6002")[0].hangup()


def test_who_was_not_heard_for_a_moment_is_heard_again_when_it_is_set_back(proxy: System) -> None:
    """What was counted before does not last for an hour."""
    with Wire(proxy.address) as wire:
        for _ in range(300):  # limit_requests_a_second is 50, counted over up to two seconds
            wire.send(wire.message("OPTIONS", URI))
        assert wire.ask(wire.message("OPTIONS", URI, cseq=2), 0.3)[0] == 0
        set_clock(proxy, -HOUR)
        await_that(lambda: wire.ask(wire.message("OPTIONS", URI, cseq=3), 0.5)[0] == 200, 5, "nobody is heard")
