"""RFC 5118: addresses of IPv6 in messages. The service has none itself, and has to read them all the same."""

from tests.torture.message import Message, codes, octets

SDP6 = """\
v=0
o=assistant 971731711378798081 0 IN IP6 2001:db8::20
s=Live video feed for today's meeting
c=IN IP6 2001:db8::20
t=3338481189 3370017201
m=audio 6000 RTP/AVP 2
a=rtpmap:2 G726-32/8000
m=video 6024 RTP/AVP 107
a=rtpmap:107 H263-1998/90000
"""

IPV6 = (
    Message(
        name="ipv6-good",
        section="5118 4.1",
        wants=codes(403),
        why="An IPv6 reference as Request-URI: read, and no domain of ours.",
        octets=octets(
            """\
REGISTER sip:[2001:db8::10] SIP/2.0
To: sip:user@example.com
From: sip:user@example.com;tag=81x2
Via: SIP/2.0/UDP [2001:db8::9:1];branch=z9hG4bKas3-111
Call-ID: ipv6-good.SSG9559905523997077@hlau_4100
Max-Forwards: 70
Contact: "Caller" <sip:caller@[2001:db8::1]>
CSeq: 98176 REGISTER
Content-Length: 0

"""
        ),
    ),
    Message(
        name="ipv6-bad",
        section="5118 4.2",
        wants=codes(400),
        why="An IPv6 address without its brackets.",
        octets=octets(
            """\
REGISTER sip:2001:db8::10 SIP/2.0
To: sip:user@example.com
From: sip:user@example.com;tag=81x2
Via: SIP/2.0/UDP [2001:db8::9:1];branch=z9hG4bKas3-111
Call-ID: ipv6-bad.SSG9559905523997077@hlau_4100
Max-Forwards: 70
Contact: "Caller" <sip:caller@[2001:db8::1]>
CSeq: 98176 REGISTER
Content-Length: 0

"""
        ),
    ),
    Message(
        name="port-ambiguous",
        section="5118 4.3",
        wants=codes(403),
        why="What looks like a port is the end of the address. It is well-formed.",
        octets=octets(
            """\
REGISTER sip:[2001:db8::10:5070] SIP/2.0
To: sip:user@example.com
From: sip:user@example.com;tag=81x2
Via: SIP/2.0/UDP [2001:db8::9:1];branch=z9hG4bKas3-111
Call-ID: port-ambiguous.SSG9559905523997077@hlau_4100
Contact: "Caller" <sip:caller@[2001:db8::1]>
Max-Forwards: 70
CSeq: 98176 REGISTER
Content-Length: 0

"""
        ),
    ),
    Message(
        name="port-unambiguous",
        section="5118 4.4",
        wants=codes(403),
        why="The same with a port that is one.",
        octets=octets(
            """\
REGISTER sip:[2001:db8::10]:5070 SIP/2.0
To: sip:user@example.com
From: sip:user@example.com;tag=81x2
Via: SIP/2.0/UDP [2001:db8::9:1];branch=z9hG4bKas3-111
Call-ID: port-unambiguous.SSG9559905523997077@hlau_4100
Contact: "Caller" <sip:caller@[2001:db8::1]>
Max-Forwards: 70
CSeq: 98176 REGISTER
Content-Length: 0

"""
        ),
    ),
    Message(
        name="via-received-param-with-delim",
        section="5118 4.5",
        wants=codes(481),
        why="""An IPv6 address in brackets in Via's received, which its grammar does not have; phones write it. A
            stray BYE.""",
        octets=octets(
            """\
BYE sip:[2001:db8::10] SIP/2.0
To: sip:user@example.com;tag=bd76ya
From: sip:user@example.com;tag=81x2
Via: SIP/2.0/UDP [2001:db8::9:1];received=[2001:db8::9:255];branch=z9hG4bKas3-111
Call-ID: via-received-param-with-delim.SSG9559905523997077@hlau_4100
Max-Forwards: 70
CSeq: 321 BYE
Content-Length: 0

"""
        ),
    ),
    Message(
        name="via-received-param-no-delim",
        section="5118 4.5",
        wants=codes(481),
        why="The same as the grammar has it.",
        octets=octets(
            """\
OPTIONS sip:[2001:db8::10] SIP/2.0
To: sip:user@example.com;tag=bd76ya
From: sip:user@example.com;tag=81x2
Via: SIP/2.0/UDP [2001:db8::9:1];received=2001:db8::9:255;branch=z9hG4bKas3
Call-ID: via-received-param-no-delim.SSG95523997077@hlau_4100
Max-Forwards: 70
Contact: "Caller" <sip:caller@[2001:db8::9:1]>
CSeq: 921 OPTIONS
Content-Length: 0

"""
        ),
    ),
    Message(
        name="ipv6-in-sdp",
        section="5118 4.6",
        wants=codes(407),
        why="IPv6 addresses in the body, which are no business of a proxy's before it knows who is calling.",
        octets=octets(
            """\
INVITE sip:6002@vss.internal SIP/2.0
To: sip:6002@vss.internal
From: sip:slot_6001@vss.internal;tag=81x2
Via: SIP/2.0/UDP [2001:db8::20];branch=z9hG4bKas3-111
Call-ID: ipv6-in-sdp.SSG9559905523997077@hlau_4100
Contact: "Caller" <sip:caller@[2001:db8::20]>
CSeq: 8612 INVITE
Max-Forwards: 70
Content-Type: application/sdp
Content-Length: %LENGTH%

"""
            + SDP6
        ),
    ),
    Message(
        name="mult-ip-in-header",
        section="5118 4.7",
        wants=codes(481),
        why="IPv4 and IPv6 addresses in one message.",
        octets=octets(
            """\
BYE sip:user@host.vss.internal SIP/2.0
Via: SIP/2.0/UDP [2001:db8::9:1]:6050;branch=z9hG4bKas3-111
Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKjhja8781hjuaij65144
Via: SIP/2.0/TCP [2001:db8::9:255];branch=z9hG4bK451jj;received=192.0.2.200
Call-ID: mult-ip-in-header.997077@lau_4100
Max-Forwards: 70
CSeq: 89187 BYE
To: sip:user@example.net;tag=9817--94
From: sip:user@example.com;tag=81x2
Content-Length: 0

"""
        ),
    ),
    Message(
        name="mult-ip-in-sdp",
        section="5118 4.8",
        wants=codes(407),
        why="IPv4 and IPv6 addresses in one body, as a phone with both offers them.",
        octets=octets(
            """\
INVITE sip:6002@vss.internal SIP/2.0
To: sip:6002@vss.internal
From: sip:slot_6001@vss.internal;tag=81x2
Via: SIP/2.0/UDP [2001:db8::9:1];branch=z9hG4bKas3-111
Call-ID: mult-ip-in-sdp.SSG9559905523997077@hlau_4100
Contact: "Caller" <sip:caller@[2001:db8::9:1]>
Max-Forwards: 70
CSeq: 8912 INVITE
Content-Type: application/sdp
Content-Length: %LENGTH%

v=0
o=bob 280744730 28977631 IN IP4 host.example.com
s=
t=0 0
m=audio 22334 RTP/AVP 0
c=IN IP4 192.0.2.1
m=video 6024 RTP/AVP 107
c=IN IP6 2001:db8::1
a=rtpmap:107 H263-1998/90000
"""
        ),
    ),
    Message(
        name="ipv4-mapped-ipv6",
        section="5118 4.9",
        wants=codes(407),
        why="IPv4 addresses written as IPv6, in Via, Contact and the body.",
        octets=octets(
            """\
INVITE sip:6002@vss.internal SIP/2.0
To: sip:6002@vss.internal
From: sip:slot_6001@vss.internal;tag=81x2
Via: SIP/2.0/UDP [::ffff:192.0.2.10]:19823;branch=z9hG4bKbh19
Via: SIP/2.0/UDP [::ffff:192.0.2.2];branch=z9hG4bKas3-111
Call-ID: ipv4-mapped-ipv6.SSG9559905523997077@hlau_4100
Contact: "T. desk phone" <sip:ted@[::ffff:192.0.2.2]>
CSeq: 612 INVITE
Max-Forwards: 70
Content-Type: application/sdp
Content-Length: %LENGTH%

v=0
o=assistant 971731711378798081 0 IN IP6 ::ffff:192.0.2.2
s=Call me soon, please!
c=IN IP6 ::ffff:192.0.2.2
t=3338481189 3370017201
m=audio 6000 RTP/AVP 2
a=rtpmap:2 G726-32/8000
m=video 6024 RTP/AVP 107
a=rtpmap:107 H263-1998/90000
"""
        ),
    ),
    Message(
        name="ipv6-bug-abnf-3-colons",
        section="5118 4.10",
        wants=codes(400, 403),
        why="""Three colons, which RFC 3261's grammar allowed by mistake and no address has. It may be refused as
            malformed, or taken for what it is meant to be, which is no address of ours.""",
        octets=octets(
            """\
OPTIONS sip:user@[2001:db8:::192.0.2.1] SIP/2.0
To: sip:user@[2001:db8:::192.0.2.1]
From: sip:user@example.com;tag=810x2
Via: SIP/2.0/UDP lab1.east.example.com;branch=z9hG4bKas3-111
Call-ID: ipv6-bug-abnf-3-colons.G9559905523997077@hlau_4100
CSeq: 689 OPTIONS
Max-Forwards: 70
Content-Length: 0

"""
        ),
    ),
)
