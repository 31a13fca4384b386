"""Messages that went wrong on the way, or were made to: a seed decides which, so that each can be made again."""

import random

from tests.torture.corpus import CORPUS

# What breaks parsers: ends, nothing, numbers at the edge of a type, quotes and brackets that do not close, other charsets.
PIECES = (
    b"", b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"\r\n ", b"\0", b"\t", b" ", b":", b";", b",", b"=", b"@", b"<", b">", b'"',
    b"\\", b"[", b"]", b"(", b"%", b"%00", b"%n%n%n%s", b"sip:", b"sips:", b"tel:", b"SIP/2.0", b";tag=", b";lr", b";branch=",
    b"-1", b"0", b"255", b"65536", b"2147483648", b"4294967296", b"18446744073709551616", b"9" * 300, b"\xff", b"\xc0\x80",
    b"\xed\xa0\x80", b"\xf0\x9f\x93\x9e", b"A" * 5_000, b"\r\nVia: ", b"\r\nl: ", b"\r\nContent-Length: 5", b"\r\nRoute: <sip:;lr>",
    b"\r\nContact: *", b"\r\nAuthorization: Digest ", b"\r\nRecord-Route: <", b"\r\nExpires: ", b"' OR ''='", b"$(ru)", b"z9hG4bK",
)  # fmt: skip

# More than the RFCs have of what this proxy reads most.
OWN = (
    b"INVITE sip:6002@vss.internal SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bKown1;rport\r\n"
    b'Max-Forwards: 70\r\nFrom: "A" <sip:slot_6001@vss.internal>;tag=own\r\nTo: <sip:6002@vss.internal>\r\n'
    b"Call-ID: own1\r\nCSeq: 2 INVITE\r\nContact: <sip:slot_6001@192.0.2.9:5060;ob>\r\n"
    b'Proxy-Authorization: Digest username="slot_6001", realm="vss.internal", nonce="abcdefghijklmnopqrstuvwxyz012345", '
    # pragma: allowlist nextline secret
    b'uri="sip:6002@vss.internal", response="0123456789abcdef0123456789abcdef", algorithm=MD5\r\nContent-Length: 0\r\n\r\n',
    b"REGISTER sip:vss.internal SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKown2;rport\r\nMax-Forwards: 70\r\n"
    b"From: <sip:slot_6001@vss.internal>;tag=own\r\nTo: <sip:slot_6001@vss.internal>\r\nCall-ID: own2\r\nCSeq: 2 REGISTER\r\n"
    b'Contact: <sip:slot_6001@192.0.2.9:5060;ob>;expires=300;+sip.instance="<urn:uuid:0>";reg-id=1\r\nExpires: 300\r\n'
    b'Authorization: Digest username="slot_6001", realm="vss.internal", nonce="abcdefghijklmnopqrstuvwxyz012345", '
    # pragma: allowlist nextline secret
    b'uri="sip:vss.internal", response="0123456789abcdef0123456789abcdef", algorithm=MD5\r\nContent-Length: 0\r\n\r\n',
    b"BYE sip:slot_6002@192.0.2.9;alias=192.0.2.9~5060~1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKown3;rport\r\n"
    b"Route: <sip:vss.internal;lr;ftag=own;did=1.2>\r\nMax-Forwards: 70\r\nFrom: <sip:slot_6001@vss.internal>;tag=own\r\n"
    b"To: <sip:6002@vss.internal>;tag=other\r\nCall-ID: own3\r\nCSeq: 3 BYE\r\nContent-Length: 0\r\n\r\n",
    b"CANCEL sip:6002@vss.internal SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKown1;rport\r\nMax-Forwards: 70\r\n"
    b"From: <sip:slot_6001@vss.internal>;tag=own\r\nTo: <sip:6002@vss.internal>\r\nCall-ID: own1\r\nCSeq: 2 CANCEL\r\n"
    b"Content-Length: 0\r\n\r\n",
    b"ACK sip:6002@vss.internal SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKown4\r\nMax-Forwards: 70\r\n"
    b"From: <sip:slot_6001@vss.internal>;tag=own\r\nTo: <sip:6002@vss.internal>;tag=x\r\nCall-ID: own4\r\nCSeq: 2 ACK\r\n"
    b"Content-Length: 0\r\n\r\n",
)
SEEDS = (*(message.octets for message in CORPUS), *OWN * 4)


def mutant(seed: int, number: int) -> bytes:
    """The message of that number in the run of that seed; of a size that fits a datagram."""
    # Seeds are decided by nobody who could guess the messages; they are not secrets either.
    chance = random.Random(f"{seed}/{number}")
    octets = bytearray(chance.choice(SEEDS))
    for _ in range(chance.choice((1, 1, 1, 2, 2, 3, 5, 10, 30))):
        _damage(chance, octets)
    return bytes(octets[:60_000])


def _damage(chance: random.Random, octets: bytearray) -> None:
    start = chance.randrange(len(octets) + 1)
    end = min(len(octets), start + chance.choice((0, 1, 1, 2, 4, 16, 100)))
    match chance.randrange(9):
        case 0 | 1:
            octets[start:end] = chance.choice(PIECES)
        case 2:
            octets[start:end] = b""
        case 3 if octets:
            octets[start % len(octets)] ^= 1 << chance.randrange(8)
        case 4:
            octets[start:start] = octets[start:end] * chance.choice((1, 2, 50))
        case 5:
            octets[start:end] = chance.randbytes(end - start)
        case 6:
            other = chance.choice(SEEDS)
            cut = chance.randrange(len(other))
            octets[start:end] = other[cut : cut + chance.randrange(200)]
        case 7:
            _rearrange(chance, octets)
        case _:
            del octets[max(20, start) :]


def _rearrange(chance: random.Random, octets: bytearray) -> None:
    """Whole lines of a head: twice, missing, or in another order."""
    lines = octets.split(b"\r\n")
    first, second = (chance.randrange(len(lines)) for _ in range(2))
    match chance.randrange(3):
        case 0:
            lines.insert(first, lines[second])
        case 1:
            del lines[first]
        case _:
            lines[first], lines[second] = lines[second], lines[first]
    octets[:] = b"\r\n".join(lines)
