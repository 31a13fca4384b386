"""The peer firewall of a host: its files, and whether what they say is what the kernel does."""

from dataclasses import dataclass, field

from pyinfra.api.facts import FactBase

from sipstack.firewall import RULES, SERVICE, TABLE, UNIT


@dataclass
class FirewallState:
    """files: path -> SHA-256 of what stands there.

    nft, apt: whether these commands are there. enabled: at the next boot, too. loaded: the kernel has exactly the rules
    of the file.
    """

    nft: bool = False
    apt: bool = False
    enabled: bool = False
    loaded: bool = False
    files: dict[str, str] = field(default_factory=dict)


class Firewall(FactBase[FirewallState]):
    """What there is of the peer firewall, in one round trip."""

    def command(self) -> str:
        return _SCRIPT

    @staticmethod
    def default() -> FirewallState:
        return FirewallState()

    def process(self, output: list[str]) -> FirewallState:
        state = FirewallState()
        for line in output:
            word, _, path = line.partition(" ")
            if word in ("nft", "apt", "enabled", "loaded"):
                setattr(state, word, True)
            elif path.strip() in (RULES, UNIT):
                state.files[path.strip()] = word
        return state


# nft prints rules in a form of its own. To compare, a network namespace that lives as long as the command loads the
# file and prints it too; so a rule that was added or removed by hand is seen, as a table that is gone is.
_SCRIPT = f"""
PATH=$PATH:/usr/sbin:/sbin
command -v nft >/dev/null && echo nft
command -v apt-get >/dev/null && echo apt
systemctl is-enabled -q {SERVICE} 2>/dev/null && echo enabled
sha256sum {RULES} {UNIT} 2>/dev/null
now=$(nft -s list table {TABLE} 2>/dev/null) && [ "$now" = "$(
    unshare -n sh -c 'nft -f {RULES} && nft -s list table {TABLE}' 2>/dev/null
)" ] && echo loaded
true
"""
