"""What only shows with other settings: short times, a dead gateway, small logs. One deploy before, one after."""

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
    system.deploy(call_ring_seconds=RING, nat_keepalive_seconds=KEEPALIVE, gateways=[dead], log_mb=1, log_files=2)
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
    """Both are put up by hand before each call, so that one of two calls meets the dead one first."""
    dead = f"sip:{hasty.lab.network.address(250)}:5060"
    with phones(hasty, 6001) as (anna,):
        calls = []
        for _ in range(2):
            hasty.kamcmd("dispatcher.set_state", "ap", "1", dead)
            call = anna.call("9002", timeout=6)
            call.wait_hears(440)
            call.hangup()
            calls.append(call.call_id)
    assert "gateway failed" in hasty.logs(lines=400)
    shown = hasty.kamcmd("dispatcher.list")
    states = dict(re.findall(r"URI: (\S+)\s+FLAGS: (\w+)", shown))
    assert states["sip:127.0.0.1:5080"] == "AP"
    assert states[dead] in ("IP", "TP"), "a gateway that failed a call is passed over"
    names = ", ".join(f"'{call_id}'" for call_id in calls)
    assert hasty.sql(f"SELECT missed, sip_code FROM accounting WHERE callid IN ({names})") == [["f", "200"]] * 2


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


def test_the_log_file_is_bounded(hasty: System) -> None:
    """Of 2 files of 1 MB the older is written over, and the newest line is there."""
    hasty.kamcmd("cfg.set_now_int", "core", "debug", "3")
    with phones(hasty, 6001, 6002) as (anna, _):
        for _ in range(60):  # each writes about 60 kB
            anna.register(check=True)
        last = anna.call("9999")
        last.wait_state("disconnected")
    hasty.kamcmd("cfg.set_now_int", "core", "debug", "2")
    folder = "/var/lib/docker/volumes/vss_kamailio_logs/_data"
    sizes = hasty.host.exec("sh", "-c", f"stat -c %s {folder}/*").stdout.split()
    assert len(sizes) == 2
    assert 1_000_000 < sum(map(int, sizes)) < 2_200_000
    assert last.call_id in hasty.host.exec("sh", "-c", f"cat {folder}/*").stdout


def wait_for_keepalives(log: Callable[[], str], wanted: int) -> None:
    """Until the phone's log shows that many OPTIONS of the proxy."""
    deadline = time.monotonic() + (wanted + 2) * KEEPALIVE
    while log().count("OPTIONS sip:slot_") < wanted:
        assert time.monotonic() < deadline, f"fewer than {wanted} keep-alives reached the phone"
        time.sleep(0.2)
