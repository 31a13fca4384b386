"""RFC 4475 section 3.1.1: messages that look wrong and are right."""

from tests.torture.message import NOTHING, SDP, Message, codes, octets

REPEATED = {word: word * 20 for word in ("extreme", "long", "name", "value", "really", "paramname", "callername")}

VALID = (
    Message(
        name="wsinv",
        section="4475 3.1.1.1",
        wants=codes(481),
        why="""Spaces, tabs and folds wherever the grammar has them, compact and mixed-case names, an empty Subject,
            a Via that names two hops. It has a To tag of a dialog that is not here, so 481 (RFC 3261 §12.2.2).""",
        instead=codes(400),
        because="""Kamailio reads no fold between the number and the method of CSeq. No phone is known to fold there,
            and it is told. Everything else in it is read: test_folds_are_read.""",
        octets=octets(
            """\
INVITE sip:6002@vss.internal;unknownparam SIP/2.0
TO :
 sip:6002@vss.internal ;   tag    = 1918181833n
from   : "J Rosenberg \\\\\\""       <sip:slot_6001@vss.internal>
  ;
  tag = 98asjd8
MaX-fOrWaRdS: 0068
Call-ID: wsinv.ndaksdj@192.0.2.1
Content-Length   : %LENGTH%
cseq: 0009
  INVITE
Via  : SIP  /   2.0
 /UDP
    192.0.2.2;branch=390skdjuw
s :
NewFangledHeader:   newfangled value
 continued newfangled value
UnknownHeaderWithUnusualValue: ;;,,;;,;
Content-Type: application/sdp
Route:
 <sip:services.vss.internal;lr;unknownwith=value;unknown-no-value>
v:  SIP  / 2.0  / TCP     spindle.example.com   ;
  branch  =   z9hG4bK9ikj8  ,
 SIP  /    2.0   / UDP  192.168.255.111   ; branch=
 z9hG4bK30239
m:"Quoted string \\"\\"" <sip:slot_6001@vss.internal> ; newparam =
      newvalue ;
  secondparam ; q = 0.33

"""
            + SDP
        ),
    ),
    Message(
        name="intmeth",
        section="4475 3.1.1.2",
        wants=codes(405, 501),
        why="""Every character that a method, a user, a tag, a Call-ID or a header's name may have, among them an
            escaped NUL in a display name. Well-formed, but a method that nobody offers (RFC 3261 §8.2.1).""",
        instead=codes(400),
        because="""A header whose name has ! % * ` or ' is not read by Kamailio, and a NUL in a head is refused, for
            PostgreSQL has none and a call must be on record. It is refused either way.""",
        octets=octets(
            """\
!interesting-Method0123456789_*+`.%indeed'~ sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*:&it+has=1,weird!*pas$wo~d_too.(doesn't-it)@vss.internal SIP/2.0
Via: SIP/2.0/TCP host1.example.com;branch=z9hG4bK-.!%66*_+`'~
To: "BEL:\\\x07 NUL:\\\x00 DEL:\\\x7f" <sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*@vss.internal>
From: token1~` token2'+_ token3*%!.- <sip:mundane@vss.internal>;fromParam''~+*_!.-%="\u0440\u0430\u0431\u043e\u0442\u0430\u044e\u0449\u0438\u0439";tag=_token~1'+`*%!-.
Call-ID: intmeth.word%ZK-!.*_+'@word`~)(><:\\/"][?}{
CSeq: 139122385 !interesting-Method0123456789_*+`.%indeed'~
Max-Forwards: 255
extensionHeader-!.%*+_`'~:\ufeff\u5927\u505c\u96fb
Content-Length: 0

"""
        ),
    ),
    Message(
        name="esc01",
        section="4475 3.1.1.3",
        wants=codes(407),
        why="Users with escaped characters: sip:sips%3Auser%40… is a user, not another URI, and %75se%72 is `user`.",
        octets=octets(
            """\
INVITE sip:sips%3Auser%40example.com@vss.internal SIP/2.0
To: sip:%75se%72@vss.internal
From: <sip:I%20have%20spaces@vss.internal>;tag=938
Max-Forwards: 87
i: esc01.239409asdfakjkn23onasd0-3234
CSeq: 234234 INVITE
Via: SIP/2.0/UDP host5.example.net;branch=z9hG4bKkdjuw
C: application/sdp
Contact:
  <sip:cal%6Cer@host5.example.net;%6C%72;n%61me=v%61lue%25%34%31>
Content-Length: %LENGTH%

"""
            + SDP
        ),
    ),
    Message(
        name="escnull",
        section="4475 3.1.1.4",
        wants=codes(401),
        why="""Escaped NULs in URIs are characters like any other; what takes them for the end of a string binds the
            wrong user. From there on a REGISTER like any other, so a challenge.""",
        octets=octets(
            """\
REGISTER sip:vss.internal SIP/2.0
To: sip:null-%00-null@vss.internal
From: sip:null-%00-null@vss.internal;tag=839923423
Max-Forwards: 70
Call-ID: escnull.39203ndfvkjdasfkq3w4otrq0adsfdfnavd
CSeq: 14398234 REGISTER
Via: SIP/2.0/UDP host5.example.com;branch=z9hG4bKkdjuw
Contact: <sip:%00@host5.example.com>
Contact: <sip:%00%00@host5.example.com>
L:0

"""
        ),
    ),
    Message(
        name="esc02",
        section="4475 3.1.1.5",
        wants=codes(405, 501),
        why="% in a method or a header's name is no escape: RE%47IST%45R is no REGISTER, C%6Fntact no Contact.",
        instead=codes(400),
        because="""A header whose name has % is not read by Kamailio. It is refused either way, and nothing is
            registered.""",
        octets=octets(
            """\
RE%47IST%45R sip:registrar.vss.internal SIP/2.0
To: "%Z%45" <sip:resource@vss.internal>
From: "%Z%45" <sip:resource@vss.internal>;tag=f232jadfj23
Call-ID: esc02.asdfnqwo34rq23i34jrjasdcnl23nrlknsdf
Via: SIP/2.0/TCP host.example.com;branch=z9hG4bK209%fzsnel234
CSeq: 29344 RE%47IST%45R
Max-Forwards: 70
Contact: <sip:alias1@host1.example.com>
C%6Fntact: <sip:alias2@host2.example.com>
Contact: <sip:alias3@host3.example.com>
l: 0

"""
        ),
    ),
    Message(
        name="lwsdisp",
        section="4475 3.1.1.6",
        wants=codes(200),
        why="No space between a display name and its <.",
        octets=octets(
            """\
OPTIONS sip:user@vss.internal SIP/2.0
To: sip:user@vss.internal
From: caller<sip:caller@vss.internal>;tag=323
Max-Forwards: 70
Call-ID: lwsdisp.1234abcd@funky.example.com
CSeq: 60 OPTIONS
Via: SIP/2.0/UDP funky.example.com;branch=z9hG4bKkdjuw
l: 0

"""
        ),
    ),
    Message(
        name="longreq",
        section="4475 3.1.1.7",
        wants=codes(407),
        why="""Long display name, URI parameters, tag, Call-ID, header name, and 34 Via in five different forms of
            writing. The caller is slot_6001, with the long name beside it, so that it can go through to the phone.""",
        delivered=True,
        octets=octets(
            """\
INVITE sip:6002@vss.internal SIP/2.0
To: "I have a user name of {extreme} proportion"<sip:6002@vss.internal:6000;unknownparam1=very{long}value;longparam{name}=shortvalue;very{long}ParameterNameWithNoValue>
F: "amazinglylong{callername}" <sip:slot_6001@vss.internal>;tag=12{tag}424;unknownheaderparam{name}=unknowheaderparam{value};unknownValueless{paramname}
Call-ID: longreq.one{really}longcallid
CSeq: 3882340 INVITE
Unknown-{long}-Name: unknown-{long}-value; unknown-{long}-parameter-name = unknown-{long}-parameter-value
Via: SIP/2.0/TCP sip33.example.com
{vias}
Max-Forwards: 70
Contact: <sip:amazinglylong{callername}@host5.example.net>
Content-Type: application/sdp
l: %LENGTH%

""".format(
                **REPEATED,
                tag="982" * 50,
                vias="\n".join(
                    f"{('v', 'V', 'Via')[hop % 3]}: SIP/2.0/{('TCP', 'UDP')[hop % 2]} sip{hop}.example.com"
                    + (f" ;received=192.0.2.{hop};branch=z9hG4bK-{hop}" if hop % 4 else "")
                    for hop in range(32, 0, -1)
                ),
            )
            + SDP
        ),
    ),
    Message(
        name="dblreq",
        section="4475 3.1.1.8",
        wants=codes(401),
        why="""Octets behind the end of the body of a datagram are discarded (RFC 3261 §18.3), here a whole INVITE;
            the REGISTER counts. Over TCP these are two messages.""",
        octets=octets(
            """\
REGISTER sip:vss.internal SIP/2.0
To: sip:j.user@vss.internal
From: sip:j.user@vss.internal;tag=43251j3j324
Max-Forwards: 8
I: dblreq.0ha0isndaksdj99sdfafnl3lk233412
Contact: sip:j.user@host.example.com
CSeq: 8 REGISTER
Via: SIP/2.0/UDP 192.0.2.125;branch=z9hG4bKkdjuw23492
Content-Length: 0

INVITE sip:joe@vss.internal SIP/2.0
t: sip:joe@vss.internal
From: sip:caller@vss.internal;tag=141334
Max-Forwards: 8
Call-ID: dblreq.0ha0isnda977644900765@192.0.2.15
CSeq: 8 INVITE
Via: SIP/2.0/UDP 192.0.2.15;branch=z9hG4bKkdjuw380234
Content-Type: application/sdp
Content-Length: 153

v=0
o=mhandley 29739 7272939 IN IP4 192.0.2.15
s=-
c=IN IP4 192.0.2.15
t=0 0
m=audio 49217 RTP/AVP 0 12
m =video 3227 RTP/AVP 31
a=rtpmap:31 LPC
"""
        ),
    ),
    Message(
        name="semiuri",
        section="4475 3.1.1.9",
        wants=codes(200),
        why="Semicolons in front of the @ are part of the user, no parameters.",
        octets=octets(
            """\
OPTIONS sip:user;par=u%40example.net@vss.internal SIP/2.0
To: sip:j_user@vss.internal
From: sip:caller@example.org;tag=33242
Max-Forwards: 3
Call-ID: semiuri.0ha0isndaksdj
CSeq: 8 OPTIONS
Accept: application/sdp, application/pkcs7-mime,
        multipart/mixed, multipart/signed,
        message/sip, message/sipfrag
Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKkdjuw
l: 0

"""
        ),
    ),
    Message(
        name="transports",
        section="4475 3.1.1.10",
        wants=codes(200),
        why="A Via may name any transport, also one that nobody has heard of.",
        octets=octets(
            """\
OPTIONS sip:user@vss.internal SIP/2.0
To: sip:user@vss.internal
From: <sip:caller@example.com>;tag=323
Max-Forwards: 70
Call-ID:  transports.kijh4akdnaqjkwendsasfdj
Accept: application/sdp
CSeq: 60 OPTIONS
Via: SIP/2.0/UDP t1.example.com;branch=z9hG4bKkdjuw
Via: SIP/2.0/SCTP t2.example.com;branch=z9hG4bKklasjdhf
Via: SIP/2.0/TLS t3.example.com;branch=z9hG4bK2980unddj
Via: SIP/2.0/UNKNOWN t4.example.com;branch=z9hG4bKasd0f3en
Via: SIP/2.0/TCP t5.example.com;branch=z9hG4bK0a9idfnee
l: 0

"""
        ),
    ),
    Message(
        name="mpart01",
        section="4475 3.1.1.11",
        wants=codes(407),
        why="""A body of several parts, one of them binary, NULs and lines that look like a boundary included. It is
            a MESSAGE of somebody who has not proved who it is.""",
        octets=octets(
            """\
MESSAGE sip:kumiko@vss.internal SIP/2.0
Via: SIP/2.0/UDP 127.0.0.1:5070;branch=z9hG4bK-d87543-4dade06d0bdb11ee-1--d87543-;rport
Max-Forwards: 70
Route: <sip:127.0.0.1:5080>
Identity: r5mwreLuyDRYBi/0TiPwEsY3rEVsk/G2WxhgTV1PF7hHuLIK0YWVKZhKv9Mj8UeXqkMVbnVq37CD+813gvYjcBUaZngQmXc9WNZSDNGC
Identity-Info: <https://vss.internal/example.cer>;alg=rsa-sha1
Content-Type: multipart/mixed;boundary=7a9cbec02ceef655
Date: Sat, 15 Oct 2005 04:44:56 GMT
User-Agent: SIPimp.org/0.2.5 (curses)
Call-ID: mpart01.4dade06d0bdb11ee-1--d87543-
CSeq: 1 MESSAGE
To: <sip:kumiko@vss.internal>
From: <sip:fluffy@vss.internal>;tag=2fb0dcc9
Content-Length: %LENGTH%

--7a9cbec02ceef655
Content-Type: text/plain
Content-Transfer-Encoding: binary

Hello
--7a9cbec02ceef655
Content-Type: application/octet-stream
Content-Transfer-Encoding: binary

0\udc82\x01R\x06\t*\udc86H\udc86\udcf7\r\x01\x07\x02\udca0\udc82\x01C\x00\x00\r\x00--7a9cbec02ceef65\udcff\udcfe\x00
--7a9cbec02ceef655--
"""
        ),
    ),
    Message(
        name="unreason",
        section="4475 3.1.1.12",
        wants=codes(NOTHING),
        why="""A reason phrase of any UTF-8. As an answer to nothing it is dropped; as an answer to a call it reaches
            the caller (test_a_reason_reaches_the_caller).""",
        octets=octets(
            """\
SIP/2.0 200 = 2**3 * 5**2 \u043d\u043e \u0441\u0442\u043e \u0434\u0435\u0432\u044f\u043d\u043e\u0441\u0442\u043e \u0434\u0435\u0432\u044f\u0442\u044c - \u043f\u0440\u043e\u0441\u0442\u043e\u0435
Via: SIP/2.0/UDP 192.0.2.198;branch=z9hG4bK1324923
Call-ID: unreason.1234ksdfak3j2erwedfsASdf
CSeq: 35 INVITE
From: sip:user@example.com;tag=11141343
To: sip:user@example.edu;tag=2229
Content-Length: %LENGTH%
Content-Type: application/sdp
Contact: <sip:user@host198.example.com>

"""
            + SDP
        ),
    ),
    Message(
        name="noreason",
        section="4475 3.1.1.13",
        wants=codes(NOTHING),
        why="An empty reason phrase: there is a space after the code, and nothing behind it. As unreason.",
        octets=octets(
            """\
SIP/2.0 100\x20
Via: SIP/2.0/UDP 192.0.2.105;branch=z9hG4bK2398ndaoe
Call-ID: noreason.asndj203insdf99223ndf
CSeq: 35 INVITE
From: <sip:user@example.com>;tag=39ansfi3
To: <sip:user@example.edu>;tag=902jndnke3
Content-Length: 0
Contact: <sip:user@host105.example.com>

"""
        ),
    ),
)
