"""Strangers with an address of their own, which a test can afford to have banned."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar, cast

from sipstack.lab.namespaces import Namespace
from sipstack.lab.outside import Outside
from sipstack.paths import ROOT
from tests.lab.operate import sipstack
from tests.lab.system import System

P = ParamSpec("P")
T = TypeVar("T")
RUN = """
import importlib, json, sys
module, name, arguments = json.load(sys.stdin)
print(json.dumps(getattr(importlib.import_module(module), name)(*arguments)))
"""


def there(place: Namespace, act: Callable[P, T], *arguments: P.args, **_: P.kwargs) -> T:
    """Run a function of a module in a namespace. Its arguments and what it returns have to be JSON."""
    asked = json.dumps([act.__module__, act.__name__, arguments])
    done = subprocess.run(
        [*place.exec_prefix, sys.executable, "-c", RUN],
        input=asked, capture_output=True, text=True, cwd=ROOT, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return cast(T, json.loads(done.stdout))


@contextmanager
def stranger(system: System, name: str = "stranger") -> Iterator[Namespace]:
    """A machine in the open of which the proxy knows nothing yet, and nothing any more afterwards."""
    with Outside(system.lab) as outside:
        place = outside.public(name)
        forget(system)
        try:
            yield place
        finally:
            forget(system)


def forget(system: System) -> None:
    """The proxy forgets every ban and whom it knows: the addresses of namespaces are used again."""
    if bans(system):
        assert sipstack(system, "bans", "--lift", "all").returncode == 0
    for table in ("known", "proved", "rate", "strangers", "failures", "registrations"):
        system.kamcmd("htable.flush", table)


def bans(system: System) -> dict[str, str]:
    """Who is banned, and why, as the proxy has it in memory."""
    return dict(re.findall(r"name: (\S+)\s+value: (\w+):", system.kamcmd("htable.dump", "ban")))


def datagrams(system: System) -> int:
    """UDP datagrams that have come to the host's sockets since its start, whatever is done with them (RFC 4113)."""
    names, values = (
        line.split()[1:]
        for line in system.host.exec("cat", "/proc/net/snmp").stdout.splitlines()
        if line.startswith("Udp:")
    )
    found = dict(zip(names, map(int, values), strict=True))
    return found["InDatagrams"] + found["RcvbufErrors"]


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    """Whether something becomes true in that time."""
    deadline = time.monotonic() + seconds
    while not (met := condition()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return met
