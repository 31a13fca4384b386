"""A proxy whose clock a test can move: the machine's own, and everybody else's, stays as it is."""

from collections.abc import Iterator
from contextlib import contextmanager

from sipstack.paths import COMPOSE_FILE, HOME
from tests.lab.system import System

COMPOSE = f"{HOME}/{COMPOSE_FILE}"
FOLDER = "/root/clock"
# libfaketime reads the file whenever it is asked for the time. What runs by monotonic time stays as it is, as on a
# machine whose clock is set.
OVERRIDE = f"""
services:
  kamailio:
    environment:
      LD_PRELOAD: /clock/libfaketime.so.1
      FAKETIME_TIMESTAMP_FILE: /clock/offset
      FAKETIME_NO_CACHE: "1"
      FAKETIME_DONT_FAKE_MONOTONIC: "1"
      FAKETIME_DISABLE_SHM: "1"
    volumes: ["{FOLDER}:/clock:ro"]
"""


@contextmanager
def movable_clock(system: System) -> Iterator[None]:
    """The proxy runs by a clock of its own for the time of the block."""
    system.host.exec("mkdir", "-p", FOLDER)
    system.host.exec(
        "sh", "-euc",
        "dpkg -s libfaketime >/dev/null 2>&1"
        " || { apt-get update -q; apt-get install -qy --no-install-recommends libfaketime; }"
        f"; cp /usr/lib/*/faketime/libfaketime.so.1 {FOLDER}; cat >{FOLDER}/compose.yml",
        stdin=OVERRIDE, timeout=120,
    )  # fmt: skip
    set_clock(system, 0)
    up = "up -d --wait kamailio"
    system.host.exec("sh", "-c", f"docker compose -f {COMPOSE} -f {FOLDER}/compose.yml {up}", timeout=120)
    try:
        yield
    finally:
        system.host.exec("sh", "-c", f"docker compose -f {COMPOSE} {up}", timeout=120)


def set_clock(system: System, offset: int) -> None:
    """The proxy's clock is so many seconds before (or behind) the true one."""
    script = f"echo '{offset:+d}s' >{FOLDER}/new && mv {FOLDER}/new {FOLDER}/offset"
    system.host.exec("sh", "-c", script)
