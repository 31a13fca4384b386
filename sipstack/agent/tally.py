"""What a load has seen so far."""

import time
from dataclasses import dataclass, field

Failure = dict[str, object]


@dataclass
class Tally:
    """Counts and failures; times of setting up are milliseconds.

    Attributes:
        calls, answered: calls that were begun, and those that were answered.
        failed: of calls, in the order in which they happened.
        registrations, registration_failures: those that were granted, and those that no proxy took.
        failovers: requests that went to another proxy.
        setup_ms: from INVITE to the first ringing (180), so without what the called phone takes to be answered.
        carried: answered calls that are up now; carried_max: the most there were.
    """

    calls: int = 0
    answered: int = 0
    failed: list[Failure] = field(default_factory=list)
    registrations: int = 0
    registration_failures: list[Failure] = field(default_factory=list)
    failovers: int = 0
    setup_ms: list[float] = field(default_factory=list)
    carried: int = 0
    carried_max: int = 0

    def up(self) -> None:
        """A call was answered."""
        self.answered += 1
        self.carried += 1
        self.carried_max = max(self.carried, self.carried_max)

    def result(self) -> dict[str, object]:
        """What is printed."""
        times = sorted(self.setup_ms)

        def percentile(share: float) -> float | None:
            return round(times[min(len(times) - 1, int(len(times) * share))], 1) if times else None

        return {
            "calls": self.calls,
            "answered": self.answered,
            "failed": self.failed,
            "registrations": self.registrations,
            "registration_failures": self.registration_failures,
            "failovers": self.failovers,
            "setup_ms": {"p50": percentile(0.5), "p95": percentile(0.95), "max": percentile(1.0)},
            "carried_max": self.carried_max,
        }


def failure(why: str, **of: str) -> Failure:
    """An entry of `failed` or `registration_failures`; `at` is the time of day in seconds of the epoch."""
    return {**of, "why": why, "at": round(time.time(), 3)}
