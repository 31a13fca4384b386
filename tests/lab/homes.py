"""Where a phone may be: in the open or behind a NAT router, with UDP or TCP."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sipstack.lab.hosts import Lab
from sipstack.lab.outside import Nat, Outside

HOMES: dict[str, tuple[str, Nat | None]] = {
    "udp": ("udp", None),
    "udp-nat": ("udp", "port-restricted"),
    "udp-symmetric-nat": ("udp", "symmetric"),
    "tcp": ("tcp", None),
    "tcp-nat": ("tcp", "port-restricted"),
}


@contextmanager
def home(lab: Lab, kind: str, name: str = "home") -> Iterator[dict[str, Any]]:
    """Options of a Phone that is at home there; name: of the place."""
    transport, nat = HOMES[kind]
    with Outside(lab) as outside:
        place = outside.behind_nat(name, nat) if nat else outside.public(name)
        yield {"transport": transport, "exec_prefix": place.exec_prefix}
