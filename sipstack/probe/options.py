"""One SIP OPTIONS request, sent by plain socket: is a SIP server there, and what does it say?"""

import secrets
import socket
import time
from dataclasses import dataclass
from typing import Literal

from sipstack.probe.errors import ProbeError
from sipstack.probe.message import parse_head

# RFC 3261 section 17.1.2.2: a request over UDP is repeated after T1, then twice as long each time up to T2.
T1 = 0.5
T2 = 4.0
# A reply to OPTIONS is about 500 bytes; more than this is not one.
_MAX_REPLY = 65_536


@dataclass(frozen=True)
class SipReply:
    """The final reply to a request.

    Attributes:
        code: SIP status code.
        reason: the reason phrase as sent.
        headers: by long lower-case name; values of a repeated header are joined by ", ".
        rtt_ms: milliseconds from the first transmission of the request to the final reply.
    """

    code: int
    reason: str
    headers: dict[str, str]
    rtt_ms: float


def options(
    address: str,
    port: int = 5060,
    transport: Literal["udp", "tcp"] = "udp",
    timeout: float = 2.0,
    user: str | None = None,
) -> SipReply:
    """Send one OPTIONS (RFC 3261 section 11) and return the final reply, whatever its code is.

    Args:
        address: IPv4 address or name of the SIP server.
        port: its port.
        transport: "udp" (repeated by T1 within the timeout) or "tcp".
        timeout: seconds in all, TCP's connect included.
        user: user part of the request's URI; None asks the server itself.

    Raises:
        ProbeError: nobody answers in time, or the port is closed.
    """
    where = f"{transport}:{address}:{port}"
    deadline = time.monotonic() + timeout
    kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as sock:
        try:
            sock.settimeout(timeout)
            # Connected also for UDP: the kernel then names our address, drops what others send, and
            # reports a closed port.
            sock.connect((address, port))
            request = _Request(address, port, transport, user, *sock.getsockname())
            exchange = _over_udp if transport == "udp" else _over_tcp
            return exchange(sock, request, deadline)
        except TimeoutError:
            raise ProbeError(f"no answer from {where} within {timeout:g} s") from None
        except OSError as error:
            raise ProbeError(f"no answer from {where}: {error.strerror or error}") from None


class _Request:
    """An OPTIONS request and what its reply must carry."""

    def __init__(self, address: str, port: int, transport: str, user: str | None, local: str, local_port: int) -> None:
        self.branch = "z9hG4bK" + secrets.token_hex(8)  # the cookie of RFC 3261 section 8.1.1.7
        self.call_id = f"{secrets.token_hex(12)}@{local}"
        parameter = ";transport=tcp" if transport == "tcp" else ""
        target = f"sip:{user + '@' if user else ''}{address}:{port}{parameter}"
        own = f"sip:probe@{local}:{local_port}{parameter}"
        self.bytes = (
            f"OPTIONS {target} SIP/2.0\r\n"
            f"Via: SIP/2.0/{transport.upper()} {local}:{local_port};branch={self.branch};rport\r\n"
            "Max-Forwards: 70\r\n"
            f"From: <sip:probe@{local}>;tag={secrets.token_hex(6)}\r\n"
            f"To: <{target}>\r\n"
            f"Call-ID: {self.call_id}\r\n"
            "CSeq: 1 OPTIONS\r\n"
            f"Contact: <{own}>\r\n"
            "Accept: application/sdp\r\n"
            "Content-Length: 0\r\n\r\n"
        ).encode()
        self.sent = time.monotonic()

    def final_reply(self, message: bytes) -> SipReply | None:
        """The message as a reply, or None when it is provisional or the reply to something else."""
        first, headers = parse_head(message.decode("utf-8", "replace"))
        version, _, status = first.partition(" ")
        code, _, reason = status.partition(" ")
        if version != "SIP/2.0" or not code.isdigit() or int(code) < 200:
            return None
        # RFC 3261 section 17.1.3: the top Via's branch and the CSeq's method; Call-ID makes sure.
        top_via = headers.get("via", "").split(",")[0]
        branch = [part.strip() for part in top_via.split(";")]
        if f"branch={self.branch}" not in branch or headers.get("call-id") != self.call_id:
            return None
        return SipReply(int(code), reason, headers, (time.monotonic() - self.sent) * 1000)


def _remaining(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _over_udp(sock: socket.socket, request: _Request, deadline: float) -> SipReply:
    interval = T1
    while True:
        sock.send(request.bytes)
        resend = min(time.monotonic() + interval, deadline)
        while (left := resend - time.monotonic()) > 0:
            sock.settimeout(left)
            try:
                datagram = sock.recv(_MAX_REPLY)
            except TimeoutError:
                break
            if (reply := request.final_reply(datagram)) is not None:
                return reply
        _remaining(deadline)
        interval = min(interval * 2, T2)


def _over_tcp(sock: socket.socket, request: _Request, deadline: float) -> SipReply:
    sock.sendall(request.bytes)
    received = b""
    while len(received) < _MAX_REPLY:
        head, end, rest = received.partition(b"\r\n\r\n")
        if end:
            # RFC 3261 section 18.3: on a stream Content-Length says where the message ends.
            length = parse_head(head.decode("utf-8", "replace"))[1].get("content-length", "0")
            size = int(length) if length.isdigit() else 0
            if len(rest) >= size:
                if (reply := request.final_reply(head)) is not None:
                    return reply
                received = rest[size:]
                continue
        sock.settimeout(_remaining(deadline))
        chunk = sock.recv(4096)
        if not chunk:
            raise OSError("the connection was closed without a reply")
        received += chunk
    raise OSError(f"more than {_MAX_REPLY} bytes and no reply in them")
