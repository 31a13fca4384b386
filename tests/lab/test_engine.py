"""The engine and what stands beside the containers: they end, restart and run out of things, and calls go on."""

import socket
from collections.abc import Iterator

import pytest

from tests.lab import attacks
from tests.lab.attacker import stranger, there
from tests.lab.outage import await_that
from tests.lab.system import System
from tests.lab.test_calls import phones
from tests.lab.wire import Wire

STRANGERS = 2000


@pytest.fixture(autouse=True, scope="module")
def deployed(system: System) -> Iterator[None]:
    system.deploy()
    yield


def restarts(system: System) -> str:
    return system.host.exec("docker", "inspect", "-f", "{{.RestartCount}} {{.State.StartedAt}}", "vss-kamailio").stdout


def test_a_restart_of_the_engine_ends_no_call(system: System) -> None:
    """As an upgrade of its package makes one."""
    before = system.started_at()
    with phones(system, 6001, 6002) as (anna, bert):
        call = anna.call("6002")
        incoming = bert.expect_call()
        incoming.answer()
        call.wait_state("confirmed")
        system.host.exec("systemctl", "restart", "docker", timeout=90)
        call.wait_hears(880)
        incoming.wait_hears(440)
        call.hangup()
        incoming.wait_state("disconnected")
    assert system.started_at() == before


def refused(wire: Wire) -> str:
    """Have something logged that bans nobody; what is in that line."""
    assert wire.ask(wire.message("REGISTER", "sip:other.example"))[0] == 403
    return f":{wire.socket.getsockname()[1]} refused"


def is_kept(system: System) -> bool:
    """Whether what is logged now stands in the files, and is shown by the engine."""
    with Wire(system.address) as wire:
        source = refused(wire)
    files = "cat /var/log/kamailio/kamailio.log*"
    kept = system.host.exec("docker", "exec", "vss-kamailio", "sh", "-c", files).stdout
    return source in kept and source in system.logs()


def test_the_end_of_what_writes_the_log_ends_nothing_else(system: System) -> None:
    """It ends when its disk is full."""
    await_that(lambda: is_kept(system), 20, "the log is not written")
    before = restarts(system)
    system.host.exec("pkill", "-x", "rotatelogs")
    with Wire(system.address) as wire:
        for _ in range(3):  # the first line that it does not take is written another way, and so are those behind it
            source = refused(wire)
        assert wire.ask(wire.message("OPTIONS", "sip:vss.internal"))[0] == 200
    assert source in system.logs()
    await_that(lambda: is_kept(system), 20, "the log is not written again")
    assert restarts(system) == before


def test_strangers_leave_nothing_in_the_kernel(system: System) -> None:
    """Its table of connections is of a fixed size, and for all."""

    def entries() -> int:
        return int(system.host.exec("cat", "/proc/sys/net/netfilter/nf_conntrack_count").stdout)

    before = entries()
    with stranger(system) as place:
        there(place, send_from_many_ports, system.address, STRANGERS)
    assert entries() - before < STRANGERS / 10


def send_from_many_ports(proxy: str, count: int) -> None:
    for _ in range(count):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(attacks.options(), (proxy, 5060))


@pytest.mark.slow
def test_what_an_operator_has_stopped_stays_stopped(system: System) -> None:
    system.host.exec("docker", "stop", "-t", "1", "vss-asterisk")
    try:
        system.host.exec("sleep", "45")
        shown = system.host.exec("docker", "inspect", "-f", "{{.State.Status}}", "vss-asterisk").stdout
        assert shown.strip() == "exited"
    finally:
        system.start("vss-asterisk")
