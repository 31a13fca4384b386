"""pjsua2 (from PyPI, as the probe has it): the project's own phone, with what else the library can."""

from __future__ import annotations

from typing import Any

from sipstack.probe.call import Call
from sipstack.probe.errors import ProbeError
from sipstack.probe.phone import Phone
from sipstack.probe.tone import SILENCE_DBFS, Sound
from tests.agents.agent import PATIENCE, Agent, AgentError


class FullPhone(Phone):
    """The probe's phone with the worker of this folder. `digits`: what it has received, by number of the call."""

    worker = "tests.agents.pjsua_worker"

    def __init__(self, *arguments: Any, more: dict[str, Any], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._settings |= more
        self.digits: dict[int, str] = {}

    def _on_event(self, event: dict[str, Any]) -> None:
        if event["event"] == "digit":
            self.digits[event["call"]] = self.digits.get(event["call"], "") + event["digit"]
        else:
            super()._on_event(event)

    def ask(self, do: str, **arguments: Any) -> None:
        self._channel.request(do, **arguments)

    def all_calls(self) -> dict[int, Call]:
        """Its calls by their numbers, those that are over, too, in the order in which they began."""
        return dict(self._calls)


class Pjsua(Agent):
    kind = "pjsua2"
    can = frozenset(
        {"hold", "reinvite", "dtmf", "blind", "transferred", "attended", "replaces", "early", "late", "prack", "timer"}
    )

    def start(self) -> None:
        account, settings = self.account, self.settings
        self._phone = FullPhone(
            account.user, account.password, "vss.internal", f"{account.proxy}:5060", account.transport,
            log_dir=self.folder, tone=self.tone,
            more={"prack": settings.prack, "late": settings.late, "timer": settings.timer},
        )  # fmt: skip
        self._phone.__enter__()
        self._known: set[int] = set()  # numbers of the calls before this one
        self._first: int | None = None  # the call that waits while another one is consulted
        self._phone.register(PATIENCE, check=True)

    def stop(self) -> None:
        if phone := getattr(self, "_phone", None):
            phone.__exit__(None, None, None)

    def call(self, number: int) -> None:
        self._phone.call(str(number))

    def await_call(self) -> None:
        self.await_true(lambda: any(call.incoming for call in self._calls().values()), "a call")
        self._newest().answer(183 if self.settings.early else 180)

    def answer(self) -> None:
        self._newest().answer()

    def await_up(self) -> None:
        self.await_true(lambda: bool(self._calls()), "a call")
        try:
            self._newest().wait_state("confirmed", PATIENCE)
        except ProbeError as error:
            raise AgentError(f"{self}: {error}") from None

    def hang_up(self) -> None:
        self._newest().hangup(PATIENCE)

    def await_over(self, timeout: float = PATIENCE) -> None:
        self.await_true(
            lambda: all(call.state == "disconnected" for call in self._calls().values()), "the end", timeout
        )
        self._known |= set(self._calls())

    def hold(self) -> None:
        self._renegotiate("hold")

    def resume(self) -> None:
        self._renegotiate("resume")

    def reinvite(self) -> None:
        self._renegotiate("reinvite")

    def _renegotiate(self, what: str) -> None:
        if (code := getattr(self._newest(), what)(PATIENCE)) != 200:
            raise AgentError(f"{self}: {what} got {code}")

    def send_digits(self, digits: str) -> None:
        self._phone.ask("digits", call=self._number(), digits=digits)

    def digits(self) -> str:
        return self._phone.digits.get(self._number(), "")

    def transfer(self, number: int) -> None:
        self._phone.ask("transfer", call=self._number(), target=f"sip:{number}@vss.internal")

    def consult(self, number: int) -> None:
        self._first = self._number()
        self.hold()
        self.call(number)

    def connect(self) -> None:
        self._phone.ask("connect", call=self._first, other=self._number())

    def sound(self) -> Sound:
        try:
            heard = self._newest().audio(3.0)
        except (AgentError, ProbeError):
            return Sound(SILENCE_DBFS, 0, 0.0)
        return Sound(heard.level, heard.frequency, heard.purity)

    def state(self) -> str:
        calls = [f"{call.state} {call.code} {call.reason}" for call in self._calls().values()]
        return f"calls {calls}, log in {self.folder}"

    def _calls(self) -> dict[int, Call]:
        return {number: call for number, call in self._phone.all_calls().items() if number not in self._known}

    def _number(self) -> int:
        """Of its newest call that goes on, else of its newest."""
        calls = self._calls()
        if not calls:
            raise AgentError(f"{self} has no call")
        return max(calls, key=lambda number: (calls[number].state != "disconnected", number))

    def _newest(self) -> Call:
        return self._calls()[self._number()]
