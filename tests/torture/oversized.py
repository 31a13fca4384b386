"""Messages larger than any phone's. Each with the codes that are right; 0 is no answer."""

LARGE = "x" * 30_000
REFUSED = frozenset({0, 400, 413, 414, 513})
TAKEN = REFUSED | {200, 403}


def options(
    *,
    uri: str = "sip:vss.internal",
    via: str = "192.0.2.1;branch=z9hG4bKlarge;rport",
    user: str = "<sip:caller@vss.internal>;tag=1",
    to: str = "<sip:vss.internal>",
    call: str = "oversized",
    more: str = "",
    body: str = "",
) -> bytes:
    return (
        f"OPTIONS {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {via}\r\n{more}Max-Forwards: 70\r\nFrom: {user}\r\nTo: {to}\r\n"
        f"Call-ID: {call}\r\nCSeq: 1 OPTIONS\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


OVERSIZED = {
    "method": (b"X" * 30_000 + options()[7:], REFUSED),
    "user": (options(uri=f"sip:{LARGE}@vss.internal"), TAKEN),
    "domain": (options(uri=f"sip:{LARGE}"), REFUSED | {403, 416}),
    "URI parameter": (options(uri=f"sip:vss.internal;{LARGE}"), TAKEN),
    "URI with many parameters": (options(uri="sip:vss.internal" + ";p=1" * 7_000), TAKEN),
    "display name": (options(user=f'"{LARGE}" <sip:caller@vss.internal>;tag=1'), TAKEN),
    "tag": (options(user=f"<sip:caller@vss.internal>;tag={LARGE}"), TAKEN),
    "many tags": (options(user="<sip:caller@vss.internal>" + ";tag=1" * 4_000), REFUSED),
    "Call-ID": (options(call=LARGE), TAKEN),
    "branch": (options(via=f"192.0.2.1;branch=z9hG4bK{LARGE};rport"), TAKEN),
    "Via host": (options(via=f"{LARGE};branch=z9hG4bK1;rport"), TAKEN),
    "many Via": (options(more="Via: SIP/2.0/UDP 192.0.2.2;branch=z9hG4bKmore\r\n" * 1_000), TAKEN),
    "many Via in one line": (options(via="192.0.2.1;branch=z9hG4bKmany;rport" + ",SIP/2.0/UDP 192.0.2.2" * 1_000), TAKEN),
    "one header": (options(more=f"Subject: {LARGE}\r\n"), TAKEN),
    "a header's name": (options(more=f"{LARGE}: 1\r\n"), TAKEN),
    "many headers": (options(more="X: 1\r\n" * 5_000), TAKEN),
    "many folds": (options(more="X:" + "\r\n 1" * 5_000 + "\r\n"), TAKEN),
    "many Contact": (options(more="Contact: " + ",".join(["<sip:a@192.0.2.1>"] * 1_500) + "\r\n"), TAKEN),
    "many Route": (options(more="Route: <sip:192.0.2.1;lr>\r\n" * 1_000), TAKEN),
    "UTF-8": (options(more="Subject: " + "\u0436" * 15_000 + "\r\n"), TAKEN),
    "lines that cannot be read": (options(more="v\r\n" * 10_000), REFUSED),
    "body": (options(body="x" * 60_000), TAKEN),
    "a head of 64 KiB": (options(more=f"Subject: {LARGE}{LARGE}{LARGE}\r\n"), REFUSED),
    "a body of 1 MB": (options(body="x" * 1_000_000), REFUSED),
}  # fmt: skip
