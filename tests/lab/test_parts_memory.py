"""Shared memory of the proxy is full: it refuses what needs more of it, goes on with the same processes, and heals."""

from collections.abc import Iterator

import pytest

from tests.lab.outage import await_that
from tests.lab.system import System
from tests.lab.test_calls import phones, talk
from tests.lab.wire import DOMAIN, Wire, forget_bindings

# The least that there may be, MB.
SHARED_MB = 64
# Something to fill it with: a table that only fleets use (routes/fleet.cfg).
TABLE = "cut"


@pytest.fixture
def little_memory(system: System) -> Iterator[None]:
    system.deploy(kamailio_shm_mb=SHARED_MB)
    forget_bindings(system)
    yield
    system.deploy()


def processes(system: System) -> list[str]:
    return [line for line in system.kamcmd("core.psx").splitlines() if "PID" in line]


def free(system: System) -> int:
    """Octets of shared memory that are left."""
    said = system.kamcmd("core.shmmem").splitlines()
    return int(next(line.split()[1] for line in said if "free" in line))


def fill(system: System) -> None:
    """Until no further value fits: large ones first, then small ones into what is left between them."""
    for size in (60_000, 1_000, 100):
        script = (
            # No number, for those are kept as such.
            f"value=x$(printf %0{size}d 0); i=0; while kamcmd htable.sets {TABLE} {size}-$i $value >/dev/null;"
            f" do i=$((i + 1)); done"
        )
        system.host.exec("docker", "exec", "vss-kamailio", "bash", "-c", script, check=False, timeout=300)


@pytest.mark.slow
def test_full_memory_refuses_and_heals(system: System, little_memory: None) -> None:
    with phones(system, 6001, 6002) as (anna, bert), Wire(system.address) as wire:
        before = processes(system)
        fill(system)
        assert free(system) < 1_000_000
        for _ in range(20):
            assert wire.ask(wire.message("OPTIONS", f"sip:{DOMAIN}"))[0] == 200
            code = wire.register("slot_6003", system.password(6003))
            assert code in (200, 500, 503), code
            code, _ = wire.ask_as("slot_6003", system.password(6003), "INVITE", f"sip:6002@{DOMAIN}", user="slot_6003")
            assert code in (0, 500, 503), code
        assert processes(system) == before
        system.kamcmd("htable.flush", TABLE)
        talk(anna, bert, "6002")[0].hangup()
        await_that(lambda: wire.register("slot_6003", system.password(6003)) == 200, 5, "no slot can register")
        assert processes(system) == before


MANY = 60_000
# As many as it likes, like the one that is there.
BINDINGS = f"""
INSERT INTO location (ruid, username, contact, received, path, expires, callid, cseq, cflags, user_agent, socket,
                      methods, instance, server_id, connection_id)
SELECT 'many-' || number, 'many_' || number, contact, received, path, expires, callid, cseq, cflags, user_agent, socket,
       methods, instance, server_id, connection_id
  FROM location, generate_series(1, {MANY}) number
"""


@pytest.mark.slow
def test_what_has_not_fitted_into_memory_does_not_keep_a_proxy_from_starting(
    system: System, little_memory: None
) -> None:
    """It reads all bindings from the database first, and ends where they do not fit."""
    with phones(system, 6001) as (anna,):
        system.sql(BINDINGS)
        try:
            system.host.exec("docker", "kill", "vss-kamailio")
            system.start("vss-kamailio")
            assert f"location_contacts: {MANY + 1}" in system.kamcmd("stats.fetch", "usrloc.location_contacts")
            assert "for the subscribers and bindings that there are" in system.logs(lines=4000)
            call = anna.call("9002")
            call.wait_hears(440)
            call.hangup()
        finally:
            system.sql("DELETE FROM location WHERE ruid LIKE 'many-%'")
            system.host.exec("docker", "kill", "vss-kamailio")
            system.start("vss-kamailio")
