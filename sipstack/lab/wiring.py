"""What a lab host has of the real one that it plays: its addresses, its names, its way in."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Wiring:
    """A plain lab host has none of this.

    addresses: IPv4, beside the lab's own; it sends to other hosts from the first one. aliases: names beside its own.
    ssh_port: where SSH answers too, beside 22. ssh_user: who else may come in, and may use sudo without a password.
    """

    addresses: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    ssh_port: int = 22
    ssh_user: str = "root"

    def address(self, lab_address: str) -> str:
        """Where others find the host."""
        return self.addresses[0] if self.addresses else lab_address


def played_addresses(wirings: Iterable[Wiring]) -> list[str]:
    """All addresses that the lab's hosts have beside the lab's own."""
    return [address for wiring in wirings for address in wiring.addresses]


def host_names(name: str, wiring: Wiring, everyone: Iterable[str]) -> list[str]:
    """What a host is called in /etc/hosts: its name, the first part of it if no other host has that, its aliases."""
    short = name.partition(".")[0]
    alone = sum(other.partition(".")[0] == short for other in everyone) == 1
    return list(dict.fromkeys([name, *([short] if alone else []), *wiring.aliases]))


def ssh_targets(name: str, lab_address: str, wiring: Wiring) -> list[str]:
    """Everything that SSH may call a host, for known_hosts."""
    targets = dict.fromkeys([name, lab_address, *wiring.aliases, *wiring.addresses])
    if wiring.ssh_port == 22:
        return list(targets)
    return [*targets, *(f"[{target}]:{wiring.ssh_port}" for target in targets)]


def as_wirings(stored: Mapping[str, Mapping[str, object]]) -> dict[str, Wiring]:
    """Wirings as hosts.json has them."""
    return {
        name: Wiring(tuple(one["addresses"]), tuple(one["aliases"]), one["ssh_port"], one["ssh_user"])  # type: ignore[arg-type]
        for name, one in stored.items()
    }
