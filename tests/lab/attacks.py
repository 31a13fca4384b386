"""What strangers do to a proxy. Each runs where the attacker is (tests/lab/attacker.py)."""

import contextlib
import secrets
import socket
import struct
import time

from tests.lab.hostile import over_tcp, over_udp
from tests.lab.wire import DOMAIN, Wire, digest


def options(agent: str = "") -> bytes:
    """An OPTIONS of somebody with that User-Agent."""
    return request("OPTIONS", f"sip:{DOMAIN}", agent)


def request(method: str, uri: str, agent: str = "", user: str = "ping") -> bytes:
    """A request that asks for nothing but an answer."""
    name = secrets.token_hex(8)
    lines = [
        f"{method} {uri} SIP/2.0",
        f"Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK{name};rport",
        "Max-Forwards: 70",
        f"From: <sip:{user}@{DOMAIN}>;tag={name}",
        f"To: <sip:{user}@{DOMAIN}>",
        f"Call-ID: {name}",
        f"CSeq: 1 {method}",
        *([f"User-Agent: {agent}"] if agent else []),
        "Content-Length: 0",
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def code_over_udp(proxy: str, agent: str = "", method: str = "OPTIONS") -> int:
    """What a request over UDP is answered; 0: nothing."""
    return over_udp(proxy, request(method, f"sip:{DOMAIN}", agent), 2.0).code


def code_over_tcp(proxy: str, agent: str = "", method: str = "OPTIONS") -> int:
    """What a request over TCP is answered; 0: nothing."""
    return over_tcp(proxy, request(method, f"sip:{DOMAIN}", agent), 2.0).code


def code_of(proxy: str, method: str, uri: str) -> int:
    """What a request for that URI is answered; 0: nothing."""
    return over_udp(proxy, request(method, uri), 2.0).code


def flood(proxy: str, count: int, method: str = "OPTIONS") -> int:
    """Send so many requests at once over UDP; how many were answered."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_000_000)
        udp.connect((proxy, 5060))
        for _ in range(count):
            udp.send(request(method, f"sip:{DOMAIN}"))
        udp.settimeout(2)
        answers = 0
        with contextlib.suppress(TimeoutError):
            while True:
                udp.recv(65_536)
                answers += 1
        return answers


def flood_over_tcp(proxy: str, count: int) -> tuple[int, bool]:
    """The same on one connection; how many were answered, and whether the proxy closed it."""
    heard = over_tcp(proxy, options() * count, 5.0, answers=count)
    return len(heard.codes), heard.closed


def connect(proxy: str, count: int) -> int:
    """Open so many connections; how many of them stay open."""
    with contextlib.ExitStack() as stack:
        opened = []
        for _ in range(count):
            with contextlib.suppress(OSError):
                opened.append(stack.enter_context(socket.create_connection((proxy, 5060), timeout=2)))
        # They are accepted in turn: when the last one is answered or closed, it is settled for all.
        with contextlib.suppress(ConnectionError):
            opened[-1].sendall(options())
            opened[-1].settimeout(10)
            opened[-1].recv(1000)
        return sum(not _closed(tcp) for tcp in opened)


def _closed(tcp: socket.socket) -> bool:
    tcp.setblocking(False)
    try:
        return tcp.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def guess(proxy: str, user: str, passwords: list[str]) -> list[int]:
    """Register with one password after the other; the answers."""
    with Wire(proxy) as wire:
        codes = []
        for password in passwords:
            code, headers = wire.ask(wire.message("REGISTER", f"sip:{DOMAIN}", user=user), 1.0)
            if challenge := headers.get("www-authenticate"):
                answer = f"Authorization: {digest(challenge, user, password, 'REGISTER', f'sip:{DOMAIN}')}"
                extra = (answer, "Expires: 60")
                code, _ = wire.ask(wire.message("REGISTER", f"sip:{DOMAIN}", user=user, cseq=2, headers=extra), 1.0)
            codes.append(code)
        return codes


def challenge(proxy: str) -> str:
    """A challenge that is sent to this address."""
    with Wire(proxy) as wire:
        return wire.ask(wire.message("REGISTER", f"sip:{DOMAIN}"))[1]["www-authenticate"]


def wrong_answers(user: str, challenge: str, count: int) -> list[str]:
    """Requests that answer a challenge with wrong passwords."""
    made = []
    for number in range(count):
        answer = digest(challenge, user, f"wrong{number}", "REGISTER", f"sip:{DOMAIN}")
        head = request("REGISTER", f"sip:{DOMAIN}", user=user).decode().removesuffix("\r\n\r\n")
        made.append(f"{head}\r\nAuthorization: {answer}\r\n\r\n")
    return made


def forge(source: str, proxy: str, messages: list[str], port: int = 5070, pause: float = 0.0) -> None:
    """Send datagrams in the name of another address, from that port of it, with a pause (seconds) after each."""
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        for message in messages:
            time.sleep(pause)
            payload = message.encode()
            udp = struct.pack("!HHHH", port, 5060, 8 + len(payload), 0) + payload
            head = struct.pack(
                "!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, socket.IPPROTO_UDP, 0,
                socket.inet_aton(source), socket.inet_aton(proxy),
            )  # fmt: skip
            raw.sendto(head + udp, (proxy, 0))
