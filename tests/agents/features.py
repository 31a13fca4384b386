"""What two agents do in a call, one procedure for each feature: all of it heard, and all ended as it should."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.agents.agent import Agent, AgentError, Settings

DEFAULT = Settings()
OPUS = Settings(codecs=("opus",))
RELIABLE = Settings(prack=True, early=True)

Play = Callable[[Agent, Agent, Agent], None]


@dataclass(frozen=True)
class Feature:
    """One feature.

    Attributes:
        name: what the table calls it.
        play: the procedure: caller, called phone, a third phone.
        caller, called: what each of the two must be able to do.
        settings: how both are set up, as far as it is not their default; of the called phone, if that differs.
        third: a third phone takes part.
    """

    name: str
    play: Play
    caller: frozenset[str] = frozenset()
    called: frozenset[str] = frozenset()
    settings: Settings = DEFAULT
    called_settings: Settings | None = None
    third: bool = False


def _both_hear(one: Agent, other: Agent) -> None:
    one.await_hears(other.tone)
    other.await_hears(one.tone)


def _connect(caller: Agent, called: Agent) -> None:
    _set_up(caller, called)
    _both_hear(caller, called)


def _set_up(caller: Agent, called: Agent) -> None:
    caller.call(called.number)
    called.await_call()
    caller.await_ringing()
    called.answer()
    caller.await_up()
    called.await_up()


def _end(ender: Agent, other: Agent) -> None:
    ender.hang_up()
    other.await_over()
    ender.await_over()


def plain(caller: Agent, called: Agent, third: Agent) -> None:
    _connect(caller, called)
    _end(caller, called)


def ended_by_called(caller: Agent, called: Agent, third: Agent) -> None:
    _connect(caller, called)
    _end(called, caller)


def _hold(holder: Agent, held: Agent) -> None:
    """The holder does not hear the other side any more; what that one hears is the holder's choice (music, silence)."""
    holder.hold()
    holder.await_silence()
    holder.resume()
    _both_hear(holder, held)


def hold_by_caller(caller: Agent, called: Agent, third: Agent) -> None:
    _connect(caller, called)
    _hold(caller, called)
    _end(caller, called)


def hold_by_called(caller: Agent, called: Agent, third: Agent) -> None:
    _connect(caller, called)
    _hold(called, caller)
    _end(caller, called)


def reinvite_by_caller(caller: Agent, called: Agent, third: Agent) -> None:
    _connect(caller, called)
    caller.reinvite()
    _both_hear(caller, called)
    _end(called, caller)


def reinvite_by_called(caller: Agent, called: Agent, third: Agent) -> None:
    _connect(caller, called)
    called.reinvite()
    _both_hear(caller, called)
    _end(called, caller)


def digits(caller: Agent, called: Agent, third: Agent) -> None:
    _connect(caller, called)
    for one, other, said in ((caller, called, "159"), (called, caller, "0*#")):
        one.send_digits(said)
        other.await_digits(said)
    _both_hear(caller, called)
    _end(caller, called)


def _leave(agent: Agent) -> None:
    """A phone that has given its call away: some hang up by themselves once they are told of the success."""
    try:
        agent.await_over(2)
    except AgentError:
        agent.hang_up()
        agent.await_over()


def _transfer(giver: Agent, given: Agent, third: Agent) -> None:
    giver.transfer(third.number)
    third.await_call()
    third.answer()
    third.await_up()
    given.await_up()
    _both_hear(given, third)
    _leave(giver)
    _both_hear(given, third)
    _end(third, given)


def transfer_by_caller(caller: Agent, called: Agent, third: Agent) -> None:
    _connect(caller, called)
    _transfer(caller, called, third)


def transfer_by_called(caller: Agent, called: Agent, third: Agent) -> None:
    _connect(caller, called)
    _transfer(called, caller, third)


def attended(caller: Agent, called: Agent, third: Agent) -> None:
    """The caller holds, asks the third phone, and connects the two (RFC 3891, RFC 5589 section 7)."""
    _connect(caller, called)
    caller.consult(third.number)
    third.await_call()
    third.answer()
    caller.await_up()
    _both_hear(caller, third)
    caller.connect()
    _both_hear(called, third)
    _leave(caller)
    _both_hear(called, third)
    _end(called, third)


def early(caller: Agent, called: Agent, third: Agent) -> None:
    """The called phone is heard before it answers."""
    caller.call(called.number)
    called.await_call()
    caller.await_hears(called.tone)
    called.answer()
    caller.await_up()
    called.await_up()
    _both_hear(caller, called)
    _end(called, caller)


def reliable(caller: Agent, called: Agent, third: Agent) -> None:
    """Its ringing is acknowledged by PRACK."""
    plain(caller, called, third)
    _pracked(caller)


def reliable_early(caller: Agent, called: Agent, third: Agent) -> None:
    early(caller, called, third)
    _pracked(caller)


def _pracked(caller: Agent) -> None:
    if not caller.has_said("PRACK sip:"):
        raise AgentError(f"{caller} has sent no PRACK")


def lasting(caller: Agent, called: Agent, third: Agent) -> None:
    """Long enough for a refresh at half of the session interval (RFC 4028 section 7.2), which both survive."""
    _connect(caller, called)
    time.sleep(REFRESHED_SECONDS)
    caller.refresh()
    _both_hear(caller, called)
    _end(caller, called)


SESSION_SECONDS = 90  # the shortest that RFC 4028 allows
REFRESHED_SECONDS = SESSION_SECONDS / 2 + 6


def opus(caller: Agent, called: Agent, third: Agent) -> None:
    """sipp has no Opus codec, but sends back what it gets: then the other side hears itself."""
    _set_up(caller, called)
    if "sipp" not in (caller.kind, called.kind):
        _both_hear(caller, called)
    for one, other in ((caller, called), (called, caller)):
        if other.kind == "sipp":
            one.await_hears(one.tone)
    _end(caller, called)


def _can(*names: str) -> frozenset[str]:
    return frozenset(names)


FEATURES = (
    Feature("call", plain),
    Feature("call, ended by called", ended_by_called),
    Feature("hold", hold_by_caller, _can("hold")),
    Feature("hold by called", hold_by_called, called=_can("hold")),
    Feature("re-INVITE", reinvite_by_caller, _can("reinvite")),
    Feature("re-INVITE by called", reinvite_by_called, called=_can("reinvite")),
    Feature("DTMF", digits, _can("dtmf"), _can("dtmf")),
    Feature("blind transfer", transfer_by_caller, _can("blind"), _can("transferred"), third=True),
    Feature("blind transfer by called", transfer_by_called, _can("transferred"), _can("blind"), third=True),
    Feature("attended transfer", attended, _can("attended"), _can("transferred", "replaces"), third=True),
    Feature("early media", early, called=_can("early"), settings=Settings(early=True)),
    Feature("late offer", plain, _can("late"), settings=Settings(late=True), called_settings=DEFAULT),
    Feature("PRACK", reliable, _can("prack"), _can("prack"), settings=Settings(prack=True)),
    Feature("PRACK, early media", reliable_early, _can("prack"), _can("prack", "early"), RELIABLE),
    Feature("session timer", lasting, _can("timer"), settings=Settings(timer=SESSION_SECONDS)),
    Feature("video offered", plain, _can("video"), settings=Settings(video=True), called_settings=DEFAULT),
    Feature("video", plain, _can("video"), _can("takes video"), settings=Settings(video=True)),
    Feature("Opus", opus, _can("opus"), _can("opus"), OPUS),
    Feature("Opus", opus, _can("opus"), _can("returns opus"), OPUS),
    Feature("Opus", opus, _can("returns opus"), _can("opus"), OPUS),
)
