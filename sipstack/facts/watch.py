"""The watch over the database on a proxy's host: its files, and whether it runs."""

from dataclasses import dataclass, field

from pyinfra.api.facts import FactBase

from sipstack.watch import PROGRAM, SERVICE, UNIT


@dataclass
class WatchState:
    """files: path -> SHA-256 of what stands there. enabled: at the next boot, too. active: it runs."""

    enabled: bool = False
    active: bool = False
    files: dict[str, str] = field(default_factory=dict)


class Watch(FactBase[WatchState]):
    """What there is of the watch, in one round trip."""

    def command(self) -> str:
        return (
            f"systemctl is-enabled -q {SERVICE} 2>/dev/null && echo enabled;"
            f" systemctl is-active -q {SERVICE} 2>/dev/null && echo active;"
            f" sha256sum {PROGRAM} {UNIT} 2>/dev/null; true"
        )

    @staticmethod
    def default() -> WatchState:
        return WatchState()

    def process(self, output: list[str]) -> WatchState:
        state = WatchState()
        for line in output:
            word, _, path = line.partition(" ")
            if word in ("enabled", "active"):
                setattr(state, word, True)
            elif path.strip() in (PROGRAM, UNIT):
                state.files[path.strip()] = word
        return state
