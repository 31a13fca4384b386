"""Scenarios for sipp: a caller's and a called phone's, which then wait for what the other side or a test wants.

What a test wants comes as requests with methods of our own (DOHOLD, DOBYE …) and the call's Call-ID, from where the
proxy's come: sipp takes them as it takes all requests. DOANSWER is a copy of the INVITE: so its headers are at hand.
"""

from dataclasses import dataclass

from tests.agents.agent import Settings

_HEAD = '<?xml version="1.0" encoding="ISO-8859-1" ?>\n<scenario name="agent">\n'
_INVITE_ACTIONS = """<action>
<ereg regexp="[^\\r\\n]+" search_in="hdr" header="From:" assign_to="remote"/>
<ereg regexp="[^\\r\\n]+" search_in="hdr" header="To:" assign_to="local"/>
</action>"""
_RSEQ = '<action><ereg regexp="[0-9]+" search_in="hdr" header="RSeq:" assign_to="rseq"/></action>'
# The direction of each offer anew: a pattern that does not match leaves the value of the time before.
_HELD = """<action>
<ereg regexp="a=(sendrecv|sendonly|recvonly|inactive)" search_in="body" assign_to="line,direction"/>
<strcmp assign_to="differs" variable="direction" value="sendrecv"/>
<test assign_to="held" variable="differs" compare="not_equal" value="0"/>
</action>"""
_TO_TAG = ";tag=[pid]c[call_number]"
_PROVED = "2"  # CSeq number of a caller's INVITE with credentials, after the one that is challenged


@dataclass(frozen=True)
class Line:
    """What a scenario says of its phone.

    Attributes:
        user, password, address, port: of the slot, and where it is reached.
        transport: UDP or TCP, as in Via.
        rtp_port: where it listens for media.
        events: payload type of telephone-event.
        answers_video: what it answers has a second, refused stream, because it was offered one.
        settings: see there.
    """

    user: str
    password: str
    address: str
    port: int
    transport: str
    rtp_port: int
    settings: Settings
    events: int = 101
    opus: int = 96
    answers_video: bool = False

    def sdp(self, direction: str = "sendrecv") -> str:
        """A body; its version is the CSeq number, which grows with each."""
        codecs = {"PCMU": 0, "PCMA": 8, "opus": self.opus}
        types = [codecs[name] for name in self.settings.codecs]
        lines = [
            "v=0", f"o=sipp 1 [cseq] IN IP4 {self.address}", "s=-", f"c=IN IP4 {self.address}", "t=0 0",
            f"m=audio {self.rtp_port} RTP/AVP {' '.join(map(str, types))} {self.events}",
            *(f"a=rtpmap:{kind} {name}/{'48000/2' if name == 'opus' else '8000'}"
              for name, kind in zip(self.settings.codecs, types, strict=True)),
            f"a=rtpmap:{self.events} telephone-event/8000", f"a={direction}",
        ]  # fmt: skip
        if self.answers_video:
            lines.append("m=video 0 RTP/AVP 97")
        elif self.settings.video:
            lines += [f"m=video {self.rtp_port + 2} RTP/AVP 97", "a=rtpmap:97 VP8/90000"]
        return "\n".join(lines) + "\n"

    @property
    def contact(self) -> str:
        parameter = ";transport=tcp" if self.transport == "TCP" else ""
        return f"Contact: <sip:{self.user}@{self.address}:{self.port}{parameter}>"

    @property
    def timer(self) -> str:
        seconds = self.settings.timer
        return f"Supported: timer\nSession-Expires: {seconds};refresher=uac\nMin-SE: {seconds}\n" if seconds else ""

    @property
    def retransmit(self) -> str:
        return ' retrans="500"' if self.transport == "UDP" else ""


class Scenario:
    """Pieces of one, in their order."""

    def __init__(self, line: Line, local: str, remote: str) -> None:
        self.line, self.local, self.remote = line, local, remote
        self.parts: list[str] = []

    def send(self, text: str, *, repeat: bool = False, go: int = 0) -> None:
        """go: the label to go on from; a jump apart would leave a moment in which sipp takes no message."""
        extra = (self.line.retransmit if repeat else "") + (f' next="{go}"' if go else "")
        self.parts.append(f"<send{extra}><![CDATA[\n{text}\n]]></send>")

    def receive(self, what: str, *, optional: bool = False, go: int = 0, more: str = "", inside: str = "") -> None:
        kind = "response" if what.isdigit() else "request"
        extra = (' optional="true"' if optional else "") + (f' next="{go}"' if go else "") + more
        self.parts.append(f'<recv {kind}="{what}"{extra}>{inside}</recv>')

    def label(self, number: int) -> None:
        self.parts.append(f'<label id="{number}"/>')

    def jump(self, number: int, test: str) -> None:
        self.parts.append(f'<nop next="{number}" test="{test}"></nop>')

    def request(self, method: str, *, extra: str = "", body: str = "", go: int = 0, cseq: str = "[cseq]") -> None:
        """A request inside the call. REFER is sent once: its second answer would come when nobody expects it."""
        line = self.line
        content = f"Content-Type: application/sdp\nContent-Length: [len]\n\n{body}" if body else "Content-Length: 0\n"
        branch = "z9hG4bK[pid]n[call_number]c[cseq]" + ("a" if method == "ACK" else "")
        self.send(
            f"{method} [next_url] SIP/2.0\n"
            f"Via: SIP/2.0/{line.transport} {line.address}:{line.port};branch={branch};rport\n"
            f"[routes]\nMax-Forwards: 70\nFrom: {self.local}\nTo: {self.remote}\nCall-ID: [call_id]\n"
            f"CSeq: {cseq} {method}\n{line.contact}\n{extra}{content}",
            repeat=method not in ("ACK", "REFER"),
            go=go,
        )

    def answer(
        self, code: str, *, extra: str = "", body: str = "", tag: str = "", repeat: bool = False, go: int = 0
    ) -> None:
        """An answer to the request that came last."""
        content = f"Content-Type: application/sdp\nContent-Length: [len]\n\n{body}" if body else "Content-Length: 0\n"
        self.send(
            f"SIP/2.0 {code}\n[last_Via:]\n[last_Record-Route:]\n[last_From:]\n[last_To:]{tag}\n[last_Call-ID:]\n"
            f"[last_CSeq:]\n{self.line.contact}\n{extra}{content}",
            repeat=repeat,
            go=go,
        )

    def wait_for_wishes(self) -> None:
        """The middle and the end of a call."""
        requests = {"INVITE": 10, "UPDATE": 15, "INFO": 16, "NOTIFY": 16, "OPTIONS": 16, "ACK": 1}
        wishes = {"DOHOLD": 20, "DORESUME": 22, "DOREFER": 24, "DOBYE": 26}
        self._own_wishes()  # before the place where the answer to REFER is taken: sipp takes those of what stands above
        self.label(1)
        for method, go in (requests | wishes).items():
            self.receive(method, optional=True, go=go, inside=_HELD if method == "INVITE" else "")
        self.receive("202", optional=True, go=1)
        self.receive("BYE")
        self.answer("200 OK", go=99)
        self._others_wishes()
        self.label(99)
        self.parts.append('<pause milliseconds="200"/>')

    def _others_wishes(self) -> None:
        refresh = f"Require: timer\nSession-Expires: {self.line.settings.timer};refresher=uac\n"
        refresh = refresh if self.line.settings.timer else ""
        self.label(10)
        self.jump(12, "held")
        self.answer("200 OK", extra=refresh, body=self.line.sdp(), go=1)
        self.label(12)
        self.answer("200 OK", body=self.line.sdp("recvonly"), go=1)
        self.label(15)
        self.answer("200 OK", extra=refresh, go=1)
        self.label(16)
        self.answer("200 OK", go=1)

    def _own_wishes(self) -> None:
        for label, direction in ((20, "sendonly"), (22, "sendrecv")):
            self.label(label)
            self.request("INVITE", body=self.line.sdp(direction), extra=self.line.timer)
            self.receive("100", optional=True)
            self.receive("200")
            self.request("ACK", go=1)
        self.label(24)
        self.request("REFER", extra="[last_Refer-To:]\n", go=1)
        self.label(26)
        self.request("BYE")
        self.receive("NOTIFY", optional=True)
        self.receive("200", go=99)

    def text(self) -> str:
        return _HEAD + "\n".join(self.parts) + '\n<Reference variables="line"/>\n</scenario>\n'


def caller(line: Line, number: int) -> str:
    """Calls a number, answers the challenge, acknowledges reliable provisional answers."""
    settings = line.settings
    local, uri = f"<sip:{line.user}@vss.internal>;tag=[pid]c[call_number]", f"sip:{number}@vss.internal"
    scenario = Scenario(line, local, f"<{uri}>[peer_tag_param]")
    offer = "" if settings.late else line.sdp()
    content = f"Content-Type: application/sdp\nContent-Length: [len]\n\n{offer}" if offer else "Content-Length: 0\n"
    common = (
        f"Via: SIP/2.0/{line.transport} {line.address}:{line.port};branch=z9hG4bK[pid]n[call_number]c[cseq];rport\n"
        f"Max-Forwards: 70\nFrom: {local}\nTo: <{uri}>"
    )
    first = f"INVITE {uri} SIP/2.0\n{common}\nCall-ID: [call_id]\nCSeq: [cseq] INVITE\n{line.contact}\n"
    first += ("Supported: 100rel\n" if settings.prack else "") + line.timer
    scenario.send(first + content, repeat=True)
    scenario.receive("100", optional=True)
    scenario.receive("407", more=' auth="true"')
    scenario.send(
        f"ACK {uri} SIP/2.0\n{common}[peer_tag_param]\nCall-ID: [call_id]\nCSeq: [cseq] ACK\nContent-Length: 0\n"
    )
    proof = f"[authentication username={line.user} password={line.password}]\n"
    scenario.send(first + proof + content, repeat=True)
    scenario.label(30)
    scenario.receive("100", optional=True)
    for code in ("180", "183"):
        scenario.receive(code, optional=True, go=32, more=' rrs="true" test="rseq"', inside=_RSEQ)
    scenario.receive("200", go=33, more=' rrs="true"')
    scenario.label(32)
    scenario.request("PRACK", extra=f"RAck: [$rseq] {_PROVED} INVITE\n")
    scenario.receive("200", go=30)
    scenario.label(33)
    scenario.request("ACK", body=line.sdp() if settings.late else "", cseq=_PROVED, go=1)
    scenario.wait_for_wishes()
    return scenario.text()


def called(line: Line) -> str:
    """Rings (or lets itself be heard), and answers when it is told to."""
    settings = line.settings
    scenario = Scenario(line, f"[$local]{_TO_TAG}", "[$remote]")
    scenario.receive("INVITE", more=' rrs="true"', inside=_INVITE_ACTIONS)
    code = "183 Session Progress" if settings.early else "180 Ringing"
    reliable = "Require: 100rel\nRSeq: 1\n" if settings.prack else ""
    scenario.answer(code, extra=reliable, body=line.sdp() if settings.early else "", tag=_TO_TAG, repeat=bool(reliable))
    if reliable:
        scenario.receive("PRACK")
        scenario.answer("200 OK")
    scenario.receive("DOANSWER")
    timer = f"Require: timer\nSession-Expires: {settings.timer};refresher=uac\n" if settings.timer else ""
    body = "" if settings.early and settings.prack else line.sdp()
    scenario.answer("200 OK", extra=timer, body=body, tag=_TO_TAG, repeat=True)
    scenario.receive("ACK", go=1)
    scenario.wait_for_wishes()
    return scenario.text()
