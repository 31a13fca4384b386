"""The process of a pjsua2 phone that transfers, sends DTMF and can be set up in more ways than the probe's.

More commands: digits, transfer, connect; `start` takes the fields of `Settings`; one more event, "digit".
"""

from typing import Any

import pjsua2 as pj  # type: ignore[import-untyped]

from sipstack.probe import worker
from sipstack.probe.useragent import AgentCall

_SDP_LATER = 8  # PJSUA_CALL_NO_SDP_OFFER, which the binding does not name


class FullCall(AgentCall):
    """A call that hears digits and follows transfers."""

    def onDtmfDigit(self, prm: Any) -> None:
        self.agent.emit({"event": "digit", "call": self.number, "digit": prm.digit})

    def onCallTransferRequest(self, prm: Any) -> None:
        prm.newCall = FullCall(self.agent)

    def onCallReplaceRequest(self, prm: Any) -> None:
        prm.newCall = FullCall(self.agent)

    def onCallTransferStatus(self, prm: Any) -> None:
        prm.cont = not prm.finalNotify
        if prm.finalNotify and prm.statusCode // 100 == 2:
            self.hangup(pj.CallOpParam())


class Worker(worker.Worker):
    """The probe's worker with more commands."""

    def __init__(self, output: int) -> None:
        super().__init__(output)
        self._commands |= {"digits": self._digits, "transfer": self._transfer, "connect": self._connect}
        self._late = False

    def _start(self, *, prack: bool = False, late: bool = False, timer: int = 0, **settings: Any) -> dict[str, Any]:
        ready = super()._start(**settings)
        agent, self._late = self._ready, late
        agent.kind_of_call = FullCall
        if prack:
            agent.config.callConfig.prackUse = pj.PJSUA_100REL_MANDATORY
        if timer:
            agent.config.callConfig.timerUse = pj.PJSUA_SIP_TIMER_ALWAYS
            agent.config.callConfig.timerSessExpiresSec = agent.config.callConfig.timerMinSESec = timer
        agent.account.modify(agent.config)
        return ready

    def _call(self, target: str, headers: dict[str, str]) -> dict[str, Any]:
        call = FullCall(self._ready)
        parameters = worker.audio_only()
        if self._late:
            parameters.opt.flag |= _SDP_LATER
        call.makeCall(target, parameters)
        return call.describe()

    def _digits(self, call: int, digits: str) -> None:
        self._find(call).dialDtmf(digits)

    def _transfer(self, call: int, target: str) -> None:
        self._find(call).xfer(target, pj.CallOpParam())

    def _connect(self, call: int, other: int) -> None:
        self._find(call).xferReplaces(self._find(other), pj.CallOpParam())


if __name__ == "__main__":
    worker.main(Worker)
