"""What only shows with other settings: short times and a dead gateway. One deploy before, one after."""

import re
import time
from collections.abc import Callable, Iterator

import pytest

from sipstack.lab.outside import Nat, Outside
from tests.lab.system import System
from tests.lab.test_calls import hear_each_other, phones

RING = 5
KEEPALIVE = 5
NAT_TIMEOUT = 7  # the NAT forgets a flow after this; above KEEPALIVE, below what the test waits


@pytest.fixture(scope="module")
def hasty(system: System) -> Iterator[System]:
    # An address of the lab where nobody is.
    dead = f"{system.lab.network.address(250)}:5060"
    system.deploy(call_ring_seconds=RING, nat_keepalive_seconds=KEEPALIVE, gateways=[dead])
    yield system
    system.deploy()


def test_a_call_that_nobody_takes_ends(hasty: System) -> None:
    with phones(hasty, 6001, 6002) as (anna, bert):
        call = anna.call("6002")
        incoming = bert.expect_call()
        incoming.ring()
        call.wait_state("disconnected", timeout=RING + 5)
        incoming.wait_state("disconnected")
        assert call.code == 408
    rows = hasty.sql(f"SELECT src_user, dst_user, sip_code FROM missed_calls WHERE callid = '{call.call_id}'")
    assert rows == [["slot_6001", "slot_6002", "408"]]


def test_a_dead_gateway_costs_no_call(hasty: System) -> None:
    """It is put up by hand before each call: they take turns, so one of two calls meets the dead one first."""
    dead = f"sip:{hasty.lab.network.address(250)}:5060"
    failed = hasty.logs(lines=1000).count("gateway failed")
    with phones(hasty, 6001) as (anna,):
        for _ in range(2):
            hasty.kamcmd("dispatcher.set_state", "ap", "1", dead)
            call = anna.call("9002", timeout=6)
            call.wait_hears(440)
            call.hangup()
            rows = hasty.sql(f"SELECT missed, sip_code FROM accounting WHERE callid = '{call.call_id}'")
            assert rows == [["f", "200"]]
            if hasty.logs(lines=1000).count("gateway failed") > failed:
                break
        else:
            pytest.fail("no call has met the dead gateway")
    states = dict(re.findall(r"URI: (\S+)\s+FLAGS: (\w+)", hasty.kamcmd("dispatcher.list")))
    assert states["sip:127.0.0.1:5080"] == "AP"
    assert states[dead].startswith(("I", "T")), "a gateway that failed a call is passed over"


@pytest.mark.parametrize("nat", ["port-restricted", "symmetric"])
def test_keepalives_hold_the_nat_open(hasty: System, nat: Nat) -> None:
    with Outside(hasty.lab) as outside:
        home = outside.behind_nat("home", nat, udp_timeout=NAT_TIMEOUT)
        with phones(hasty, 6002) as (bert,), hasty.phone(6001, tone=880, exec_prefix=home.exec_prefix) as anna:
            anna.register(check=True)
            wait_for_keepalives(anna.log.read_text, 3)
            call = bert.call("6001")
            incoming = anna.expect_call()
            incoming.answer()
            call.wait_state("confirmed")
            hear_each_other(call, incoming)
            call.hangup()


def wait_for_keepalives(log: Callable[[], str], wanted: int) -> None:
    """Until the phone's log shows that many OPTIONS of the proxy."""
    deadline = time.monotonic() + (wanted + 2) * KEEPALIVE
    while log().count("OPTIONS sip:slot_") < wanted:
        assert time.monotonic() < deadline, f"fewer than {wanted} keep-alives reached the phone"
        time.sleep(0.2)
