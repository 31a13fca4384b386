"""RFC 4475 sections 3.2 to 3.4: messages that parse, and are wrong for a transaction, a registrar or a user agent."""

from tests.torture.message import NOTHING, SDP, Message, codes, octets

LAYERS = (
    Message(
        name="badbranch",
        section="4475 3.2.1",
        wants=codes(400, 200),
        why="A branch that is the magic cookie and nothing else. It may be taken for one of RFC 2543.",
        octets=octets(
            """\
OPTIONS sip:user@vss.internal SIP/2.0
To: sip:user@vss.internal
From: sip:caller@example.org;tag=33242
Max-Forwards: 3
Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK
Accept: application/sdp
Call-ID: badbranch.sadonfo23i420jv0as0derf3j3n
CSeq: 8 OPTIONS
l: 0

"""
        ),
    ),
    Message(
        name="insuf",
        section="4475 3.3.1",
        wants=codes(400),
        why="No Call-ID, no From and no To.",
        octets=octets(
            """\
INVITE sip:6002@vss.internal SIP/2.0
CSeq: 193942 INVITE
Via: SIP/2.0/UDP 192.0.2.95;branch=z9hG4bKkdj.insuf
Content-Type: application/sdp
l: %LENGTH%

"""
            + SDP
        ),
    ),
    Message(
        name="unkscm",
        section="4475 3.3.2",
        wants=codes(416),
        why="A Request-URI of a scheme that nobody knows.",
        octets=octets(
            """\
OPTIONS nobodyKnowsThisScheme:totallyopaquecontent SIP/2.0
To: sip:user@vss.internal
From: sip:caller@example.net;tag=384
Max-Forwards: 3
Call-ID: unkscm.nasdfasser0q239nwsdfasdkl34
CSeq: 3923423 OPTIONS
Via: SIP/2.0/TCP host9.example.com;branch=z9hG4bKkdjuw39234
Content-Length: 0

"""
        ),
    ),
    Message(
        name="novelsc",
        section="4475 3.3.3",
        wants=codes(416),
        why="A Request-URI of a scheme that exists, and is no way to reach a phone.",
        octets=octets(
            """\
OPTIONS soap.beep://192.0.2.103:3002 SIP/2.0
To: sip:user@vss.internal
From: sip:caller@example.net;tag=384
Max-Forwards: 3
Call-ID: novelsc.asdfasser0q239nwsdfasdkl34
CSeq: 3923423 OPTIONS
Via: SIP/2.0/TCP host9.example.com;branch=z9hG4bKkdjuw39234
Content-Length: 0

"""
        ),
    ),
    Message(
        name="unksm2",
        section="4475 3.3.4",
        wants=codes(400),
        why="URIs of other schemes in To, From and Contact. What is registered has to be a SIP URI.",
        octets=octets(
            """\
REGISTER sip:vss.internal SIP/2.0
To: isbn:2983792873
From: <http://www.example.com>;tag=3234233
Call-ID: unksm2.daksdj@hyphenated-host.example.com
CSeq: 234902 REGISTER
Max-Forwards: 70
Via: SIP/2.0/UDP 192.0.2.21:5060;branch=z9hG4bKkdjuw
Contact: <name:John_Smith>
l: 0

"""
        ),
    ),
    Message(
        name="bext01",
        section="4475 3.3.5",
        wants=codes(420),
        why="Proxy-Require with options that no proxy has: 420, with Unsupported (RFC 3261 §16.3).",
        octets=octets(
            """\
OPTIONS sip:user@vss.internal SIP/2.0
To: sip:j_user@vss.internal
From: sip:caller@example.net;tag=242etr
Max-Forwards: 6
Call-ID: bext01.0ha0isndaksdj
Require: nothingSupportsThis, nothingSupportsThisEither
Proxy-Require: noProxiesSupportThis, norDoAnyProxiesSupportThis
CSeq: 8 OPTIONS
Via: SIP/2.0/TLS fold-and-staple.example.com;branch=z9hG4bKkdjuw
Content-Length: 0

"""
        ),
    ),
    Message(
        name="invut",
        section="4475 3.3.6",
        wants=codes(407),
        why="A body of a type that nobody knows. A proxy passes it on; the phone that is called refuses it with 415.",
        delivered=True,
        octets=octets(
            """\
INVITE sip:6002@vss.internal SIP/2.0
Contact: <sip:caller@host5.example.net>
To: sip:j.user@vss.internal
From: sip:slot_6001@vss.internal;tag=8392034
Max-Forwards: 70
Call-ID: invut.0ha0isndaksdjadsfij34n23d
CSeq: 235448 INVITE
Via: SIP/2.0/UDP somehost.example.com;branch=z9hG4bKkdjuw
Content-Type: application/unknownformat
Content-Length: %LENGTH%

<audio>
 <pcmu port="443"/>
</audio>
"""
        ),
    ),
    Message(
        name="regaut01",
        section="4475 3.3.7",
        wants=codes(401),
        why="Authorization of a scheme that nobody knows counts as none.",
        octets=octets(
            """\
REGISTER sip:vss.internal SIP/2.0
To: sip:j.user@vss.internal
From: sip:j.user@vss.internal;tag=87321hj23128
Max-Forwards: 8
Call-ID: regaut01.0ha0isndaksdj
CSeq: 9338 REGISTER
Via: SIP/2.0/TCP 192.0.2.253;branch=z9hG4bKkdjuw
Authorization: NoOneKnowsThisScheme opaque-data=here
Content-Length:0

"""
        ),
    ),
    Message(
        name="multi01",
        section="4475 3.3.8",
        wants=codes(400),
        why="Two From, To, Call-ID and CSeq, and three Max-Forwards.",
        octets=octets(
            """\
INVITE sip:6002@vss.internal SIP/2.0
CSeq: 5 INVITE
Via: SIP/2.0/UDP 192.0.2.25;branch=z9hG4bKkdjuw
Max-Forwards: 70
Call-ID: multi01.98asdh@192.0.2.1
Call-ID: multi01.98asdh@192.0.2.2
Max-Forwards: 3
From: sip:slot_6001@vss.internal;tag=3413415
To: sip:user@vss.internal
To: sip:other@vss.internal
From: sip:caller@example.net;tag=2923420123
Content-Type: application/sdp
l: %LENGTH%
Contact: <sip:caller@host36.example.net>
Max-Forwards: 5
CSeq: 59 INVITE

"""
            + SDP
        ),
    ),
    Message(
        name="mcl01",
        section="4475 3.3.9",
        wants=codes(400),
        over_tcp=codes(400, NOTHING),
        why="""Two Content-Length that differ. Over a stream the end of the message is unknown, and the connection
            may be closed.""",
        octets=octets(
            """\
OPTIONS sip:user@vss.internal SIP/2.0
Via: SIP/2.0/UDP host5.example.net;branch=z9hG4bK293423
To: sip:user@vss.internal
From: sip:other@example.net;tag=3923942
Call-ID: mcl01.fhn2323orihawfdoa3o4r52o3irsdf
CSeq: 15932 OPTIONS
Content-Length: 13
Max-Forwards: 60
Content-Length: 5
Content-Type: text/plain

There's no way to know how many octets are supposed to be here.
"""
        ),
    ),
    Message(
        name="bcast",
        section="4475 3.3.10",
        wants=codes(NOTHING),
        why="An answer whose second Via is everybody. It must not be passed on.",
        octets=octets(
            """\
SIP/2.0 200 OK
Via: SIP/2.0/UDP 192.0.2.198;branch=z9hG4bK1324923
Via: SIP/2.0/UDP 255.255.255.255;branch=z9hG4bK1saber23
Call-ID: bcast.0384840201234ksdfak3j2erwedfsASdf
CSeq: 35 INVITE
From: sip:user@example.com;tag=11141343
To: sip:user@example.edu;tag=2229
Content-Length: %LENGTH%
Content-Type: application/sdp
Contact: <sip:user@host28.example.com>

"""
            + SDP
        ),
    ),
    Message(
        name="zeromf",
        section="4475 3.3.11",
        wants=codes(483, 200),
        why="Max-Forwards is zero. What answers OPTIONS itself may do so, for it forwards nothing.",
        octets=octets(
            """\
OPTIONS sip:user@vss.internal SIP/2.0
To: sip:user@vss.internal
From: sip:caller@example.net;tag=3ghsd41
Call-ID: zeromf.jfasdlfnm2o2l43r5u0asdfas
CSeq: 39234321 OPTIONS
Via: SIP/2.0/UDP host1.example.com;branch=z9hG4bKkdjuw2349i
Max-Forwards: 0
Content-Length: 0

"""
        ),
    ),
    Message(
        name="cparam01",
        section="4475 3.3.12",
        wants=codes(401),
        why="A Contact with a header parameter that nobody knows. A stranger is asked who he is.",
        octets=octets(
            """\
REGISTER sip:vss.internal SIP/2.0
Via: SIP/2.0/UDP saturn.example.com:5060;branch=z9hG4bKkdjuw
Max-Forwards: 70
From: sip:watson@vss.internal;tag=DkfVgjkrtMwaerKKpe
To: sip:watson@vss.internal
Call-ID: cparam01.70710@saturn.example.com
CSeq: 2 REGISTER
Contact: sip:+19725552222@gw1.example.net;unknownparam
l: 0

"""
        ),
    ),
    Message(
        name="cparam02",
        section="4475 3.3.13",
        wants=codes(401),
        why="A Contact with a URI parameter that nobody knows.",
        octets=octets(
            """\
REGISTER sip:vss.internal SIP/2.0
Via: SIP/2.0/UDP saturn.example.com:5060;branch=z9hG4bKkdjuw
Max-Forwards: 70
From: sip:watson@vss.internal;tag=838293
To: sip:watson@vss.internal
Call-ID: cparam02.70710@saturn.example.com
CSeq: 3 REGISTER
Contact: <sip:+19725552222@gw1.example.net;unknownparam>
l: 0

"""
        ),
    ),
    Message(
        name="regescrt",
        section="4475 3.3.14",
        wants=codes(401),
        why="A Contact whose URI has a Route in it.",
        octets=octets(
            """\
REGISTER sip:vss.internal SIP/2.0
To: sip:user@vss.internal
From: sip:user@vss.internal;tag=8
Max-Forwards: 70
Call-ID: regescrt.k345asrl3fdbv@192.0.2.1
CSeq: 14398234 REGISTER
Via: SIP/2.0/UDP host5.example.com;branch=z9hG4bKkdjuw
M: <sip:user@example.com?Route=%3Csip:sip.example.com%3E>
L:0

"""
        ),
    ),
    Message(
        name="sdp01",
        section="4475 3.3.15",
        wants=codes(407),
        why="An Accept that no answer can satisfy. A proxy passes it on; the phone that is called refuses it with 406.",
        delivered=True,
        octets=octets(
            """\
INVITE sip:6002@vss.internal SIP/2.0
To: sip:j_user@vss.internal
Contact: <sip:caller@host15.example.net>
From: sip:slot_6001@vss.internal;tag=234
Max-Forwards: 5
Call-ID: sdp01.ndaksdj9342dasdd
Accept: text/nobodyKnowsThis
CSeq: 8 INVITE
Via: SIP/2.0/UDP 192.0.2.15;branch=z9hG4bKkdjuw
Content-Length: %LENGTH%
Content-Type: application/sdp

"""
            + SDP
        ),
    ),
    Message(
        name="inv2543",
        section="4475 3.4.1",
        wants=codes(407),
        why="RFC 2543: no branch, no tag in From, no Max-Forwards, no Content-Length, and a Record-Route in a request.",
        over_tcp=codes(407, NOTHING),
        instead=codes(400),
        because="""A call without a From tag is no dialog: nothing in it could be matched, and its duration would not be on
            record. No phone of the last twenty years leaves it out, and one that does is told.""",
        octets=octets(
            """\
INVITE sip:6002@vss.internal SIP/2.0
Via: SIP/2.0/UDP iftgw.example.com
From: <sip:slot_6001@vss.internal;user=phone>
Record-Route: <sip:UserB@example.com;maddr=ss1.example.com>
To: sip:+16505552222@ss1.example.net;user=phone
Call-ID: inv2543.1717@ift.client.example.com
CSeq: 56 INVITE
Content-Type: application/sdp

"""
            + SDP
        ),
    ),
)
