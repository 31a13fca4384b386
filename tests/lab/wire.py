"""SIP by plain socket: sends what no honest phone would, and shows what arrives to the byte."""

import hashlib
import re
import secrets
import socket
import time
from contextlib import suppress
from typing import Self

from sipstack.errors import OperatorError
from sipstack.probe.message import parse_head
from tests.lab.system import System

DOMAIN = "vss.internal"
SDP = "v=0\r\no=- 1 1 IN IP4 {0}\r\ns=-\r\nc=IN IP4 {0}\r\nt=0 0\r\nm=audio 45000 RTP/AVP 8\r\n"


class Wire:
    """A UDP socket on the way to a proxy; a context manager.

    Attributes: `address` and `port` of its own, `seen`: first lines of all requests that came in.
    """

    def __init__(self, proxy: str) -> None:
        self.proxy = (proxy, 5060)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.connect(self.proxy)
        self.address, self.port = self.socket.getsockname()
        self.seen: list[str] = []
        # Requests may come from the proxy only, so the socket stays connected: others are not heard.

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    @property
    def contact(self) -> str:
        return f"{self.address}:{self.port}"

    def message(
        self, method: str, uri: str, *, user: str = "slot_6001", to: str | None = None, to_tag: str = "",
        call_id: str | bytes = "", cseq: int = 1, headers: tuple[str, ...] = (), body: str = "",
        contact: bool = True,
    ) -> bytes:  # fmt: skip
        """A request as bytes; call_id may be bytes that are no text; contact=False leaves that header out."""
        tag = f";tag={to_tag}" if to_tag else ""
        name = call_id or secrets.token_hex(8)
        lines = [
            f"{method} {uri} SIP/2.0",
            f"Via: SIP/2.0/UDP {self.contact};branch=z9hG4bK{secrets.token_hex(8)};rport",
            "Max-Forwards: 70",
            f"From: <sip:{user}@{DOMAIN}>;tag={secrets.token_hex(4)}",
            f"To: <sip:{to or user}@{DOMAIN}>{tag}",
            f"CSeq: {cseq} {method}",
            *([f"Contact: <sip:{user}@{self.contact}>"] if contact else []),
            *headers,
            *(["Content-Type: application/sdp"] if body else []),
            f"Content-Length: {len(body)}",
        ]
        raw = name if isinstance(name, bytes) else name.encode()
        return "\r\n".join(lines).encode() + b"\r\nCall-ID: " + raw + b"\r\n\r\n" + body.encode()

    def invite(self, uri: str, **options: object) -> bytes:
        """An INVITE with an offer."""
        return self.message("INVITE", uri, body=SDP.format(self.address), **options)  # type: ignore[arg-type]

    def send(self, message: bytes) -> None:
        self.socket.send(message)

    def ask(self, message: bytes, timeout: float = 5.0) -> tuple[int, dict[str, str]]:
        """Send a request and return the final reply: its code (0: none in time) and headers."""
        wanted = f"{_line(message, 'CSeq').split()[0]} "
        self.send(message)
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                first, headers = parse_head(self.socket.recv(65_536).decode("utf-8", "replace"))
            except TimeoutError:
                break
            if not first.startswith("SIP/2.0 "):
                self.seen.append(first)
            elif first[8] > "1" and headers.get("cseq", "").startswith(wanted):
                if message.startswith(b"INVITE"):
                    self._acknowledge(message, headers)
                return int(first[8:11]), headers
        return 0, {}

    def final_code(self, timeout: float = 5.0) -> int:
        """The code of the next final reply, whatever it is the reply to; 0: none in time."""
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0:
            self.socket.settimeout(left)
            with suppress(TimeoutError):
                reply = self.socket.recv(65_536)
                if reply.startswith(b"SIP/2.0 ") and reply[8:9] > b"1":
                    return int(reply[8:11])
        return 0

    def ask_as(
        self, account: str, password: str, method: str, uri: str, timeout: float = 5.0, **options: object
    ) -> tuple[int, dict[str, str]]:
        """The same with digest credentials of `account`, after the challenge. `options` are those of `message`."""
        make = self.invite if method == "INVITE" else lambda uri, **o: self.message(method, uri, **o)
        code, headers = self.ask(make(uri, cseq=1, **options), timeout)
        challenge = headers.get("www-authenticate") or headers.get("proxy-authenticate")
        if challenge is None:
            return code, headers
        name = "Authorization" if code == 401 else "Proxy-Authorization"
        credentials = f"{name}: {digest(challenge, account, password, method, uri)}"
        extra = (*options.pop("headers", ()), credentials)  # type: ignore[misc]
        return self.ask(make(uri, cseq=2, headers=extra, **options), timeout)

    def register(self, user: str, password: str, **options: object) -> int:
        """Register this socket as the contact of a slot."""
        options.setdefault("headers", ("Expires: 300",))
        return self.ask_as(user, password, "REGISTER", f"sip:{DOMAIN}", user=user, **options)[0]  # type: ignore[arg-type]

    def next_request(self, timeout: float = 5.0) -> tuple[str, dict[str, str]]:
        """The next request that comes in, keep-alives aside: first line and headers."""
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0:
            self.socket.settimeout(left)
            first, headers = parse_head(self.socket.recv(65_536).decode("utf-8", "replace"))
            if not first.startswith(("SIP/2.0 ", "OPTIONS ")):
                return first, headers
        raise TimeoutError

    def reply(self, timeout: float = 5.0, *, call_id: str = "") -> dict[str, str]:
        """The headers of the next final reply (in that call), with its code as `code`."""
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0:
            self.socket.settimeout(left)
            first, headers = parse_head(self.socket.recv(65_536).decode("utf-8", "replace"))
            if first.startswith("SIP/2.0 ") and first[8] > "1" and call_id in headers["call-id"]:
                return {**headers, "code": first[8:11]}
        raise TimeoutError

    def answer(
        self, request: dict[str, str], status: bytes, *, tag: bytes = b"", contact: str = "",
        headers: tuple[str, ...] = (), body: str = "",
    ) -> None:  # fmt: skip
        """Answer a request of `next_request`; the To tag may be no text, and is left out inside a call."""
        names = ("Via", "From", "Call-ID", "CSeq", "Record-Route")
        lines = [f"{name}: {request[name.lower()]}".encode() for name in names if name.lower() in request]
        lines.append(f"To: {request['to']}".encode() + (b";tag=" + tag if tag else b""))
        lines.append(f"Contact: <{contact or f'sip:{self.contact}'}>".encode())
        lines += [line.encode() for line in headers]
        lines += [b"Content-Type: application/sdp"] if body else []
        lines.append(f"Content-Length: {len(body)}".encode())
        self.send(b"SIP/2.0 " + status + b"\r\n" + b"\r\n".join(lines) + b"\r\n\r\n" + body.encode())

    def _acknowledge(self, invite: bytes, reply: dict[str, str]) -> None:
        uri = invite.split(b" ", 2)[1].decode()
        lines = [f"ACK {uri} SIP/2.0", f"To: {reply['to']}", "Max-Forwards: 70", "Content-Length: 0"]
        lines += [f"{name}: {_line(invite, name)}" for name in ("Via", "From", "Call-ID")]
        lines.append(f"CSeq: {_line(invite, 'CSeq').split()[0]} ACK")
        self.send("\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n\r\n")


def forget_bindings(system: System) -> None:
    """Remove every binding, also those that a failed test has left, or that the database has not heard of yet.

    A database that is slow for a moment refuses: then again.
    """
    deadline = time.monotonic() + 15
    while True:
        known = set(re.findall(r"AoR: (\S+)", system.kamcmd("ul.dump")))
        known |= {user for (user,) in system.sql("SELECT DISTINCT username FROM location")}
        try:
            for user in known:
                system.kamcmd("ul.rm", "location", user)
            break
        except OperatorError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
    system.sql("DELETE FROM location")


def held(system: System, call_id: str) -> tuple[int, int]:
    """How many rows of a call there are in dialog, and in dialog_vars, where one holds its Call-ID."""
    query = f"""SELECT (SELECT count(*) FROM dialog WHERE callid = '{call_id}'),
                       (SELECT count(*) FROM dialog_vars WHERE dialog_value = '{call_id}')"""
    ((dialogs, variables),) = system.sql(query)
    return int(dialogs), int(variables)


def digest(challenge: str, user: str, password: str, method: str, uri: str) -> str:
    """The value of (Proxy-)Authorization for a challenge without qop (RFC 2617 §3.2.2)."""
    found = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
    ha1 = md5(f"{user}:{found['realm']}:{password}")
    response = md5(f"{ha1}:{found['nonce']}:{md5(f'{method}:{uri}')}")
    return (
        f'Digest username="{user}", realm="{found["realm"]}", nonce="{found["nonce"]}", '
        f'uri="{uri}", response="{response}", algorithm=MD5'
    )


def md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


def _line(message: bytes, name: str) -> str:
    text = message.decode("utf-8", "surrogateescape")
    return next(line.split(": ", 1)[1] for line in text.split("\r\n") if line.startswith(f"{name}: "))
