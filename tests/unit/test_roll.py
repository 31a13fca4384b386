"""One proxy changes: what is done on its host, and what is not when something is in the way. The host is scripted."""

from types import SimpleNamespace
from typing import Any

import pytest

from sipstack.errors import OperatorError
from sipstack.lock import DeployLock, LockLostError
from sipstack.provenance import about
from sipstack.rollout import proxy, scripts
from sipstack.rollout.report import Report
from sipstack.rollout.shell import Answer

OLD, NEW = "0" * 12, "1" * 12
TARGET = proxy.Target(NEW, "digest")
NODE: Any = SimpleNamespace(settings=SimpleNamespace(sip_port=5060, drain_seconds=60))


class Stage:
    """Proxies that run release OLD.

    Attributes:
        did: what was done, in order: "drain", "switch RELEASE", "forget RELEASE", "prove", "note".
        lost_at: the lock is lost as soon as this was done; empty: it is kept.
        faults: what the proof finds. kept_out: why nobody reaches it from elsewhere.
    """

    def __init__(self) -> None:
        self.did: list[str] = []
        self.lost_at = ""
        self.faults: list[str] = []
        self.kept_out = ""
        self.report = Report()

    def run(self, host: Any, command: str, **_: Any) -> Answer:
        known = {scripts.SERVED: OLD, scripts.drain(60): "unanswered 0"}
        known |= {scripts.COUNT_BEFORE: "bindings 3\ncalls 2", scripts.COUNT_AFTER: "bindings 3\ncalls 1"}
        named = {scripts.drain(60): "drain", scripts.note_proved("digest"): "note"}
        for name, verb in ((OLD, scripts.FAILED), (NEW, "deploy")):
            switch = scripts.switch(name, proxy.BACK_WITHIN_S, about(verb))
            named |= {switch: f"switch {name}", scripts.forget(name): f"forget {name}"}
        if command in named:
            self.did.append(named[command])
        return Answer(True, known.get(command, ""))

    def prove(self, *_: Any) -> list[str]:
        self.did.append("prove")
        return self.faults

    def unreached(self, *_: Any) -> str:
        return self.kept_out

    def confirm(self) -> None:
        if self.lost_at in self.did:
            raise LockLostError("the deploy lock is lost")

    def roll(self, name: str) -> None:
        host: Any = SimpleNamespace(name=name)
        proxy.roll(host, NODE, TARGET, False, True)


class NoWatch:
    """Nobody asks for signs of life."""

    silent_ms = 700

    def __init__(self, *_: Any) -> None: ...

    def __enter__(self) -> "NoWatch":
        return self

    def __exit__(self, *_: object) -> None: ...


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    made = Stage()
    for name, value in {
        "run": made.run, "prove": made.prove, "Watch": NoWatch, "LOCK": made, "REPORT": made.report,
        "unreached": made.unreached,
    }.items():  # fmt: skip
        monkeypatch.setattr(proxy, name, value)
    return made


def test_a_proxy_drains_switches_and_proves_itself(stage: Stage) -> None:
    stage.roll("sip1")
    assert stage.did == ["drain", f"switch {NEW}", "prove", "note"]
    assert not stage.report.halted


def test_one_that_does_not_prove_itself_goes_back_and_is_the_last(stage: Stage) -> None:
    stage.faults = ["silence"]
    with pytest.raises(OperatorError, match=r"silence\s+taken back to release 000000000000"):
        stage.roll("sip1")
    with pytest.raises(OperatorError, match="not touched: the rollout stopped at sip1"):
        stage.roll("sip2")
    # The host says that it serves the old release: it has gone back by itself.
    assert stage.did == ["drain", f"switch {NEW}", "prove", f"forget {NEW}"]


def test_one_that_nobody_reaches_is_the_last_and_does_not_go_back(stage: Stage) -> None:
    """What it ran before would not be reached either."""
    stage.kept_out = "it is not reached"
    with pytest.raises(OperatorError, match="serves calls on its own host, but it is not reached"):
        stage.roll("sip1")
    with pytest.raises(OperatorError, match="not touched: the rollout stopped at sip1"):
        stage.roll("sip2")
    assert stage.did == ["drain", f"switch {NEW}", "prove"]


def test_a_run_that_lost_its_lock_while_a_proxy_drained_does_not_switch_it(stage: Stage) -> None:
    stage.lost_at = "drain"
    with pytest.raises(LockLostError):
        stage.roll("sip1")
    with pytest.raises(OperatorError, match="not touched"):
        stage.roll("sip2")
    assert stage.did == ["drain"]
    assert "NOT switched: the deploy lock is lost" in str(stage.report)


def test_nor_does_it_take_back_what_may_be_another_runs(stage: Stage) -> None:
    stage.faults, stage.lost_at = ["silence"], "prove"
    with pytest.raises(OperatorError, match="NOT taken back to release 000000000000: the deploy lock is lost"):
        stage.roll("sip1")
    assert stage.did == ["drain", f"switch {NEW}", "prove"]


def test_a_run_without_a_lock_has_nothing_to_lose() -> None:
    DeployLock().confirm()
