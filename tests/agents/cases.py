"""Which calls there are to make between agents, and how one is made."""

from __future__ import annotations

import shutil
import tempfile
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from sipstack.probe.errors import ProbeError
from tests.agents.agent import Account, Agent, AgentError, Settings
from tests.agents.baresip import Baresip
from tests.agents.features import FEATURES, Feature
from tests.agents.linphone import Linphone
from tests.agents.pjsua import Pjsua
from tests.agents.sipp import Sipp
from tests.lab.deskphone import DeskPhone

KINDS: dict[str, type[Agent]] = {kind.kind: kind for kind in (Pjsua, Baresip, Linphone, Sipp)}
TRANSPORTS = ("udp", "tcp")
MIXED = ("udp to tcp", "tcp to udp")  # the caller's, and that of the others
TONES = (440, 880, 1320)
THIRD = Pjsua  # it can all that a third phone has to


@dataclass(frozen=True)
class Place:
    """Where calls are made: the proxy, the passwords of the slots, and a folder for logs."""

    proxy: str
    passwords: dict[str, str]
    logs: Path

    def account(self, number: int, transport: str) -> Account:
        return Account(self.proxy, number, self.passwords[f"slot_{number}"], transport)


@dataclass(frozen=True)
class Case:
    """One call to make; `transport` is one of TRANSPORTS or MIXED."""

    caller: str
    called: str
    transport: str
    feature: Feature

    @property
    def transports(self) -> tuple[str, str, str]:
        """Of the caller, the called phone and a third one."""
        first, _, last = self.transport.partition(" to ")
        return first, last or first, last or first

    @property
    def settings(self) -> tuple[Settings, Settings]:
        own = self.feature.settings
        return own, self.feature.called_settings or own

    @property
    def group(self) -> tuple[object, ...]:
        """Calls of one group can be made by the same phones, one after the other."""
        return (self.caller, self.called, self.transport, *self.settings, self.feature.third)

    def __str__(self) -> str:
        return f"{self.feature.name}: {self.caller} -> {self.called}, {self.transport}"


@dataclass(frozen=True)
class Result:
    case: Case
    error: str  # empty: all was well
    seconds: float


def possible(feature: Feature, caller: str, called: str) -> bool:
    return feature.caller <= KINDS[caller].can and feature.called <= KINDS[called].can


def all_cases(transports: Sequence[str] = TRANSPORTS) -> list[Case]:
    """Every feature of every pair over these transports, once."""
    return [
        Case(caller, called, transport, feature)
        for caller, called, transport in product(KINDS, KINDS, transports)
        for feature in FEATURES
        if possible(feature, caller, called)
    ]


def play(place: Place, cases: list[Case], numbers: tuple[int, int, int]) -> list[Result]:
    """Make the calls of one group, with phones that start anew when something has failed."""
    results: list[Result] = []
    while len(results) < len(cases):
        results += _play_until_failure(place, cases[len(results) :], numbers)
    return results


def _play_until_failure(place: Place, cases: list[Case], numbers: tuple[int, int, int]) -> list[Result]:
    first = cases[0]
    folder = Path(tempfile.mkdtemp(prefix="agents-"))
    kinds = [KINDS[first.caller], KINDS[first.called]] + [THIRD] * first.feature.third
    settings = [*first.settings, Settings()]
    agents = [
        kind(place.account(number, transport), tone, folder / name, wanted)
        for kind, number, transport, tone, name, wanted in zip(
            kinds, numbers, first.transports, TONES, ("caller", "called", "third"), settings, strict=False
        )
    ]
    results: list[Result] = []
    case, began = first, time.monotonic()
    try:
        for agent in agents:
            _forget_bindings(agent.account)
        with Agents(agents):
            for case in cases:
                began = time.monotonic()
                case.feature.play(agents[0], agents[1], agents[-1])
                results.append(Result(case, "", time.monotonic() - began))
    except (AgentError, ProbeError, OSError, AssertionError) as error:
        where = place.logs / f"{str(case).replace(' ', '_').replace(':', '')}-{int(time.time())}"
        shutil.copytree(folder, where, ignore=lambda _, names: [name for name in names if name.endswith(".wav")])
        (where / "error").write_text(traceback.format_exc())
        results.append(Result(case, f"{error}; kept in {where}", time.monotonic() - began))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return results


def _forget_bindings(account: Account) -> None:
    """A phone that ended without its goodbye would be called, too."""
    with DeskPhone(account.proxy, account.number, account.password) as phone:
        phone.unregister()


class Agents:
    """Context of several agents: those that are begun are ended, whatever happens."""

    def __init__(self, agents: list[Agent]) -> None:
        self.agents = agents
        self.begun: list[Agent] = []

    def __enter__(self) -> None:
        try:
            for agent in self.agents:
                agent.__enter__()
                self.begun.append(agent)
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        for agent in reversed(self.begun):
            agent.stop()
