"""Ways in which phones say SDP: how its body is marked, what stands in it, and where it tells of a phone's address."""

from dataclasses import dataclass

import pytest

from tests.lab.deskphone import DeskPhone


@dataclass
class Body:
    """A way of saying SDP.

    Attributes:
        served: whether it is anchored; else it is refused.
        type: the value of Content-Type; empty: none. extra: more headers. length: as in DeskPhone.send.
        before, after: what stands around a usual SDP; with {address} and {port} of its phone.
        replace: what in it is something else.
    """

    name: str
    served: bool = True
    type: str = "application/sdp"
    extra: tuple[str, ...] = ()
    length: bool | str = True
    before: str = ""
    after: str = ""
    replace: tuple[str, str] = ("", "")

    def of(self, phone: DeskPhone) -> str:
        def filled(text: str) -> str:
            return text.replace("{port}", str(phone.rtp_port)).replace("{address}", phone.says)

        sdp = filled(self.before) + phone.sdp() + filled(self.after)
        old, new = map(filled, self.replace)
        return sdp.replace(old, new) if old else sdp

    def length_of(self, text: str) -> bool | str:
        return self.length.format(length=len(text)) if isinstance(self.length, str) else self.length


def multipart(name: str, kind: str, before: str, after: str) -> Body:
    return Body(name, type=f'multipart/{kind};boundary="b1"', before=before, after=after)


SDP_PART = "--b1\r\nContent-Type: application/sdp\r\n\r\n"
XML_PART = "--b1\r\nContent-Type: application/pidf+xml\r\nContent-ID: <a@b>\r\n\r\n<presence/>\r\n"
END = "--b1--\r\n"
C_LINE, M_LINE = "c=IN IP4 {address}\r\n", "m=audio {port} RTP/AVP 0 8 101\r\n"

MARKS = [
    Body("usual"),
    Body("no Content-Length", length=False),
    Body("Content-Length with spaces", length="Content-Length  :   {length}"),
    Body("a compact Content-Length", length="l: {length}"),
    Body("no Content-Type", type=""),
    Body("capitals", type="Application/SDP"),
    Body("a parameter", type="application/sdp; charset=UTF-8"),
    Body("a parameter without a space", type="application/sdp;version=1"),
    Body("a compact Content-Type", type="", extra=("c: application/sdp",)),
    Body("Content-Type twice", type="text/plain", extra=("Content-Type: application/sdp",)),
    Body("Content-Type twice, SDP first", extra=("Content-Type: text/plain",)),
    Body("text/plain", type="text/plain"),
    Body("a type misspelt", type="application/spd"),
    Body("a type of its own", type="application/x-sdp"),
    Body("a folded Content-Type", type="application/\r\n sdp"),
    multipart("mixed, SDP alone", "mixed", SDP_PART, END),
    multipart("mixed, SDP last", "mixed", XML_PART + SDP_PART, END),
    multipart("mixed, SDP first", "mixed", SDP_PART, XML_PART + END),
    multipart("alternative", "alternative", SDP_PART, XML_PART + END),
    multipart("related", "related", XML_PART + SDP_PART, END),
    multipart("a part without a type", "mixed", "--b1\r\n\r\n", END),
    multipart("a part marked as text", "mixed", "--b1\r\nContent-Type: text/plain\r\n\r\n", END),
    Body("multipart marked as SDP", before=SDP_PART, after=END),
    Body("packed", served=False, extra=("Content-Encoding: gzip",)),
    Body("packed, compact", served=False, extra=("e: deflate",)),
    Body("not packed, and says so", extra=("Content-Encoding: identity",)),
    Body("Content-Length too long", served=False, length="Content-Length: 4000"),
    Body("LF alone", replace=("\r\n", "\n")),
    Body("CR alone", served=False, replace=("\r\n", "\r")),
    Body("a blank line at its end", after="\r\n"),
    Body("a blank line before", before="\r\n"),
    Body("junk before", before="junk\r\n"),
]
SDPS = [
    Body("video off with type 255", after="m=video 0 RTP/AVP 255\r\n"),
    Body("video of type 255", served=False, after="m=video 40000 RTP/AVP 255\r\n"),
    Body("a number of ports", replace=("m=audio {port} ", "m=audio {port}/1 ")),
    Body("two spaces", replace=("m=audio {port} ", "m=audio  {port} ")),
    Body("a user name with a space", replace=("o=desk ", "o=desk phone ")),
    Body("no s=", replace=("s=-\r\n", "")),
    Body("a host name in c=", served=False, replace=("c=IN IP4 ", "c=IN IP4 phone.invalid ")),
    Body("candidates of old", after="a=alt:1 1 : a b {address} {port}\r\n"),
    Body("another address (RFC 6947)", after="a=altc:1 IP4 {address} {port}\r\n"),
    Body("a source filter (RFC 4570)", after="a=source-filter: incl IN IP4 * {address}\r\n"),
    Body("speech recognition (MRCP)", after="m=application 9 TCP/MRCPv2 1\r\nc=IN IP4 {address}\r\na=setup:active\r\n"),
    Body("two sessions", before="v=0\r\no=x 1 1 IN IP4 {address}\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\n"),
    Body("c= in the stream only", replace=(f"{C_LINE}t=0 0\r\n{M_LINE}", f"t=0 0\r\n{M_LINE}{C_LINE}")),
    Body("ICE", after="a=candidate:1 1 UDP 2130706431 {address} {port} typ host\r\na=rtcp:{port} IN IP4 {address}\r\n"),
    Body("chat (MSRP)", after="m=message 9 TCP/MSRP *\r\na=path:msrp://{address}:9/x;tcp\r\n"),
    Body("fax (T.38)", after="m=image 40000 udptl t38\r\n"),
    Body("presentation (BFCP)", after="m=application 40000 UDP/BFCP *\r\n"),
    Body("a line that is none", served=False, after="zzz\r\n"),
    Body("addresses in lines for people", after="a=tool:fone {address}\r\na=x-where:{address}\r\n"),
    Body("an address for a title", replace=("s=-\r\n", "s=call of {address}\r\ni=at {address}\r\ne=me@{address}\r\n")),
    Body("an address for a user name", replace=("o=desk ", "o={address} ")),
    Body("spaces without end", served=False, after="c=" + "x  " * 5_000 + "\r\n"),
    Body("twelve thousand octets", after="a=x-long:" + "x" * 12_000 + "\r\n"),
]  # fmt: skip
# Where rtpengine replaces nothing: the lines go, or all of it is refused.
STRAYS = [
    Body(
        "tabs",
        replace=(
            f"{C_LINE}t=0 0\r\n{M_LINE}",
            f"{C_LINE}t=0 0\r\n{M_LINE}".replace(" ", "\t").replace("t=0\t", "t=0 "),
        ),
    ),
    Body(
        "an address in a line that is not for media",
        replace=("t=0 0", "b=X:{address}\r\nt=0 {address}\r\nk=uri:sip:{address}"),
    ),
    Body("addresses in attributes", after="a=recv-addr:{address}\r\na=contact:{address}\r\na=rtcp-x:a {address}\r\n"),
    Body("an address as in c= in an attribute", after="a=x-old: IN IP4 {address}\r\n"),
    Body("an odd a=rtcp", after="a=rtcp:{port} {address}\r\n"),
    Body(
        "odd candidates", after="a=candidate:{address}\r\na= candidate:1\t1\tUDP\t9\t{address}\t{port}\ttyp\thost\r\n"
    ),
    Body("a line after a CR", served=False, replace=("s=-", "s=-\rc=IN IP4 {address}")),
    Body("a space before a stream", served=False, replace=("m=audio", "m= audio")),
    Body("a port that is none", served=False, replace=("m=audio {port}", "m=audio x{port}")),
    Body("a port below 0", served=False, replace=("m=audio {port}", "m=audio -{port}")),
    Body("a comma before a port", served=False, replace=("m=audio {port}", "m=audio,{port} 9")),
    Body(
        "RTCP of a stream that is not RTP", replace=("RTP/AVP", "UDP/BFCP"), after="a=rtcp:{port} IN IP4 {address}\r\n"
    ),
    Body("a second address in o=", served=False, replace=("IN IP4 {address}\r\ns", "IN I\tP4 {address}\r\ns")),
    Body("a NUL", served=False, replace=("s=-", "s=-\0"), after="a=x:{address}\r\n"),
    Body("a control character in a stream", served=False, replace=("RTP/AVP", "RTP/AVP\x7f")),
    Body("a vertical tab", served=False, replace=("m=audio ", "m=audio\v")),
    multipart("two kilobytes in a part", "mixed", XML_PART + SDP_PART, f"a=x-long:{'x' * 2_000}\r\n{END}"),
]
BODIES = MARKS + SDPS


def named(bodies: list[Body]) -> pytest.MarkDecorator:
    """A test for each of them."""
    return pytest.mark.parametrize("body", bodies, ids=lambda body: body.name)
