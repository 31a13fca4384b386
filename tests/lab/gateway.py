"""A gateway of few words, to be one of two: it answers OPTIONS, takes every call and hangs up none.

`python -m tests.lab.gateway ADDRESS PORT [busy]`; it is "gone" while it is stopped (SIGSTOP). One that is busy takes no
call, and shows each INVITE.
"""

import json
import select
import signal
import socket
import subprocess
import sys
from typing import Self

from sipstack.agent.message import Message, parse
from sipstack.lab.namespaces import Namespace
from sipstack.paths import ROOT

PORT = 5090
COPIED = ("via", "from", "call-id", "cseq", "record-route")


class Gateway:
    """The program in a namespace; a context manager."""

    def __init__(self, where: Namespace, *, busy: bool = False) -> None:
        self.address = f"{where.address}:{PORT}"
        self._python = [*where.exec_prefix, sys.executable]
        self._command = [*self._python, "-m", "tests.lab.gateway", where.address, str(PORT)]
        self._command += ["busy"] if busy else []

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._command, cwd=ROOT, stdout=subprocess.PIPE)
        assert self._process.stdout is not None and self._process.stdout.readline()
        return self

    def __exit__(self, *_: object) -> None:
        self.back()
        self._process.kill()
        self._process.wait()

    def asked(self, timeout: float = 5.0) -> Message:
        """The next INVITE that a busy one has got; fails if none comes within `timeout` seconds."""
        assert self._process.stdout is not None
        assert select.select([self._process.stdout], [], [], timeout)[0], "no INVITE came to the gateway"
        return parse(json.loads(self._process.stdout.readline()).encode())

    def send(self, octets: bytes, proxy: str) -> None:
        """Send a datagram to a proxy, from its address and another port."""
        sender = "import socket, sys; socket.socket(2, 2).sendto(sys.stdin.buffer.read(), (sys.argv[1], 5060))"
        subprocess.run([*self._python, "-c", sender, proxy], input=octets, check=True)

    def gone(self) -> None:
        """It says nothing any more."""
        self._process.send_signal(signal.SIGSTOP)

    def back(self) -> None:
        self._process.send_signal(signal.SIGCONT)


def serve(address: str, port: int, busy: bool) -> None:
    """Answer everything but ACK with 200, an INVITE with an answer that accepts PCMA, or with 486."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((address, port))
    print("ready", flush=True)
    sdp = (
        f"v=0\r\no=- 1 1 IN IP4 {address}\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\n"
        "m=audio 40000 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\n"
    )
    while True:
        data, source = sock.recvfrom(65_536)
        first, *headers = data.decode("utf-8", "replace").split("\r\n\r\n", 1)[0].split("\r\n")
        method = first.split(" ", 1)[0]
        if method == "ACK" or first.startswith("SIP/2.0"):
            continue
        kept = [line for line in headers if line.split(":", 1)[0].lower() in COPIED]
        to = next(line for line in headers if line.lower().startswith("to:"))
        refuses = busy and method == "INVITE"
        body = sdp if method == "INVITE" and not refuses else ""
        kept += [to if ";tag=" in to else f"{to};tag=gateway", f"Contact: <sip:gateway@{address}:{port}>"]
        kept += ["Content-Type: application/sdp"] if body else []
        status = "486 Busy Here" if refuses else "200 OK"
        if refuses:
            print(json.dumps(data.decode("utf-8", "replace")), flush=True)
        reply = "\r\n".join([f"SIP/2.0 {status}", *kept, f"Content-Length: {len(body)}"]) + f"\r\n\r\n{body}"
        sock.sendto(reply.encode(), source)


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]), sys.argv[3:] == ["busy"])
