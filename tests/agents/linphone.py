"""linphone (linphonec of the distribution), driven at its prompt; it plays a file and writes down what it hears."""

import os
import pty
import re
import subprocess
import termios
import threading
import time

from sipstack.lab.shell import ensure_command
from sipstack.probe.tone import Sound
from tests.agents.agent import PATIENCE, Agent, AgentError, free_port
from tests.agents.soundfile import listen, write_tone

_CODECS = ("opus/48000", "speex/16000", "speex/8000", "PCMU/8000", "PCMA/8000", "G729/8000")
_CONFIG = """\
[sip]
sip_port={udp}
sip_tcp_port={tcp}
guess_hostname=1
contact=sip:{user}@{local}
default_proxy=0
register_only_when_network_is_up=0
inc_timeout=120
incoming_calls_early_media={early}
sdp_200_ack={late}
100rel_support_level={prack}
session_expires_enabled={timed}
session_expires_value={timer}
media_encryption=none
[proxy_0]
reg_proxy=<sip:{proxy}:5060;transport={transport}>
reg_route=<sip:{proxy}:5060;transport={transport};lr>
reg_identity=sip:{user}@vss.internal
reg_expires=300
reg_sendregister=1
publish=0
[auth_info_0]
username={user}
userid={user}
passwd={password}
realm=vss.internal
domain=vss.internal
[net]
mtu=1300
nat_policy_ref=none
[rtp]
audio_rtp_port=42000-43999
video_rtp_port=44000-45999
[video]
enabled={video}
automatically_initiate={video}
automatically_accept={video}
capture=0
display=0
[sound]
echocancellation=0
"""
_ENDED = r"Call {0} with .* (ended|error)"


class Linphone(Agent):
    kind = "linphone"
    can = frozenset({"hold", "dtmf", "blind", "attended", "transferred", "replaces", "early", "late", "prack", "timer"})
    can |= {"video", "takes video", "opus"}

    def start(self) -> None:
        ensure_command("linphonec", "linphone-cli")
        self._rate = 48_000 if "opus" in self.settings.codecs else 8_000
        write_tone(self.folder / "tone.wav", self.tone, self._rate)
        (self.folder / ".local/share/linphone").mkdir(parents=True, exist_ok=True)
        (self.folder / "rc").write_text(self._config())
        self._output = ""
        self._asked = 0.0  # when it was asked for its status
        self._since = 0  # where in the output the newest call began
        terminal, self._prompt = self._open_terminal()
        self._process = subprocess.Popen(
            ["linphonec", "-S", "-d", "6", "-l", str(self.folder / "log"), "-c", str(self.folder / "rc"),
             *(["--real-early-media"] if self.settings.early else []), *(["-V"] if self.settings.video else [])],
            stdin=terminal, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
            env={**os.environ, "HOME": str(self.folder), "TERM": "dumb"},
        )  # fmt: skip
        os.close(terminal)
        threading.Thread(target=self._read, daemon=True).start()
        for line in ("soundcard use files", f"play {self.folder}/tone.wav", f"record {self.folder}/heard.wav"):
            self._say(line)
        self.await_true(lambda: "registered, identity=" in self._ask_status(), "a registration")

    def _config(self) -> str:
        account, settings = self.account, self.settings
        port = free_port(account.local)
        udp, tcp = (port, -1) if account.transport == "udp" else (-1, port)
        text = _CONFIG.format(
            udp=udp, tcp=tcp, user=account.user, password=account.password, local=account.local, proxy=account.proxy,
            transport=account.transport, early=int(settings.early), late=int(settings.late),
            prack=2 if settings.prack else 0, timed=int(settings.timer > 0), timer=settings.timer or 1800,
            video=int(settings.video),
        )  # fmt: skip
        for number, codec in enumerate(_CODECS):
            mime, rate = codec.split("/")
            channels, enabled = 2 if mime == "opus" else 1, int(mime in settings.codecs)
            text += f"[audio_codec_{number}]\nmime={mime}\nrate={rate}\nchannels={channels}\nenabled={enabled}\n"
        return text

    @staticmethod
    def _open_terminal() -> tuple[int, int]:
        """It only works at a terminal; one that does not echo. Its end of it, and ours."""
        ours, its = pty.openpty()
        attributes = termios.tcgetattr(its)
        attributes[3] &= ~termios.ECHO
        termios.tcsetattr(its, termios.TCSANOW, attributes)
        return its, ours

    def stop(self) -> None:
        if process := getattr(self, "_process", None):
            if process.poll() is None:
                self._say("quit")
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            os.close(self._prompt)

    def call(self, number: int) -> None:
        self._begin()
        self._say(f"call sip:{number}@vss.internal" + (" --early-media" if self.settings.early else ""))
        self.await_true(lambda: bool(self._ids()), "its own INVITE")

    def await_call(self) -> None:
        self.await_true(lambda: self._came("Receiving new incoming call from"), "a call")

    def answer(self) -> None:
        self._say(f"answer {self._newest()}")

    def await_up(self) -> None:
        self.await_true(lambda: self._came(rf"Call {self._newest()} with .* connected") or self._over(), "an answer")
        if self._over():
            raise AgentError(f"{self}: its call has ended; {self.state()}")

    def hang_up(self) -> None:
        self._say(f"terminate {self._newest()}")

    def await_over(self, timeout: float = PATIENCE) -> None:
        self.await_true(self._over, "the end of the call", timeout)
        self._begin()

    def hold(self) -> None:
        self._say("pause")

    def resume(self) -> None:
        self._say(f"resume {self._newest()}")

    def send_digits(self, digits: str) -> None:
        for digit in digits:
            self._say(digit)

    def digits(self) -> str:
        return "".join(re.findall(r"Receiving tone (.) from", self._output[self._since :]))

    def transfer(self, number: int) -> None:
        self._say(f"transfer {self._newest()} sip:{number}@vss.internal")

    def consult(self, number: int) -> None:
        self.hold()
        known = len(self._ids())
        self._say(f"call sip:{number}@vss.internal")
        self.await_true(lambda: len(self._ids()) > known, "its own INVITE")

    def connect(self) -> None:
        first, second = self._ids()
        self._say(f"transfer {first} --to-call {second}")

    def sound(self) -> Sound:
        heard = self.folder / "heard.wav"
        return listen(lambda: heard if heard.exists() else None, self._rate)

    def state(self) -> str:
        return f"last lines {self._output.splitlines()[-4:]}, log in {self.folder}"

    def _begin(self) -> None:
        """Forget the calls before this one."""
        with self._news:
            self._since = len(self._output)

    def _ids(self) -> list[int]:
        """Of all calls since the last end, by the order in which they began."""
        return [int(number) for number in re.findall(r"assigned id (\d+)", self._output[self._since :])]

    def _newest(self) -> int:
        """Of its calls that go on, else of all."""
        ids = self._ids()
        return max([number for number in ids if not self._came(_ENDED.format(number))] or ids)

    def _came(self, pattern: str) -> bool:
        return re.search(pattern, self._output[self._since :]) is not None

    def _over(self) -> bool:
        ids = self._ids()
        return bool(ids) and all(self._came(_ENDED.format(number)) for number in ids)

    def _ask_status(self) -> str:
        """What it has said. Asked twice a second at most: while it has something to read it looks at nothing else."""
        if time.monotonic() - self._asked > 0.5:
            self._asked = time.monotonic()
            self._say("status register")
        return self._output

    def _say(self, line: str) -> None:
        os.write(self._prompt, line.encode() + b"\n")

    def _read(self) -> None:
        assert self._process.stdout is not None
        while more := os.read(self._process.stdout.fileno(), 65_536):
            with self._news:
                self._output += more.decode(errors="replace")
                self._news.notify_all()
