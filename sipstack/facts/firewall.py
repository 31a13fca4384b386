"""The firewall of a host: its files, whether what they say is what the kernel does, and where SSH comes in."""

from dataclasses import dataclass, field

from pyinfra.api.facts import FactBase

from sipstack.facts.system import as_listener
from sipstack.firewall import FORGET, FORGETTER, FORGETTER_UNIT, LOAD, MEDIA_TABLE, RULES, SERVICE, TABLE, UNIT


@dataclass
class FirewallState:
    """files: path -> SHA-256 of what stands there.

    nft, apt: whether these commands are there. enabled: at the next boot, too, and what forgets runs. loaded: the
    kernel has exactly the rules of the file. media: they look at RTP. rtp: the ranges of media ports that they open.
    """

    nft: bool = False
    apt: bool = False
    enabled: bool = False
    loaded: bool = False
    media: bool = False
    rtp: list[str] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)


class Firewall(FactBase[FirewallState]):
    """What there is of the firewall, in one round trip."""

    def command(self) -> str:
        return _SCRIPT

    @staticmethod
    def default() -> FirewallState:
        return FirewallState()

    def process(self, output: list[str]) -> FirewallState:
        state = FirewallState()
        for line in output:
            word, _, path = line.partition(" ")
            if word in ("nft", "apt", "enabled", "loaded", "media"):
                setattr(state, word, True)
            elif word == "rtp":
                state.rtp.append(path.strip())
            elif path.strip() in _FILES:
                state.files[path.strip()] = word
        return state


_FILES = (RULES, LOAD, UNIT, FORGET, FORGETTER_UNIT)
# nft prints rules in a form of its own. To compare, a network namespace that lives as long as the command loads the
# file and prints it too; so a rule that was added or removed by hand is seen, as a table that is gone is. -t: without
# the calls of the moment.
_TABLES = "; ".join(f"nft -s -t list table {table} 2>/dev/null" for table in (TABLE, MEDIA_TABLE))
_SCRIPT = f"""
PATH=$PATH:/usr/sbin:/sbin
command -v nft >/dev/null && echo nft
command -v apt-get >/dev/null && echo apt
systemctl is-enabled -q {SERVICE} 2>/dev/null && systemctl is-active -q {FORGETTER} 2>/dev/null && echo enabled
sha256sum {" ".join(_FILES)} 2>/dev/null
now=$({_TABLES}); [ -n "$now" ] && [ "$now" = "$(
    unshare -n sh -c 'nft -f {RULES} && {{ {_TABLES}; }}' 2>/dev/null
)" ] && echo loaded
sed -n '/^ *# RTP$/ {{ n; s/.*udp dport \\([0-9-]*\\) accept/rtp \\1/p }}' {RULES} 2>/dev/null
grep -q 'set heard' {RULES} 2>/dev/null && echo media
true
"""


class SshPorts(FactBase[set[int]]):
    """Where SSH comes in: what sshd and its like listen on, and the connection that this question came through."""

    def command(self) -> str:
        return _SSH_SCRIPT

    @staticmethod
    def default() -> set[int]:
        return set()

    def process(self, output: list[str]) -> set[int]:
        ports = set()
        for line in output:
            kind, _, value = line.partition("=")
            if kind == "listen" and (found := as_listener(f"tcp {value}")):
                if found.process.startswith(("sshd", "dropbear")):
                    ports.add(found.port)
            elif kind in ("through", "socket") and value.isdigit():
                ports.add(int(value))
        return ports


class SshClients(FactBase[set[str]]):
    """The addresses that the connection of this question comes from."""

    def command(self) -> str:
        return _SSH_SCRIPT

    @staticmethod
    def default() -> set[str]:
        return set()

    def process(self, output: list[str]) -> set[str]:
        return {
            line.removeprefix("from=").strip("[]").removeprefix("::ffff:") for line in output if line[:5] == "from="
        }


# Whatever serves the connection is among the ancestors of the shell that is asked, and has its socket open.
_SSH_SCRIPT = r"""
ss -Hltnp 2>/dev/null | sed 's/^/listen=/'
systemctl is-active -q ssh.socket 2>/dev/null &&
    systemctl show -p Listen --value ssh.socket | sed -n 's/.*[:]\([0-9]*\) (Stream).*/socket=\1/p'
p=$$; while [ "${p:-0}" -gt 1 ]; do
    ss -Htnp state established 2>/dev/null | grep "pid=$p," |
        awk '{ sub(/.*:/, "", $3); sub(/:[0-9]*$/, "", $4); print "through=" $3; print "from=" $4 }'
    p=$(sed -n 's/^PPid:[^0-9]*//p' /proc/$p/status)
done
true
"""
