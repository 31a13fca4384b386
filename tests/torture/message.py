"""One message of the corpus: its bytes, what the RFC wants of an element that receives it, and where we differ.

The bytes are the RFCs' as far as the point of a test is in them. Adapted is what leads to a code path worth testing:
the domain is the deployed one, callers are `slot_6001`, and who is called is slot 6002, so that a well-formed request
gets as far as it would from a phone.
"""

from dataclasses import dataclass

NOTHING = 0  # in place of a code: no answer at all


@dataclass(frozen=True)
class Message:
    """A message to send as it is.

    Attributes:
        name: the RFC's own name for it.
        section: where the RFC has it.
        wants: the codes that the RFC allows, NOTHING among them if it may stay unanswered. For a request that is to be
            taken as any other this is what a stranger is told: a challenge, 200 to OPTIONS, 405 to an unknown method.
        why: what the message is about, and where the codes come from.
        octets: the message.
        over_tcp: what is wanted over TCP, where that differs.
        delivered: with credentials this INVITE has to reach the phone that it calls.
        instead: what our system does that is not in `wants`; `because` says why that is right.
    """

    name: str
    section: str
    wants: frozenset[int]
    why: str
    octets: bytes
    over_tcp: frozenset[int] | None = None
    delivered: bool = False
    instead: frozenset[int] = frozenset()
    because: str = ""

    def wanted(self, transport: str) -> frozenset[int]:
        return self.over_tcp if transport == "tcp" and self.over_tcp is not None else self.wants

    def as_sent(self, serial: str) -> bytes:
        """With a Call-ID of its own, so that a message that is sent again is not taken for a retransmission.

        The RFCs' Call-IDs begin with the name of their message.
        """
        return self.octets.replace(f"{self.name}.".encode(), f"{self.name}.{serial}.".encode())


def codes(*allowed: int) -> frozenset[int]:
    return frozenset(allowed)


def octets(text: str) -> bytes:
    """The text with CRLF at its line ends; `%LENGTH%` becomes the size of what follows the first empty line.

    A byte that is no UTF-8 is written as the surrogate that Python has for it: "\\udcff" is 0xff.
    """
    raw = text.replace("\n", "\r\n").encode("utf-8", "surrogateescape")
    head, end, body = raw.partition(b"\r\n\r\n")
    return head.replace(b"%LENGTH%", str(len(body)).encode()) + end + body


SDP = """\
v=0
o=mhandley 29739 7272939 IN IP4 192.0.2.1
s=-
c=IN IP4 192.0.2.1
t=0 0
m=audio 49217 RTP/AVP 8
a=rtpmap:8 PCMA/8000
"""
