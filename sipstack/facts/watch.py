"""What looks after the containers of a host: its files, and whether it runs."""

from dataclasses import dataclass, field

from pyinfra.api.facts import FactBase

from sipstack.watch import ALL_FILES, REVIVER_SERVICE, SERVICE


@dataclass
class WatchState:
    """files: path -> SHA-256 of what stands there. enabled: units that start at the next boot. active: that run."""

    enabled: set[str] = field(default_factory=set)
    active: set[str] = field(default_factory=set)
    files: dict[str, str] = field(default_factory=dict)


class Watch(FactBase[WatchState]):
    """What there is of it, in one round trip."""

    def command(self) -> str:
        return (
            f"for unit in {SERVICE} {REVIVER_SERVICE}; do"
            " systemctl is-enabled -q $unit 2>/dev/null && echo enabled $unit;"
            " systemctl is-active -q $unit 2>/dev/null && echo active $unit; done;"
            f" sha256sum {' '.join(ALL_FILES)} 2>/dev/null; true"
        )

    @staticmethod
    def default() -> WatchState:
        return WatchState()

    def process(self, output: list[str]) -> WatchState:
        state = WatchState()
        for line in output:
            word, _, rest = line.partition(" ")
            if word in ("enabled", "active"):
                getattr(state, word).add(rest.strip())
            elif rest.strip() in ALL_FILES:
                state.files[rest.strip()] = word
        return state
