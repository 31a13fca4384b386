"""The releases that lie on a host, and when each was put in force."""

import re
from dataclasses import dataclass, field
from itertools import takewhile

from pyinfra.api.facts import FactBase

from sipstack.paths import COMPOSE_FILE, HOME


@dataclass(frozen=True)
class KeptRelease:
    """A release on a host: its compose file."""

    name: str
    compose: str

    @property
    def images(self) -> set[str]:
        return set(re.findall(r"^ +image: (\S+)$", self.compose, re.MULTILINE))

    @property
    def configurations(self) -> set[str]:
        """The folders that it reads."""
        return set(re.findall(rf"{HOME}/(config/[a-z]+/[0-9a-f]+)/", self.compose))

    @property
    def containers(self) -> set[str]:
        return set(re.findall(r"^ +container_name: (\S+)$", self.compose, re.MULTILINE))

    def digest(self, service: str) -> str:
        """What its container of a service carries as label; empty if it has none."""
        found = re.search(r'vss\.digest: "(\w+)"', block(self.compose, service))
        return found[1] if found else ""


@dataclass(frozen=True)
class Turn:
    """One line of a host's history: a release was put in force. What was not noted is empty.

    when: UTC, as 2026-11-30T10:00:00Z. verb: deploy, rollback, or back where a release did not start. who: user@host.
    commit: hash and subject of what was deployed.
    """

    release: str
    when: str = ""
    verb: str = ""
    who: str = ""
    commit: str = ""


@dataclass
class Releases:
    """history: in the order in which they were put in force, the newest last. in_force: empty if none is.

    kept: all that lie there, the newest first.
    """

    in_force: str = ""
    history: list[Turn] = field(default_factory=list)
    kept: dict[str, KeptRelease] = field(default_factory=dict)
    configurations: set[str] = field(default_factory=set)

    @property
    def served(self) -> list[str]:
        """Releases that served before, the latest first, each once."""
        latest_first = dict.fromkeys(turn.release for turn in reversed(self.history))
        return [name for name in latest_first if name in self.kept and name != self.in_force]

    @property
    def ways_back(self) -> list[str]:
        """Releases to go back to, step by step: a release that was gone back from is none."""
        steps: list[str] = []
        for turn in self.history:
            if turn.verb == "rollback" and turn.release in steps:
                del steps[steps.index(turn.release) + 1 :]
            else:
                steps = [*(name for name in steps if name != turn.release), turn.release]
        return [name for name in reversed(steps) if name in self.kept and name != self.in_force]


def block(compose: str, name: str) -> str:
    """The part of a compose file that describes one service."""
    _, _, rest = f"{compose}\n".partition(f"\n  {name}:\n")
    return "\n".join(takewhile(lambda line: not line.strip() or line.startswith("    "), rest.split("\n")))


class ReleasesOnHost(FactBase[Releases]):
    """Everything below /opt/vss/releases, in one round trip."""

    def command(self) -> str:
        return (
            f'cd {HOME} 2>/dev/null || exit 0; echo "= in_force $(readlink {COMPOSE_FILE} | cut -d/ -f2)"; '
            "sed 's/^/= history /' history 2>/dev/null; ls -d config/*/* 2>/dev/null | sed 's/^/= config /'; "
            f'for d in $(ls -dt releases/* 2>/dev/null); do [ -e "$d/{COMPOSE_FILE}" ] || continue; '
            f'echo "= release ${{d#*/}}"; cat "$d/{COMPOSE_FILE}"; done'
        )

    @staticmethod
    def default() -> Releases:
        return Releases()

    def process(self, output: list[str]) -> Releases:
        found = Releases()
        texts: dict[str, list[str]] = {}
        lines: list[str] = []
        for line in output:
            if not line.startswith("= "):
                lines.append(line)
                continue
            key, _, value = line[2:].partition(" ")
            if key == "in_force":
                found.in_force = value
            elif key == "history":
                found.history.append(Turn(*value.split("\t")[:5]))
            elif key == "config":
                found.configurations.add(value)
            elif key == "release":
                lines = texts[value] = []
        found.kept = {name: KeptRelease(name, "\n".join([*text, ""])) for name, text in texts.items()}
        return found
