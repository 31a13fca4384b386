"""A gateway of few words, to be one of two: it answers OPTIONS, takes every call and hangs up none.

`python -m tests.lab.gateway ADDRESS PORT`; it is "gone" while it is stopped (SIGSTOP).
"""

import signal
import socket
import subprocess
import sys
from typing import Self

from sipstack.lab.namespaces import Namespace
from sipstack.paths import ROOT

PORT = 5090
COPIED = ("via", "from", "call-id", "cseq", "record-route")


class Gateway:
    """The program in a namespace; a context manager."""

    def __init__(self, where: Namespace) -> None:
        self.address = f"{where.address}:{PORT}"
        self._command = [*where.exec_prefix, sys.executable, "-m", "tests.lab.gateway", where.address, str(PORT)]

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._command, cwd=ROOT, stdout=subprocess.PIPE)
        assert self._process.stdout is not None and self._process.stdout.readline()
        return self

    def __exit__(self, *_: object) -> None:
        self.back()
        self._process.kill()
        self._process.wait()

    def gone(self) -> None:
        """It says nothing any more."""
        self._process.send_signal(signal.SIGSTOP)

    def back(self) -> None:
        self._process.send_signal(signal.SIGCONT)


def serve(address: str, port: int) -> None:
    """Answer everything but ACK with 200, an INVITE with an answer that accepts PCMA."""
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
        body = sdp if method == "INVITE" else ""
        kept += [to if ";tag=" in to else f"{to};tag=gateway", f"Contact: <sip:gateway@{address}:{port}>"]
        kept += ["Content-Type: application/sdp"] if body else []
        reply = "\r\n".join(["SIP/2.0 200 OK", *kept, f"Content-Length: {len(body)}"]) + f"\r\n\r\n{body}"
        sock.sendto(reply.encode(), source)


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
