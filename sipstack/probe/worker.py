"""The process of one phone: `python -m sipstack.probe.worker`, driven by JSON lines.

On standard input, one command a line: {"id": 7, "do": "call", ...arguments}. On standard output, one
answer for each, {"reply": 7, ...result} or {"reply": 7, "error": "..."}, and events as they happen:
{"event": "registration" | "incoming" | "call" | "reinvite" | "lamp", ...}. The first command must be `start`; the
process ends with `quit` or when its input does. The log goes to standard error, whole SIP messages
included.

It is a process of its own, because pjsua2 allows one endpoint in each, and because a phone may have to live
in another network namespace.
"""

import json
import os
import select
import sys
from collections.abc import Callable
from typing import Any

import pjsua2 as pj  # type: ignore[import-untyped]

from sipstack.probe.useragent import Agent, AgentCall

_POLL_MS = 10  # how long a command may wait for the SIP stack's turn


class Worker:
    """Reads commands, lets the user agent run in between."""

    def __init__(self, output: int) -> None:
        self._output = output
        self._input = b""
        self._agent: Agent | None = None
        self._measuring: list[tuple[int, AgentCall]] = []
        self._commands: dict[str, Callable[..., dict[str, Any] | None]] = {
            "start": self._start,
            "register": self._register,
            "unregister": self._unregister,
            "watch_lamp": self._watch_lamp,
            "call": self._call,
            "answer": self._answer,
            "hangup": self._hangup,
            "reinvite": self._reinvite,
        }

    def run(self) -> None:
        while self._read_commands():
            if self._agent is None:
                select.select([0], [], [])
                continue
            self._agent.handle_events(_POLL_MS)
            self._report_measurements()
        if self._agent is not None:
            self._agent.close()

    def emit(self, message: dict[str, Any]) -> None:
        line = json.dumps(message).encode() + b"\n"
        try:
            while line:
                line = line[os.write(self._output, line) :]
        except BrokenPipeError:
            os._exit(1)  # nobody is there any more

    def _read_commands(self) -> bool:
        """Obey what has come in; False when it is time to end."""
        while select.select([0], [], [], 0)[0]:
            data = os.read(0, 65_536)
            if not data:
                return False
            *lines, self._input = (self._input + data).split(b"\n")
            for line in lines:
                command = json.loads(line)
                if command["do"] == "quit":
                    return False
                self._obey(command.pop("id"), command.pop("do"), command)
        return True

    def _obey(self, number: int, name: str, arguments: dict[str, Any]) -> None:
        try:
            if name == "audio":
                self._measure(number, **arguments)
            else:
                self.emit({"reply": number, **(self._commands[name](**arguments) or {})})
        except pj.Error as error:
            self.emit({"reply": number, "error": f"{error.title}: {error.reason}"})
        except (LookupError, OSError) as error:
            self.emit({"reply": number, "error": str(error)})

    @property
    def _ready(self) -> Agent:
        if self._agent is None:
            raise LookupError("the first command must be start")
        return self._agent

    def _find(self, call: int) -> AgentCall:
        if call not in self._ready.calls:
            raise LookupError("the call is over")
        return self._ready.calls[call]

    def _start(self, **settings: Any) -> dict[str, Any]:
        self._agent = Agent(settings, self.emit)
        return {"address": self._agent.address}

    def _register(self, expires: int) -> None:
        agent = self._ready
        if agent.config.regConfig.timeoutSec != expires:
            agent.config.regConfig.timeoutSec = expires
            agent.account.modify(agent.config)
        agent.account.setRegistration(True)

    def _unregister(self) -> None:
        self._ready.account.setRegistration(False)

    def _watch_lamp(self) -> None:
        agent = self._ready
        agent.config.mwiConfig.enabled = True
        agent.account.modify(agent.config)

    def _call(self, target: str, headers: dict[str, str]) -> dict[str, Any]:
        call = AgentCall(self._ready)
        parameters = audio_only()
        for name, value in headers.items():
            header = pj.SipHeader()
            header.hName, header.hValue = name, value
            parameters.txOption.headers.append(header)
        try:
            call.makeCall(target, parameters)
        except pj.Error:
            self._ready.calls.pop(call.number, None)
            raise
        return call.describe()

    def _answer(self, call: int, code: int) -> None:
        parameters = audio_only()
        parameters.statusCode = code
        self._find(call).answer(parameters)

    def _hangup(self, call: int) -> None:
        self._find(call).hangup(pj.CallOpParam())

    def _reinvite(self, call: int, kind: str) -> None:
        found = self._find(call)
        parameters = audio_only()
        if kind == "hold":
            found.setHold(parameters)
        else:
            if kind == "resume":
                parameters.opt.flag = pj.PJSUA_CALL_UNHOLD
            found.reinvite(parameters)
        found.renegotiating = True

    def _measure(self, number: int, call: int, seconds: float) -> None:
        found = self._find(call)
        found.listener.listen(seconds)
        self._measuring.append((number, found))

    def _report_measurements(self) -> None:
        for entry in [entry for entry in self._measuring if entry[1].listener.done()]:
            self._measuring.remove(entry)
            number, call = entry
            if call.number in self._ready.calls:
                self.emit({"reply": number, **call.audio()})
            else:
                self.emit({"reply": number, "error": "the call is over"})


def audio_only() -> pj.CallOpParam:
    """Parameters of an operation on a call that has one stream of audio."""
    parameters = pj.CallOpParam(True)
    parameters.opt.audioCount, parameters.opt.videoCount = 1, 0
    return parameters


def main(kind: type[Worker] = Worker) -> None:
    output = os.dup(1)
    os.dup2(2, 1)  # the library prints before it can be told not to
    kind(output).run()
    sys.stderr.flush()
    os._exit(0)  # the library's objects must not be destroyed after the library


if __name__ == "__main__":
    main()
