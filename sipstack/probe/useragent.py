"""The user agent inside a phone's worker process: one pjsua2 endpoint, account and tone, and its calls."""

import re
import time
from collections.abc import Callable
from typing import Any

import pjsua2 as pj  # type: ignore[import-untyped]

from sipstack.probe import agentconfig
from sipstack.probe.message import parse_head
from sipstack.probe.tone import RATE, WINDOW, measure

Emit = Callable[[dict[str, Any]], None]

_STATES = {
    pj.PJSIP_INV_STATE_NULL: "null",
    pj.PJSIP_INV_STATE_CALLING: "calling",
    pj.PJSIP_INV_STATE_INCOMING: "incoming",
    pj.PJSIP_INV_STATE_EARLY: "early",
    pj.PJSIP_INV_STATE_CONNECTING: "connecting",
    pj.PJSIP_INV_STATE_CONFIRMED: "confirmed",
    pj.PJSIP_INV_STATE_DISCONNECTED: "disconnected",
}
_NO_NETWORK = 3  # PJSUA_DESTROY_NO_RX_MSG | PJSUA_DESTROY_NO_TX_MSG: without them the end takes 1 s more


class Listener(pj.AudioMediaPort):  # type: ignore[misc]
    """Keeps the audio that a call receives, while somebody wants to know."""

    def __init__(self) -> None:
        super().__init__()
        self.heard = bytearray()
        self.until = 0.0  # a measurement is under way until then, or until the window is full
        form = pj.MediaFormatAudio()
        form.init(pj.PJMEDIA_FORMAT_PCM, RATE, 1, 20_000, 16)
        self.createPort("listener", form)

    def onFrameReceived(self, frame: Any) -> None:
        if time.monotonic() < self.until and len(self.heard) < WINDOW * 2:
            self.heard += bytes(frame.buf) if frame.size else bytes(RATE // 50 * 2)

    def listen(self, seconds: float) -> None:
        self.heard.clear()
        self.until = time.monotonic() + seconds

    def done(self) -> bool:
        return len(self.heard) >= WINDOW * 2 or time.monotonic() >= self.until


class AgentCall(pj.Call):  # type: ignore[misc]
    """One call: reports its states, plays the tone and listens."""

    def __init__(self, agent: "Agent", call_id: int = pj.PJSUA_INVALID_ID) -> None:
        super().__init__(agent.account, call_id)
        self.agent = agent
        self.number = agent.add(self)
        self.listener = Listener()
        self.renegotiating = False

    def describe(self) -> dict[str, Any]:
        info = self.getInfo()
        return {
            "call": self.number,
            "state": _STATES[info.state],
            "code": int(info.lastStatusCode),
            "reason": info.lastReason,
            "call_id": info.callIdString,
            "remote_contact": info.remoteContact,
        }

    def onCallState(self, prm: Any) -> None:
        event = {"event": "call", **self.describe()}
        if message := _received(prm.e):
            first, headers = parse_head(message)
            if first.startswith("SIP/2.0") and headers.get("cseq", "").endswith("INVITE"):
                event["headers"] = headers
        self.agent.emit(event)
        if event["state"] == "disconnected":
            self.agent.ended.append(self.number)  # not deleted here: the library is still using it

    def onCallTsxState(self, prm: Any) -> None:
        transaction = prm.e.body.tsxState.tsx
        code = int(transaction.statusCode)
        ours = transaction.role == pj.PJSIP_ROLE_UAC and transaction.method == "INVITE"
        # 401 and 407 are not the end: the library answers a challenge by itself.
        if self.renegotiating and ours and code >= 200 and code not in (401, 407):
            self.renegotiating = False
            self.agent.emit({"event": "reinvite", "call": self.number, "code": code})

    def onCallMediaState(self, prm: Any) -> None:
        media = self.active_media()
        if media is None:
            return
        audio = self.getAudioMedia(media)
        audio.startTransmit(self.listener)
        if self.agent.tone is not None:
            self.agent.tone.startTransmit(audio)

    def active_media(self) -> int | None:
        """Index of the audio stream that flows, or None."""
        info = self.getInfo()  # named: its parts live only as long as it does
        for media in info.media:
            if media.type == pj.PJMEDIA_TYPE_AUDIO and media.status == pj.PJSUA_CALL_MEDIA_ACTIVE:
                return int(media.index)
        return None

    def audio(self) -> dict[str, Any]:
        """The last measurement and the counters of the stream."""
        sound = measure(bytes(self.listener.heard))
        result = {"level": sound.level, "frequency": sound.frequency, "purity": sound.purity}
        media = self.active_media()
        if media is None:
            return result
        info = self.getStreamInfo(media)
        statistics = self.getStreamStat(media)
        rtcp = statistics.rtcp
        return result | {
            "codec": info.codecName,
            "remote": info.remoteRtpAddress,
            "received": rtcp.rxStat.pkt,
            "received_bytes": rtcp.rxStat.bytes,
            "lost": rtcp.rxStat.loss,
            "sent": rtcp.txStat.pkt,
            "sent_bytes": rtcp.txStat.bytes,
        }


class AgentAccount(pj.Account):  # type: ignore[misc]
    """The phone's one account: reports registrations and takes calls."""

    def __init__(self, agent: "Agent") -> None:
        super().__init__()
        self.agent = agent

    def onRegState(self, prm: Any) -> None:
        self.agent.registered = prm.code == 200 and prm.expiration > 0
        self.agent.emit(
            {
                "event": "registration",
                "code": int(prm.code),
                "reason": prm.reason,
                "expires": int(prm.expiration) if self.agent.registered else 0,
            }
        )

    def onIncomingCall(self, prm: Any) -> None:
        call = self.agent.kind_of_call(self.agent, prm.callId)
        headers = parse_head(prm.rdata.wholeMsg)[1]
        self.agent.emit({"event": "incoming", **call.describe(), "headers": headers, "source": prm.rdata.srcAddress})

    def onMwiInfo(self, prm: Any) -> None:
        said = re.search(r"^Messages-Waiting: *(yes|no)", prm.rdata.wholeMsg, re.IGNORECASE | re.MULTILINE)
        if said:
            self.agent.emit({"event": "lamp", "on": said[1].lower() == "yes"})


class Agent:
    """The endpoint, started; `settings` are the arguments of `worker`'s start command."""

    kind_of_call = AgentCall

    def __init__(self, settings: dict[str, Any], emit: Emit) -> None:
        self.emit = emit
        self.registered = False
        self.calls: dict[int, AgentCall] = {}
        self.ended: list[int] = []
        self._count = 0
        local = settings["local"] or agentconfig.address_towards(settings["proxy"])
        self.endpoint = pj.Endpoint()
        self.endpoint.libCreate()
        self.endpoint.libInit(agentconfig.endpoint_config())
        self.endpoint.audDevManager().setNullDev()
        for codec in self.endpoint.codecEnum2():
            wanted = codec.codecId.startswith(("PCMU/", "PCMA/"))
            self.endpoint.codecSetPriority(codec.codecId, 128 if wanted else 0)
        kind = pj.PJSIP_TRANSPORT_UDP if settings["transport"] == "udp" else pj.PJSIP_TRANSPORT_TCP
        transport = self.endpoint.transportCreate(kind, agentconfig.bound_to(local))
        self.endpoint.libStart()
        self.address = self.endpoint.transportGetInfo(transport).localName
        self.tone = agentconfig.tone(settings["tone"]) if settings["tone"] else None
        self.account = AgentAccount(self)
        self.config = agentconfig.account_config(settings, local)
        self.account.create(self.config)

    def add(self, call: AgentCall) -> int:
        self._count += 1
        self.calls[self._count] = call
        return self._count

    def handle_events(self, milliseconds: int) -> None:
        self.endpoint.libHandleEvents(milliseconds)
        while self.ended:
            self.calls.pop(self.ended.pop(), None)

    def close(self) -> None:
        """Say goodbye (BYE or CANCEL, un-REGISTER), wait half a second for the answers at most, and stop."""
        self.endpoint.hangupAllCalls()
        if self.registered:
            self.account.setRegistration(False)
        deadline = time.monotonic() + 0.5
        while (self.calls or self.registered) and time.monotonic() < deadline:
            self.handle_events(10)
        self.endpoint.libDestroy(_NO_NETWORK)


def _received(event: Any) -> str | None:
    """The SIP message whose arrival caused the event, if one did."""
    if event.type != pj.PJSIP_EVENT_TSX_STATE or event.body.tsxState.type != pj.PJSIP_EVENT_RX_MSG:
        return None
    return str(event.body.tsxState.src.rdata.wholeMsg)
