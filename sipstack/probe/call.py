"""A call of a phone, seen from the operator's process."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from sipstack.probe.channel import Channel
from sipstack.probe.errors import ProbeError
from sipstack.probe.message import header_name

State = Literal["null", "calling", "incoming", "early", "connecting", "confirmed", "disconnected"]
_AUDIBLE_DBFS = -50.0  # far above the -70 of a line's noise, far below the -11 of a phone's tone
_TOLERANCE_HZ = 10  # two steps of the measurement
_TONE_PURITY = 0.5  # a tone through G.711 has more than 0.95; speech and music stay below


@dataclass(frozen=True)
class AudioStats:
    """What a phone hears, and its RTP counters since the last change of the call's media.

    Attributes:
        level: of the audio received, dB below full scale; silence is -96.
        frequency: the strongest frequency of it, Hz to about 5; 0 in silence.
        purity: that frequency's share of the power, 0 to 1.
        received, received_bytes, lost: RTP packets, payload bytes, packets missing.
        sent, sent_bytes: RTP packets, payload bytes.
        codec: "PCMU" or "PCMA"; "" when no stream flows (before the answer, on hold).
        remote: address:port the other side's SDP gave for media; "" when no stream flows. Whether a relay
            is in the path is read from this: like most phones, pjsua sends to where RTP really comes from
            once it differs from the SDP, so one side behind NAT may be heard without any relay.
    """

    level: float
    frequency: int
    purity: float
    received: int = 0
    received_bytes: int = 0
    lost: int = 0
    sent: int = 0
    sent_bytes: int = 0
    codec: str = ""
    remote: str = ""

    def hears(self, frequency: int) -> bool:
        """Is this a tone of that frequency (within 10 Hz)?"""
        near = abs(self.frequency - frequency) <= _TOLERANCE_HZ
        return near and self.purity >= _TONE_PURITY and self.level >= _AUDIBLE_DBFS

    def __str__(self) -> str:
        stream = f"{self.received} packets received, {self.lost} lost, {self.sent} sent"
        stream += f", peer {self.remote}" if self.remote else ", no stream"
        if self.level < _AUDIBLE_DBFS:
            return f"silence ({stream})"
        kind = f"{self.frequency} Hz" if self.purity >= _TONE_PURITY else "a mixture of sounds"
        return f"{kind} at {self.level:.0f} dBFS ({stream})"


class Call:
    """One call. Made by `Phone.call` and `Phone.expect_call` only.

    Attributes:
        target: the URI that was called, "" for an incoming call.
        incoming: whether the other side called.
        state: as the events have told so far.
        code: the last SIP code of the call's INVITE: provisional while it rings, then final; 200 after a BYE.
        reason: its reason phrase.
        call_id: the Call-ID header.
        remote_contact: the other side's Contact as received, "" before there is one.
        source: address:port that an incoming INVITE came from; "" for an outgoing call.
    """

    def __init__(self, channel: Channel, user: str, number: int) -> None:
        self._channel = channel
        self._user = user
        self._number = number
        self._passed: set[str] = set()
        self._headers: dict[str, str] = {}
        self._reinvite_code: int | None = None
        self.target = ""
        self.incoming = False
        self.state: State = "null"
        self.code = 0
        self.reason = ""
        self.call_id = ""
        self.remote_contact = ""
        self.source = ""

    def __str__(self) -> str:
        direction = "from" if self.incoming else "to"
        return f"{self._user}: call {direction} {self.caller or self.target} (Call-ID {self.call_id})"

    def header(self, name: str) -> str | None:
        """A header of the INVITE as received (incoming) or of the last reply to ours (outgoing).

        None when it is absent. Compact names are the same as long ones; values of a repeated header are
        joined by ", ".
        """
        return self._headers.get(header_name(name))

    @property
    def caller(self) -> str:
        """The URI in an incoming INVITE's From: "sip:slot_6001@vss.internal"; "" for an outgoing call."""
        if not self.incoming:
            return ""
        value = self._headers.get("from", "")
        bracketed = re.search(r"<([^>]*)>", value)
        return bracketed[1] if bracketed else value.split(";")[0].strip()

    def wait_state(self, state: State, timeout: float = 5.0) -> None:
        """Wait until the call is, or has been, in that state.

        Raises:
            ProbeError: not within `timeout` seconds, or the call ended first (the message gives its code).
        """
        over = "disconnected"
        if not self._channel.wait(lambda: bool({state, over} & self._passed), timeout):
            last = f"{self.state}, {self.code} {self.reason}".rstrip(" 0")
            raise ProbeError(f"{self}: not {state} within {timeout:g} s, it is {last}")
        if state not in self._passed:
            raise ProbeError(f"{self}: got {self.code} {self.reason}, was never {state}")

    def ring(self) -> None:
        """Answer 180 Ringing."""
        self.answer(180)

    def answer(self, code: int = 200) -> None:
        """Answer an incoming call with any code: 180, 183 (with media), 200, 486 …"""
        self._channel.request("answer", call=self._number, code=code)

    def hangup(self, timeout: float = 5.0) -> None:
        """End the call (CANCEL, BYE, or 603 for one not answered) and wait until it is over."""
        if self.state != "disconnected":
            self._channel.request("hangup", call=self._number)
            self.wait_state("disconnected", timeout)

    def hold(self, timeout: float = 5.0) -> int:
        """Put the other side on hold by a re-INVITE; returns its final code."""
        return self._renegotiate("hold", timeout)

    def resume(self, timeout: float = 5.0) -> int:
        """Take the other side back from hold; returns the re-INVITE's final code."""
        return self._renegotiate("resume", timeout)

    def reinvite(self, timeout: float = 5.0) -> int:
        """Send a re-INVITE that changes nothing; returns its final code."""
        return self._renegotiate("reinvite", timeout)

    def audio(self, seconds: float = 1.0) -> AudioStats:
        """Measure 200 ms of audio that arrives from now on; what came until then after `seconds`.

        Raises:
            ProbeError: the call is over.
        """
        reply = self._channel.request("audio", patience=seconds + 10, call=self._number, seconds=seconds)
        return AudioStats(**{key: value for key, value in reply.items() if key != "reply"})

    def wait_hears(self, frequency: int, timeout: float = 5.0) -> AudioStats:
        """Wait until this phone hears a tone of that frequency, in audio that arrives from now on.

        Raises:
            ProbeError: it does not within `timeout` seconds; the message says what it hears instead.
        """
        return self._wait_audio(lambda stats: stats.hears(frequency), f"{frequency} Hz", timeout)

    def wait_audio(self, min_level: float = _AUDIBLE_DBFS, timeout: float = 5.0) -> AudioStats:
        """Wait until this phone hears anything of at least `min_level` dBFS."""
        return self._wait_audio(lambda stats: stats.level >= min_level, f"{min_level:g} dBFS", timeout)

    def wait_silence(self, timeout: float = 5.0) -> AudioStats:
        """Wait until this phone hears nothing (the other side holds, or media is cut)."""
        return self._wait_audio(lambda stats: stats.level < _AUDIBLE_DBFS, "silence", timeout)

    def _wait_audio(self, enough: Callable[[AudioStats], bool], wanted: str, timeout: float) -> AudioStats:
        deadline = time.monotonic() + timeout
        while True:
            # Each measurement waits for fresh audio, so this loop runs at the pace of the media clock.
            stats = self.audio(0.5)
            if enough(stats):
                return stats
            if time.monotonic() >= deadline:
                raise ProbeError(f"{self}: hears {stats}, not {wanted}, after {timeout:g} s")

    def _renegotiate(self, kind: str, timeout: float) -> int:
        self._reinvite_code = None
        deadline = time.monotonic() + timeout
        while True:
            try:
                self._channel.request("reinvite", call=self._number, kind=kind)
                break
            except ProbeError as error:
                # The offer before this one is not settled yet, as while its ACK is on the way (RFC 3261 section 14.1).
                if "EINVALIDOP" not in str(error) or time.monotonic() >= deadline:
                    raise
                time.sleep(0.05)
        self._channel.wait(lambda: self._reinvite_code is not None or self.state == "disconnected", timeout)
        if self._reinvite_code is None:
            raise ProbeError(f"{self}: no final answer to a re-INVITE ({kind}) within {timeout:g} s")
        return self._reinvite_code

    def apply(self, event: dict[str, Any]) -> None:
        """Take over what the worker tells about this call."""
        if event["event"] == "reinvite":
            self._reinvite_code = event["code"]
            return
        self.incoming = self.incoming or event["event"] == "incoming"
        self.state = event["state"]
        self._passed.add(self.state)
        self.code, self.reason = event["code"], event["reason"]
        self.call_id = event["call_id"] or self.call_id
        self.remote_contact = event["remote_contact"] or self.remote_contact
        self.source = event.get("source", self.source)
        # An incoming call keeps its INVITE; later messages of it are replies to our own re-INVITEs.
        if not self.incoming or event["event"] == "incoming":
            self._headers = event.get("headers", self._headers)
