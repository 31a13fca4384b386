"""What a rollout did, told at the end of the run, after all that pyinfra prints."""

from dataclasses import dataclass, field


@dataclass
class Row:
    """One proxy. silent_ms: how long SIP was not answered; None if nobody asked. outcome: empty until it is known.

    bindings: before and after. calls: in progress before the switch, and those of them that still were after it.
    """

    host: str
    before: str
    after: str
    silent_ms: int | None = None
    bindings: tuple[int, int] | None = None
    calls: tuple[int, int] | None = None
    cut: int = 0
    outcome: str = ""

    def __str__(self) -> str:
        parts = [f"{self.before or 'nothing'} -> {self.after}"]
        if self.silent_ms is not None:
            parts.append(f"SIP silent {self.silent_ms / 1000:.1f} s")
        if self.bindings:
            parts.append(f"bindings {self.bindings[0]} -> {self.bindings[1]}")
        if self.calls:
            parts.append(f"calls in progress {self.calls[0]}, {self.calls[1]} of them after the switch")
        if self.cut:
            parts.append(f"{self.cut} unanswered calls cut")
        return ", ".join([*parts, self.outcome or "not finished"])


@dataclass
class Report:
    """The rollout of this run.

    begun: the run came to its deploy. interrupted: by its operator, or a signal. stopped: the proxy at which it
    stopped, empty while it goes on. unreached: hosts that could not be connected to; lost: those whose connection
    broke; failed: all in which something went wrong.
    """

    begun: bool = False
    interrupted: bool = False
    stopped: str = ""
    rows: list[Row] = field(default_factory=list)
    changed: dict[str, list[str]] = field(default_factory=dict)
    untouched: list[str] = field(default_factory=list)
    unreached: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    refusals: dict[str, tuple[str, list[str]]] = field(default_factory=dict)

    @property
    def halted(self) -> str:
        """The host where this run met something that the next one must not meet; empty while it goes on."""
        return self.stopped or next(iter(self.refusals), "")

    def service_changed(self, host: str, service: str, cut: int, anew: bool = True) -> None:
        """A service of a host was started. anew: it ran before, and had `cut` calls then."""
        calls = f" (with {cut} calls in progress)" if cut else ""
        self.changed.setdefault(host, []).append(f"{service}{calls} {'restarted' if anew else 'started'}")

    def refused(self, host: str, release: str, why: str, lines: list[str]) -> None:
        """A release failed its trial on a host."""
        self.refusals[host] = (f"release {release} refused: {why}", lines)

    def __str__(self) -> str:
        lines = [f"  {host}: {', '.join(services)}" for host, services in self.changed.items()]
        lines += [f"  {row.host}: {row}" for row in self.rows]
        told = set()
        for host, (said, details) in self.refusals.items():
            # The same fault on every host is shown once.
            lines += [f"  {host}: {said}", *(f"      {line}" for line in details if said not in told)]
            told.add(said)
        if self.untouched:
            lines.append(f"  not touched: {', '.join(self.untouched)}")
        if failed := self._failed_without_a_word():
            lines.append(f"  failed, see above: {', '.join(failed)}: run again when that is mended")
        if self.lost:
            lines.append(
                f"  lost on the way: {', '.join(self.lost)} (no connection any more): run again when it is back"
            )
        if self.unreached and self.begun:
            lines.append(f"  not reached: {', '.join(self.unreached)}: run again when it is back")
        elif self.unreached:
            lines.append(
                f"  not reached: {', '.join(self.unreached)}: run again when it is back, or go on without it:"
                " --fail-percent 50"
            )
        if self.interrupted:
            lines.append("  interrupted: what serves goes on, a proxy that was drained opens by itself; run again")
        if not lines:
            return ""
        head = "Rollout INCOMPLETE" if self.unreached or self.lost or failed else "Rollout"
        if self.interrupted:
            head = "Rollout INTERRUPTED"
        elif not self.begun and self.unreached:
            head = "Rollout NOT BEGUN, nothing was changed"
        elif self.stopped:
            head = f"Rollout STOPPED at {self.stopped}"
        elif self.refusals:
            head = "Rollout REFUSED, what serves was not touched"
        return "\n".join([f"--> {head}", *lines])

    def _failed_without_a_word(self) -> list[str]:
        told = {self.stopped, *self.refusals, *self.untouched, *self.lost, *self.unreached}
        told |= {row.host for row in self.rows if row.outcome != "proved"}
        return [host for host in self.failed if host not in told]


REPORT = Report()
