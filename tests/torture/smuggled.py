"""Headers written so that one reader sees them and another does not.

Each is put into an INVITE as it stands. `ASSERTED` says that the caller is somebody else: whoever is called must not read
that. `REFUSED` has to be refused or dropped, and reaches nobody.
"""

NAME = "P-Asserted-Identity"
BOSS = "<sip:boss@vss.internal>"

ASSERTED = {
    "as it is": f"{NAME}: {BOSS}\r\n",
    "a space before the colon": f"{NAME} : {BOSS}\r\n",
    "a tab before the colon": f"{NAME}\t: {BOSS}\r\n",
    "many spaces before the colon": f"{NAME}        : {BOSS}\r\n",
    "other case": f"{NAME.upper()}: {BOSS}\r\n",
    "no space behind the colon": f"{NAME}:{BOSS}\r\n",
    "folded": f"{NAME}:\r\n {BOSS}\r\n",
    "folded with a tab": f"{NAME}:\r\n\t{BOSS}\r\n",
    "folded twice": f"{NAME}:\r\n \r\n {BOSS}\r\n",
    "twice": f"{NAME}: {BOSS}\r\n" * 2,
    "a hundred times": f"{NAME}: {BOSS}\r\n" * 100,
    "behind a line that ends with LF": f"Subject: hello\n{NAME}: {BOSS}\r\n",
    "ends with LF": f"{NAME}: {BOSS}\n",
    "two in one": f"{NAME}: {BOSS}, <tel:+1900>\r\n",
    "its forerunner": f"Remote-Party-ID : {BOSS};party=calling\r\n",
    "what the caller prefers": f"P-Preferred-Identity : {BOSS}\r\n",
}

REFUSED = {
    "behind a CR alone": f"Subject: hello\r{NAME}: {BOSS}\r\n",
    "behind a CR and a space": f"Subject: hello\r {NAME}: {BOSS}\r\n",
    "a NUL in its name": f"P-Asserted\0-Identity: {BOSS}\r\n",
    "a NUL in front": f"\0{NAME}: {BOSS}\r\n",
    "a NUL behind": f"Subject: hello\0\r\n{NAME}: {BOSS}\r\n",
    "a vertical tab": f"Subject: hello\v{NAME}: {BOSS}\r\n",
    "no colon": f"{NAME} {BOSS}\r\n",
    "no name": f": {BOSS}\r\n",
    "a space in its name": f"P-Asserted Identity: {BOSS}\r\n",
    "no UTF-8": "Subject: \udcff\udcfe\r\n",
    "overlong UTF-8": "Subject: \udcc0\udc8d\udcc0\udc8a\r\n",
    "a second Call-ID": "Call-ID: other\r\n",
    "a second Call-ID, compact": "i: other\r\n",
    "a second From": "From: <sip:slot_6002@vss.internal>;tag=2\r\n",
    "a second From, compact": "f: <sip:slot_6002@vss.internal>;tag=2\r\n",
    "a second To": "To: <sip:9001@vss.internal>\r\n",
    "a second To, compact": "t : <sip:9001@vss.internal>\r\n",
    "a second CSeq": "CSeq: 7 INVITE\r\n",
    "a second Max-Forwards": "Max-Forwards: 255\r\n",
    "a second Content-Length": "Content-Length: 0\r\n",
    "a second Content-Length, compact": "l: 0\r\n",
}

# Well-formed: old phones fold, new ones write UTF-8 and IPv6. These get through.
KEPT = {
    "folded Subject": "Subject: first\r\n second\r\n\tthird\r\n",
    "folded, nothing on its first line": "Subject:\r\n first\r\n",
    "UTF-8": "Subject: \u0433\u0434\u0435 \u0442\u044b? \u5927\u505c\u96fb \U0001f4de\r\n",
    "IPv6": "Call-Info: <sip:[2001:db8::1]:5060>\r\n",
    "empty": "Subject:\r\n",
    "unknown and strange": "X-Strange_1.0~+: ;;,,;;,;\r\n",
    "a second Via": "Via: SIP/2.0/UDP 192.0.2.77;branch=z9hG4bKolder\r\n",
    "colons and quotes": 'Subject: "a: \\"b\\": c"\r\n',
}
