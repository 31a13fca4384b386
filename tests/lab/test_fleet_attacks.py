"""What one proxy refuses, the others refuse too: bans, calls, credentials and counts are those of the whole fleet."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from sipstack.lab.namespaces import Namespace
from sipstack.lab.outside import Outside
from tests.lab import attacks
from tests.lab.attacker import there
from tests.lab.fleet import PROXIES, Fleet, eventually
from tests.lab.fleet_calls import agree, forget_bindings, known_at, talk
from tests.lab.operate import sipstack
from tests.lab.rawcall import complete, goes_on, prepare
from tests.lab.wire import DOMAIN, Wire, digest

TOLD_WITHIN_S = 2.0
URI = f"sip:{DOMAIN}"


@pytest.fixture(autouse=True)
def nobody_registered(fleet: Fleet) -> None:
    forget_bindings(fleet)


def bans(fleet: Fleet, *arguments: str) -> str:
    """What `sipstack bans` says."""
    done = sipstack(fleet, "bans", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def stranger(fleet: Fleet) -> Iterator[Namespace]:
    """A machine in the open of which the proxies know nothing, and whose ban is lifted afterwards."""
    with Outside(fleet.lab) as outside:
        for proxy in PROXIES:
            fleet.kamcmd(proxy, "htable.flush", "known")  # the addresses of namespaces are used again
        try:
            yield outside.public("stranger")
        finally:
            if bans(fleet) != "nobody is banned\n":
                bans(fleet, "--lift", "all")


def test_who_is_banned_at_one_proxy_is_banned_at_all(fleet: Fleet) -> None:
    """Also at one that starts anew; phones are served there, and one command ends it."""
    with stranger(fleet) as place, fleet.phones((6001, "sip2"), (7001, "sip3")) as (anna, bert):
        assert there(place, attacks.code_over_udp, fleet.address["sip2"]) == 200
        there(place, attacks.flood_over_tcp, fleet.address["sip1"], 1000)
        for proxy in PROXIES:
            unheard = fleet.address[proxy]
            eventually(lambda at=unheard: there(place, attacks.code_over_tcp, at) == 0, TOLD_WITHIN_S * 2)  # type: ignore[misc]
        fleet.hosts["sip3"].exec("docker", "restart", "vss-kamailio")
        eventually(lambda: fleet.serves("sip3"), 30)
        assert there(place, attacks.code_over_udp, fleet.address["sip3"]) == 0
        bert.register(check=True)
        eventually(lambda: known_at(fleet, 7001)["sip2"] == 1, TOLD_WITHIN_S)
        talk(anna, bert, 7001)[0].hangup()
        assert f"{place.address}  flood" in bans(fleet)
        assert bans(fleet, "--lift", place.address) == f"lifted: {place.address}\n"
        assert [there(place, attacks.code_over_udp, fleet.address[proxy]) for proxy in PROXIES] == [200] * 3


@pytest.mark.parametrize("method", ["BYE", "INVITE", "REFER", "MESSAGE", "INFO"])
def test_a_call_is_closed_to_strangers_at_every_proxy(fleet: Fleet, method: str) -> None:
    """The callee is at another proxy than the caller; the stranger knows all of the call, and tries each proxy."""
    with (
        Wire(fleet.address["sip1"]) as caller,
        Wire(fleet.address["sip2"]) as callee,
    ):
        assert callee.register("slot_7001", fleet.password(7001)) == 200
        agree(fleet, {"slot_7001"})
        call = complete(fleet, caller, callee, "7001")
        for proxy in PROXIES:
            with Wire(fleet.address[proxy]) as attacker:
                for side in (call, call.turned):
                    headers = ("Refer-To: <sip:+1900@vss.internal>",) if method == "REFER" else ()
                    assert attacker.ask(side.request(attacker, method, headers=headers))[0] in (403, 407, 481), proxy
        goes_on(caller, callee, call)
        caller.send(call.request(caller, "BYE", cseq=2000))
        callee.answer(callee.next_request()[1], b"200 OK")
        assert callee.register("slot_7001", fleet.password(7001), headers=("Expires: 0",)) == 200


def test_in_the_name_of_a_proxy_nothing_goes_but_to_a_binding(fleet: Fleet) -> None:
    """A source can be forged. Who also knows which binding a slot has reaches the phone there, and nobody else."""
    with Wire(fleet.address["sip1"]) as phone, Wire(fleet.address["sip1"]) as other:
        assert phone.register("slot_7001", fleet.password(7001)) == 200
        ((ruid,),) = fleet.sql("SELECT ruid FROM location WHERE username = 'slot_7001'")
        told = ("P-Delivery: slot_7001", f"P-Binding: {ruid}")
        for at in (other, phone):
            message = at.message(
                "MESSAGE", f"sip:slot_7001@{at.contact}", user="slot_6001", headers=told, contact=False
            )
            attacks.forge(fleet.address["sip2"], fleet.address["sip1"], [message.decode()], port=5060)
        assert phone.next_request()[0].startswith("MESSAGE ")
        with pytest.raises(TimeoutError):
            other.next_request(0.2)
        assert phone.register("slot_7001", fleet.password(7001), headers=("Expires: 0",)) == 200


def test_credentials_are_good_at_no_other_proxy(fleet: Fleet) -> None:
    """Those of a registration, overheard and sent again wherever they have not been used."""
    with Wire(fleet.address["sip1"]) as phone:
        _, asked = phone.ask(phone.message("REGISTER", URI))
        answer = digest(asked["www-authenticate"], "slot_6001", fleet.password(6001), "REGISTER", URI)
        used = (f"Authorization: {answer}", "Expires: 300")
        assert phone.ask(phone.message("REGISTER", URI, cseq=2, headers=used))[0] == 200
        for proxy in PROXIES:
            with Wire(fleet.address[proxy]) as thief:
                assert thief.ask(thief.message("REGISTER", URI, cseq=3, headers=used))[0] == 401, proxy
        # From the phone's own address, too.
        for proxy in PROXIES:
            phone.socket.connect((fleet.address[proxy], 5060))
            assert phone.ask(phone.message("REGISTER", URI, cseq=4, headers=used))[0] == 401, proxy


@pytest.mark.slow
def test_calls_of_a_slot_are_counted_over_all_proxies(fleet: Fleet) -> None:
    """As many as it may have at once, spread over two proxies; one more is refused at the third."""
    fleet.deploy(call_max_at_once=4)
    try:
        with Wire(fleet.address["sip1"]) as callee, fleet.phones((6001, "sip1")) as (anna,):
            assert callee.register("slot_7001", fleet.password(7001)) == 200
            agree(fleet, {"slot_6001", "slot_7001"})
            wires = [Wire(fleet.address[proxy]) for proxy in ("sip1", "sip1", "sip2", "sip2")]
            calls = [complete(fleet, wire, callee, "7001") for wire in wires]
            eventually(lambda: fleet.kamcmd("sip3", "htable.dump", "calls").count("slot_6001") == 2, TOLD_WITHIN_S)
            with Wire(fleet.address["sip3"]) as third:
                assert third.ask(prepare(fleet, third, 6001, "7001"))[0] == 403
            for wire, call in zip(wires, calls, strict=True):
                wire.send(call.request(wire, "BYE", cseq=2000))
                callee.answer(callee.next_request()[1], b"200 OK")
                wire.socket.close()
            assert anna.call("9002", timeout=5)
    finally:
        fleet.settings.pop("call_max_at_once")
        fleet.deploy()
