"""sipp (sip-tester of the distribution) with scenarios of our own.

sipp knows one call, and no registration. So a DeskPhone registers, and is the line over which sipp's messages go as
they are, by UDP or TCP; sipp itself speaks UDP on loopback. What it says is its own, but for the answers to keepalives.
"""

import contextlib
import re
import socket
import subprocess
import threading
from dataclasses import replace

from sipstack.agent.message import Message, parse
from sipstack.lab.shell import ensure_command
from sipstack.probe.tone import Sound
from tests.agents.agent import PATIENCE, Agent, AgentError, free_port
from tests.agents.g711 import PCMA, PCMU
from tests.agents.rtpvoice import Voice
from tests.agents.sippscenario import Line, called, caller
from tests.lab.deskphone import DeskPhone

_LOOPBACK = "127.0.0.1"
_TYPES = {"PCMA": PCMA, "PCMU": PCMU}
_LONGEST = "300s"


class Sipp(Agent):
    kind = "sipp"
    can = frozenset({"hold", "reinvite", "dtmf", "blind", "early", "late", "prack", "timer", "video", "returns opus"})

    def start(self) -> None:
        ensure_command("sipp", "sip-tester")
        account = self.account
        self._phone = DeskPhone(account.proxy, account.number, account.password, account.transport)
        if (answer := self._phone.register(3600)).code != 200:
            raise AgentError(f"{self}: {answer.first}")
        self._voice = Voice(self._phone.rtp, self.tone)
        self._inner = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._inner.bind((_LOOPBACK, 0))
        self._over = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._forget()
        self._count = 0
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._inwards, self._outwards)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        if not hasattr(self, "_threads"):
            return
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._over.set()
        for thread in self._threads:
            thread.join()
        self._voice.close()
        with self._phone as phone:
            phone.register(0)
        self._inner.close()

    def call(self, number: int) -> None:
        self._forget()
        self._run(caller(self._line(), number))

    def await_call(self) -> None:
        self.await_true(lambda: self._invite is not None, "a call")

    def await_ringing(self) -> None:
        """Its scenario takes the answer to its PRACK first, then that to its INVITE."""
        if self.settings.prack:
            self.await_true(lambda: self._pracked, "the answer to its PRACK")

    def answer(self) -> None:
        self.await_true(lambda: self._rang, "its own ringing, acknowledged if that was reliable")
        self._wish("DOANSWER", self._invite)

    def await_up(self) -> None:
        self.await_true(lambda: self._up or self._ended(), "an answer")
        if self._ended():
            raise AgentError(f"{self}: its call has ended; {self.state()}")

    def hang_up(self) -> None:
        self._wish("DOBYE")

    def await_over(self, timeout: float = PATIENCE) -> None:
        self.await_true(self._ended, "the end of the call", timeout)
        process, self._process = self._process, None
        if process is None or process.returncode != 0:
            raise AgentError(f"{self}: sipp did not get what its scenario expects; {self.state()}")
        self._forget()

    def hold(self) -> None:
        self._voice.hold(True)
        self._renegotiate("DOHOLD")

    def resume(self) -> None:
        self._renegotiate("DORESUME")
        self._voice.hold(False)

    def reinvite(self) -> None:
        self._renegotiate("DORESUME")

    def refresh(self) -> None:
        self._renegotiate("DORESUME")

    def _renegotiate(self, wish: str) -> None:
        before = self._answers
        self._wish(wish)
        self.await_true(lambda: self._answers > before, "an answer to its re-INVITE")

    def send_digits(self, digits: str) -> None:
        self._voice.send_digits(digits)

    def digits(self) -> str:
        return self._voice.digits()

    def transfer(self, number: int) -> None:
        self._wish("DOREFER", extra=f"Refer-To: <sip:{number}@vss.internal>\r\n")

    def sound(self) -> Sound:
        return self._voice.sound()

    def state(self) -> str:
        errors = sorted(self.folder.glob("errors-*"))
        return f"errors {errors[-1].read_text()[-300:]!r}, log in {self.folder}" if errors else f"log in {self.folder}"

    # --- sipp and its line -------------------------------------------------------------------------------------------

    def _forget(self) -> None:
        self._invite: Message | None = None
        self._call_id, self._answers = "", 0
        self._rang = self._pracked = self._up = False
        if hasattr(self, "_voice"):
            self._voice.begin()

    def _line(self, invite: Message | None = None) -> Line:
        body = invite.body.decode(errors="replace") if invite else ""
        events = re.search(r"^a=rtpmap:(\d+) telephone-event/8000", body, re.MULTILINE)
        opus = re.search(r"^a=rtpmap:(\d+) opus/48000", body, re.MULTILINE)
        codecs = sorted(self.settings.codecs, key=lambda name: _place(body, name))
        self._order = [_TYPES[name] for name in codecs if name in _TYPES]
        return Line(
            self.account.user, self.account.password, self._phone.address, self._phone.port,
            self.account.transport.upper(), self._phone.rtp_port, replace(self.settings, codecs=tuple(codecs)),
            events=int(events[1]) if events else 101, opus=int(opus[1]) if opus else 96,
            answers_video="m=video" in body,
        )  # fmt: skip

    def _run(self, scenario: str) -> None:
        """Start sipp for one call, and wait until it listens."""
        self._count += 1
        self._port = free_port(_LOOPBACK)
        path = self.folder / f"scenario-{self._count}.xml"
        path.write_text(scenario)
        self._process = subprocess.Popen(
            ["sipp", f"{_LOOPBACK}:{self._inner.getsockname()[1]}", "-sf", str(path), "-m", "1", "-i", _LOOPBACK,
             "-p", str(self._port), "-t", "u1", "-nostdin", "-timeout", _LONGEST, "-timeout_error", "-skip_rlimit",
             "-trace_msg", "-message_file", str(self.folder / f"messages-{self._count}"),
             "-trace_err", "-error_file", str(self.folder / f"errors-{self._count}"),
             "-cid_str", f"%u-{self.number}-%p@sipp"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=(self.folder / "stderr").open("ab"),
        )  # fmt: skip
        self.await_true(self._listens, "sipp's socket")

    def _listens(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AgentError(f"{self}: sipp does not start: {(self.folder / 'stderr').read_text()[-500:]}")
        with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((_LOOPBACK, self._port))
            return False
        return True

    def _wish(self, method: str, like: Message | None = None, extra: str = "") -> None:
        self._count += 1
        if like is not None:
            first, _, rest = like.encode().partition(b"\r\n")
            text = first.replace(b"INVITE", method.encode(), 1) + b"\r\n" + rest
        else:
            text = (
                f"{method} sip:sipp SIP/2.0\r\nVia: SIP/2.0/UDP {_LOOPBACK};branch=z9hG4bKwish{self._count}\r\n"
                f"From: <sip:test>;tag=1\r\nTo: <sip:sipp>;tag=2\r\nCall-ID: {self._call_id}\r\n"
                f"CSeq: {self._count} {method}\r\n{extra}Content-Length: 0\r\n\r\n"
            ).encode()
        self._inner.sendto(text, (_LOOPBACK, self._port))

    def _ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def _inwards(self) -> None:
        """From the proxy to sipp."""
        while not self._over.is_set():
            message = self._phone.receive(lambda _: True, 0.2)
            if message is None:
                continue
            new = message.method == "INVITE" and not message.code and "tag=" not in message.get("To")
            if new and self._invite is None and self._ended():
                self._forget()
                self._run(called(self._line(message)))
                self._call_id = message.get("Call-ID")
            if message.body:
                # What it answers, it answers in its own order; what is answered to it is in that of the answer.
                answers = not message.code or (self.settings.late and message.code)
                self._voice.follow(message, self._order if answers else ())
            octets = self._phone.heard[-1]
            del self._phone.heard[:]
            self._inner.sendto(octets, (_LOOPBACK, self._port))
            with self._news:
                if new and self._invite is None:
                    self._invite = message
                self._up = self._up or (message.method == "ACK" and not message.code)
                self._up = self._up or (message.method == "INVITE" and message.code == 200)
                self._pracked = self._pracked or (message.method == "PRACK" and message.code == 200)
                self._answers += message.method == "INVITE" and message.code == 200
                self._news.notify_all()

    def _outwards(self) -> None:
        """From sipp to the proxy."""
        self._inner.settimeout(0.2)
        while not self._over.is_set():
            with contextlib.suppress(TimeoutError, ConnectionError):
                octets = self._inner.recv(65_536)
                message = parse(octets)
                self._call_id = message.get("Call-ID")
                ringing = message.method == "PRACK" if self.settings.prack else message.code in (180, 183)
                self._rang = self._rang or (ringing and message.code > 100)
                self._phone.send_raw(octets)


def _place(offer: str, codec: str) -> int:
    """Where a codec stands in an offer: an answer keeps that order, and each side then sends the same one."""
    line = re.search(r"^m=audio \d+ \S+ ([\d ]+)", offer, re.MULTILINE)
    types = line[1].split() if line else []
    found = re.search(rf"^a=rtpmap:(\d+) {codec}/", offer, re.MULTILINE)
    kind = found[1] if found else {"PCMU": "0", "PCMA": "8"}.get(codec, "")
    return types.index(kind) if kind in types else len(types)
