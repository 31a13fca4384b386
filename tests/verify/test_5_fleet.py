"""Several hosts are one service: the proxies know each other, and a slot at one is called through another."""

import re
import time
from contextlib import ExitStack

import pytest

from sipstack.firewall import PeerPort
from sipstack.slots import probe_slots
from tests.verify.server import Listener, Server
from tests.verify.test_1_hosts import answers
from tests.verify.test_4_calls import CALL_SECONDS, REGISTER_SECONDS, TONES, phone

# Shared is a binding within a second.
SHARED_SECONDS = 1.0


@pytest.mark.needs("kamailio")
def test_proxies_know_each_other(proxy: Server, neighbour: Server) -> None:
    listed = proxy.part("kamailio").run("kamcmd", "dmq.list_nodes")
    states = dict(re.findall(r"host: (\S+)\s.*?status: (\w+)", listed, re.DOTALL))
    state = states.get(neighbour.node.address, "unknown")
    assert state == "active", f"{proxy.name}: proxy {neighbour.name} is {state} to it: see proxy_peer_port between them"


@pytest.mark.needs("kamailio", "rtpengine", "postgres")
def test_a_slot_is_called_through_another_proxy(proxy: Server, neighbour: Server) -> None:
    """One probe user registers at the neighbour; the other calls it through this proxy, and both hear each other."""
    caller, called = probe_slots(proxy.node.plan)
    passwords = {slot.username: slot.password or "" for slot in proxy.node.slots}
    with ExitStack() as stack:
        here = stack.enter_context(phone(proxy, caller.username, passwords[caller.username], TONES[0]))
        there = stack.enter_context(phone(neighbour, called.username, passwords[called.username], TONES[1]))
        for one in (here, there):
            one.register(REGISTER_SECONDS, expires=max(60, proxy.node.settings.register_min_seconds), check=True)
        deadline = time.monotonic() + SHARED_SECONDS
        while called.username not in proxy.part("kamailio").run("kamcmd", "ul.dump") and time.monotonic() < deadline:
            time.sleep(0.1)
        call = here.call(str(called.number))
        stack.callback(call.hangup)
        answered = there.expect_call(CALL_SECONDS)
        answered.answer()
        call.wait_state("confirmed", CALL_SECONDS)
        call.wait_hears(TONES[1], CALL_SECONDS)
        answered.wait_hears(TONES[0], CALL_SECONDS)


def test_closed_to_strangers(server: Server, peer_port: PeerPort) -> None:
    """What only peers may ask does not answer here, where we are none."""
    outside = Listener(peer_port.transport, server.node.address, peer_port.number)
    assert not answers(outside), f"{server.name}: {peer_port.purpose} answers on {outside} to anybody: deploy again"
