"""A full disk costs records only: calls and registrations go on, and all comes back by itself when there is room."""

import os
from collections.abc import Iterator

import pytest

from tests.lab.operate import status
from tests.lab.outage import await_that
from tests.lab.system import System
from tests.lab.test_calls import phones
from tests.lab.wire import Wire

pytestmark = pytest.mark.slow
DOCKER = "/var/lib/docker"
FILL = f"dd if=/dev/zero of={DOCKER}/fill bs=1M status=none; dd if=/dev/zero of={DOCKER}/rest bs=4k status=none; true"


@pytest.fixture(scope="module")
def small(request: pytest.FixtureRequest) -> Iterator[System]:
    """A host whose engine has a disk of its own, of 5 GB."""
    system = System(f"{os.environ.get('SIPSTACK_TEST_LAB', 'test')}3")
    system.host.exec("sh", "-c", f"mkdir -p {DOCKER} && mount -t tmpfs -o size=5g tmpfs {DOCKER}")
    system.deploy()
    yield system
    system.down()


def state(system: System, container: str) -> str:
    shown = ("docker", "inspect", "-f", "{{.State.Status}} {{.State.Error}}", container)
    return system.host.exec(*shown).stdout.strip()


def test_a_full_disk_costs_records_only(small: System) -> None:
    before = small.started_at()
    with phones(small, 6001, 6002) as (anna, bert), Wire(small.address) as wire:
        call = anna.call("6002")
        incoming = bert.expect_call()
        incoming.answer()
        call.wait_state("confirmed")
        small.host.exec("sh", "-c", FILL)
        small.host.exec("pkill", "-x", "rotatelogs")
        for _ in range(300):
            assert wire.register("slot_6003", small.password(6003)) == 200
        another = anna.call("9002")
        another.wait_hears(440)
        another.hangup()
        call.wait_hears(880)
        call.hangup()
        incoming.wait_state("disconnected")
        assert small.started_at() == before
        told = status(small)
        assert told.returncode == 1 and f"disk {DOCKER} is full" in told.stdout
    refused = small.pyinfra("deploy.py", "-y", "--data", "kamailio_debug=4")
    assert refused.returncode == 1 and "make room" in refused.stderr
    small.host.exec("sh", "-c", f"rm {DOCKER}/fill {DOCKER}/rest")
    await_that(lambda: status(small).returncode == 0, 60, "it is not well again")


def test_what_has_ended_on_a_full_disk_comes_back_when_there_is_room(small: System) -> None:
    """Docker itself starts none of it again, and takes it for running."""
    small.host.exec("sh", "-c", FILL)
    for container in ("vss-kamailio", "vss-rtpengine"):
        small.host.exec("sh", "-c", f"kill -9 $(docker inspect -f '{{{{.State.Pid}}}}' {container})")
        await_that(lambda name=container: "no space left" in state(small, name), 20, f"{container} has room")  # type: ignore[misc]
    small.host.exec("sh", "-c", f"rm {DOCKER}/fill {DOCKER}/rest")
    await_that(lambda: status(small).returncode == 0, 60, "it does not come back")
    with phones(small, 6001) as (anna,):
        call = anna.call("9002", timeout=5)
        call.wait_hears(440)
        call.hangup()
