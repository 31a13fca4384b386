"""RFC 4475 section 3.1.2: messages that break the grammar.

Most are to be answered 400. Where the RFC lets an element be liberal and take the message as what it was meant to be,
the code that this leads to is allowed too.
"""

from tests.torture.message import NOTHING, SDP, Message, codes, octets

INVALID = (
    Message(
        name="badinv01",
        section="4475 3.1.2.1",
        wants=codes(400),
        why="Empty parameters and values in Via and Contact.",
        octets=octets(
            """\
INVITE sip:6002@vss.internal SIP/2.0
To: sip:6002@vss.internal
From: sip:slot_6001@vss.internal;tag=134161461246
Max-Forwards: 7
Call-ID: badinv01.0ha0isndaksdjasdf3234nas
CSeq: 8 INVITE
Via: SIP/2.0/UDP 192.0.2.15;;,;,,
Contact: "Joe" <sip:joe@example.org>;;;;
Content-Length: %LENGTH%
Content-Type: application/sdp

"""
            + SDP
        ),
    ),
    Message(
        name="clerr",
        section="4475 3.1.2.2",
        wants=codes(400),
        over_tcp=codes(NOTHING),
        why="""Content-Length is larger than the datagram: 400 (RFC 3261 §18.3). Over TCP the rest may still come, so
            there is nothing to say until the connection is closed.""",
        octets=octets(
            """\
INVITE sip:6002@vss.internal SIP/2.0
Max-Forwards: 80
To: sip:j.user@vss.internal
From: sip:slot_6001@vss.internal;tag=93942939o2
Contact: <sip:caller@hungry.example.net>
Call-ID: clerr.0ha0isndaksdjweiafasdk3
CSeq: 8 INVITE
Via: SIP/2.0/UDP host5.example.com;branch=z9hG4bK-39234-23523
Content-Type: application/sdp
Content-Length: 9999

"""
            + SDP
        ),
    ),
    Message(
        name="ncl",
        section="4475 3.1.2.3",
        wants=codes(400),
        over_tcp=codes(400, NOTHING),
        why="A negative Content-Length. Over a stream the end of the message is unknown, and the connection is closed.",
        octets=octets(
            """\
INVITE sip:6002@vss.internal SIP/2.0
Max-Forwards: 254
To: sip:j.user@vss.internal
From: sip:slot_6001@vss.internal;tag=32394234
Call-ID: ncl.0ha0isndaksdj2193423r542w35
CSeq: 0 INVITE
Via: SIP/2.0/UDP 192.0.2.53;branch=z9hG4bKkdjuw
Contact: <sip:caller@example53.example.net>
Content-Type: application/sdp
Content-Length: -999

"""
            + SDP
        ),
    ),
    Message(
        name="scalar02",
        section="4475 3.1.2.4",
        wants=codes(400),
        why="CSeq above 2**32, Max-Forwards above 255, and an Expires and an expires parameter above 2**32.",
        octets=octets(
            """\
REGISTER sip:vss.internal SIP/2.0
Via: SIP/2.0/TCP host129.example.com;branch=z9hG4bK342sdfoi3
To: <sip:user@vss.internal>
From: <sip:user@vss.internal>;tag=239232jh3
CSeq: 36893488147419103232 REGISTER
Call-ID: scalar02.23o0pd9vanlq3wnrlnewofjas9ui32
Max-Forwards: 300
Expires: 10000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000
Contact: <sip:user@host129.example.com>
  ;expires=280297596632815
Content-Length: 0

"""
        ),
    ),
    Message(
        name="scalarlg",
        section="4475 3.1.2.5",
        wants=codes(NOTHING),
        why="An answer with a CSeq and a Retry-After above 2**32 is dropped.",
        octets=octets(
            """\
SIP/2.0 503 Service Unavailable
Via: SIP/2.0/TCP host129.example.com;branch=z9hG4bKzzxdiwo34sw;received=192.0.2.129
To: <sip:user@example.com>
From: <sip:other@example.net>;tag=2easdjfejw
CSeq: 9292394834772304023312 OPTIONS
Call-ID: scalarlg.noase0of0234hn2qofoaf0232aewf2394r
Retry-After: 949302838503028349304023988
Warning: 1812 overture "In Progress"
Content-Length: 0

"""
        ),
    ),
    Message(
        name="quotbal",
        section="4475 3.1.2.6",
        wants=codes(400),
        why="A quoted string in To that does not end.",
        octets=octets(
            """\
INVITE sip:6002@vss.internal SIP/2.0
To: "Mr. J. User <sip:j.user@vss.internal>
From: sip:slot_6001@vss.internal;tag=93334
Max-Forwards: 10
Call-ID: quotbal.aksdj
Contact: <sip:caller@host59.example.net>
CSeq: 8 INVITE
Via: SIP/2.0/UDP 192.0.2.59:5050;branch=z9hG4bKkdjuw39234
Content-Type: application/sdp
Content-Length: %LENGTH%

"""
            + SDP
        ),
    ),
    Message(
        name="ltgtruri",
        section="4475 3.1.2.7",
        wants=codes(400, 407),
        why="A Request-URI in <>. What takes the <> away has an INVITE like any other.",
        octets=octets(
            """\
INVITE <sip:6002@vss.internal> SIP/2.0
To: sip:user@vss.internal
From: sip:slot_6001@vss.internal;tag=39291
Max-Forwards: 23
Call-ID: ltgtruri.1@192.0.2.5
CSeq: 1 INVITE
Via: SIP/2.0/UDP 192.0.2.5
Contact: <sip:caller@host5.example.net>
Content-Type: application/sdp
Content-Length: %LENGTH%

"""
            + SDP
        ),
    ),
    Message(
        name="lwsruri",
        section="4475 3.1.2.8",
        wants=codes(400),
        why="A space inside the Request-URI.",
        octets=octets(
            """\
INVITE sip:6002@vss.internal; lr SIP/2.0
To: sip:user@vss.internal;tag=3xfe-9921883-z9f
From: sip:slot_6001@vss.internal;tag=231413434
Max-Forwards: 5
Call-ID: lwsruri.asdfasdoeoi2323-asdfwrn23-asd834rk423
CSeq: 2130706432 INVITE
Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKkdjuw2395
Contact: <sip:caller@host1.example.net>
Content-Type: application/sdp
Content-Length: %LENGTH%

"""
            + SDP
        ),
    ),
    Message(
        name="lwsstart",
        section="4475 3.1.2.9",
        wants=codes(400, 407),
        why="Two spaces between the parts of the Request-Line. It may be taken as meant.",
        octets=octets(
            """\
INVITE  sip:6002@vss.internal  SIP/2.0
Max-Forwards: 8
To: sip:user@vss.internal
From: sip:slot_6001@vss.internal;tag=8814
Call-ID: lwsstart.dfknq234oi243099adsdfnawe3@example.com
CSeq: 1893884 INVITE
Via: SIP/2.0/UDP host1.example.com;branch=z9hG4bKkdjuw3923
Contact: <sip:caller@host1.example.net>
Content-Type: application/sdp
Content-Length: %LENGTH%

"""
            + SDP
        ),
    ),
    Message(
        name="trws",
        section="4475 3.1.2.10",
        wants=codes(400, 200),
        why="Spaces at the end of the Request-Line. It may be taken as meant.",
        octets=octets(
            """\
OPTIONS sip:remote-target@vss.internal SIP/2.0\x20\x20
Via: SIP/2.0/TCP host1.example.com;branch=z9hG4bK299342093
To: <sip:remote-target@vss.internal>
From: <sip:local-resource@example.com>;tag=329429089
Call-ID: trws.oicu34958239neffasdhr2345r
Accept: application/sdp
CSeq: 238923 OPTIONS
Max-Forwards: 70
Content-Length: 0

"""
        ),
    ),
    Message(
        name="escruri",
        section="4475 3.1.2.11",
        wants=codes(400, 407),
        why="Headers in the Request-URI. They may be ignored, and a Route that they say must not be followed.",
        octets=octets(
            """\
INVITE sip:6002@vss.internal?Route=%3Csip:sip.example.com%3E SIP/2.0
To: sip:user@vss.internal
From: sip:slot_6001@vss.internal;tag=341518
Max-Forwards: 7
Contact: <sip:caller@host39923.example.net>
Call-ID: escruri.23940-asdfhj-aje3br-234q098w-fawerh2q-h4n5
CSeq: 149209342 INVITE
Via: SIP/2.0/UDP host-of-the-hour.example.com;branch=z9hG4bKkdjuw
Content-Type: application/sdp
Content-Length: %LENGTH%

"""
            + SDP
        ),
    ),
    Message(
        name="baddate",
        section="4475 3.1.2.12",
        wants=codes(400, 407),
        why="A Date that is not in GMT. Who does not need it may leave it alone, and a proxy does not.",
        octets=octets(
            """\
INVITE sip:6002@vss.internal SIP/2.0
To: sip:user@vss.internal
From: sip:slot_6001@vss.internal;tag=2234923
Max-Forwards: 70
Call-ID: baddate.239423mnsadf3j23lj42--sedfnm234
CSeq: 1392934 INVITE
Via: SIP/2.0/UDP host.example.com;branch=z9hG4bKkdjuw
Date: Fri, 01 Jan 2010 16:00:00 EST
Contact: <sip:caller@host5.example.net>
Content-Type: application/sdp
Content-Length: %LENGTH%

"""
            + SDP
        ),
    ),
    Message(
        name="regbadct",
        section="4475 3.1.2.13",
        wants=codes(400, 401),
        why="""A Contact with headers in its URI and no <> around it. It may be taken for a URI without them; a
            stranger is asked who he is before a registrar reads his Contact.""",
        octets=octets(
            """\
REGISTER sip:vss.internal SIP/2.0
To: sip:user@vss.internal
From: sip:user@vss.internal;tag=998332
Max-Forwards: 70
Call-ID: regbadct.k345asrl3fdbv@10.0.0.1
CSeq: 1 REGISTER
Via: SIP/2.0/UDP 135.180.130.133:5060;branch=z9hG4bKkdjuw
Contact: sip:user@example.com?Route=%3Csip:sip.example.com%3E
l: 0

"""
        ),
    ),
    Message(
        name="badaspec",
        section="4475 3.1.2.14",
        wants=codes(400, 200),
        why="Spaces inside the <> of To. It may be taken as meant.",
        octets=octets(
            """\
OPTIONS sip:user@vss.internal SIP/2.0
Via: SIP/2.0/UDP host4.example.com:5060;branch=z9hG4bKkdju43234
Max-Forwards: 70
From: "Bell, Alexander" <sip:a.g.bell@example.com>;tag=433423
To: "Watson, Thomas" < sip:t.watson@vss.internal >
Call-ID: badaspec.sdf0234n2nds0a099u23h3hnnw009cdkne3
Accept: application/sdp
CSeq: 3923239 OPTIONS
l: 0

"""
        ),
    ),
    Message(
        name="baddn",
        section="4475 3.1.2.15",
        wants=codes(400, 200),
        why="A comma in a display name without quotes. It may be taken as meant.",
        octets=octets(
            """\
OPTIONS sip:t.watson@vss.internal SIP/2.0
Via:     SIP/2.0/UDP c.example.com:5060;branch=z9hG4bKkdjuw
Max-Forwards:      70
From:    Bell, Alexander <sip:a.g.bell@example.com>;tag=43
To:      Watson, Thomas <sip:t.watson@vss.internal>
Call-ID: baddn.31415@c.example.com
Accept: application/sdp
CSeq:    3923239 OPTIONS
l: 0

"""
        ),
    ),
    Message(
        name="badvers",
        section="4475 3.1.2.16",
        wants=codes(505),
        why="A version of SIP that does not exist.",
        octets=octets(
            """\
OPTIONS sip:t.watson@vss.internal SIP/7.0
Via:     SIP/7.0/UDP c.example.com;branch=z9hG4bKkdjuw
Max-Forwards:     70
From:    A. Bell <sip:a.g.bell@example.com>;tag=qweoiqpe
To:      T. Watson <sip:t.watson@vss.internal>
Call-ID: badvers.31417@c.example.com
CSeq:    1 OPTIONS
l: 0

"""
        ),
    ),
    Message(
        name="mismatch01",
        section="4475 3.1.2.17",
        wants=codes(400),
        why="CSeq names another method than the Request-Line.",
        octets=octets(
            """\
OPTIONS sip:user@vss.internal SIP/2.0
To: sip:j.user@vss.internal
From: sip:caller@example.net;tag=34525
Max-Forwards: 6
Call-ID: mismatch01.dj0234sxdfl3
CSeq: 8 INVITE
Via: SIP/2.0/UDP host.example.com;branch=z9hG4bKkdjuw
l: 0

"""
        ),
    ),
    Message(
        name="mismatch02",
        section="4475 3.1.2.18",
        wants=codes(400, 501, 405),
        why="The same, and the method of the Request-Line is one that nobody knows: either may be said.",
        octets=octets(
            """\
NEWMETHOD sip:user@vss.internal SIP/2.0
To: sip:j.user@vss.internal
From: sip:caller@example.net;tag=34525
Max-Forwards: 6
Call-ID: mismatch02.dj0234sxdfl3
CSeq: 8 INVITE
Contact: <sip:caller@host.example.net>
Via: SIP/2.0/UDP host.example.net;branch=z9hG4bKkdjuw
Content-Type: application/sdp
l: %LENGTH%

"""
            + SDP
        ),
    ),
    Message(
        name="bigcode",
        section="4475 3.1.2.19",
        wants=codes(NOTHING),
        why="An answer whose code is above 699 is dropped.",
        octets=octets(
            """\
SIP/2.0 4294967301 better not break the receiver
Via: SIP/2.0/UDP 192.0.2.105;branch=z9hG4bK2398ndaoe
Call-ID: bigcode.asdof3uj203asdnf3429uasdhfas3ehjasdfas9i
CSeq: 353494 INVITE
From: <sip:user@example.com>;tag=39ansfi3
To: <sip:user@example.edu>;tag=902jndnke3
Content-Length: 0
Contact: <sip:user@host105.example.com>

"""
        ),
    ),
)
