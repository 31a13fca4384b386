"""baresip (of the distribution), driven over its ctrl_tcp module; it plays a file and writes down what it hears."""

import json
import re
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

from sipstack.lab.shell import ensure_command, run
from sipstack.probe.tone import SILENCE_DBFS, Sound
from tests.agents.agent import PATIENCE, Agent, AgentError, free_port
from tests.agents.rtpear import overhear
from tests.agents.soundfile import listen, write_tone

_MODULES = Path("/usr/lib/baresip/modules")
# Names of its codecs, by those of RTP encodings.
_CODECS = {"PCMA": "PCMA/8000/1", "PCMU": "PCMU/8000/1", "opus": "opus/48000/2"}
_CONFIG = """\
poll_method epoll
sip_listen {local}:{port}
net_interface {interface}
rtp_ports 40000-41999
call_local_timeout 120
call_max_calls 4
audio_path /nonexistent
audio_player aubridge,{number}
audio_alert aubridge,alert{number}
audio_source aufile,{folder}/tone.wav
ausrc_srate {rate}
ausrc_channels 1
video_source fakevideo,nil
video_display fakevideo,nil
module_path {modules}
module g711.so
module opus.so
module vp8.so
module fakevideo.so
module aufile.so
module aubridge.so
module sndfile.so
module_tmp account.so
module_app menu.so
module_app ctrl_tcp.so
ctrl_tcp_listen 127.0.0.1:{control}
snd_path {folder}
redial_attempts 0
ringback_disabled yes
"""

# What `audio_debug` tells: seconds of sound decoded so far, and its RTP port.
_STREAM = re.compile(r"rx: .*?time = (?P<decoded>[\d.]+) sec.*?local: [\d.]+:(?P<port>\d+)", re.DOTALL)

_CALLS = "--- Active calls ({}) ---"


class Baresip(Agent):
    kind = "baresip"
    can = frozenset({"hold", "reinvite", "dtmf", "blind", "transferred", "video", "takes video", "opus"})

    def start(self) -> None:
        ensure_command("baresip", "baresip-core", "baresip-ffmpeg")
        opus = "opus" in self.settings.codecs
        # Of what it records, in one channel: Opus is in stereo, and so there are twice as many samples.
        self._rate = 96_000 if opus else 8_000
        write_tone(self.folder / "tone.wav", self.tone, 48_000 if opus else 8_000)
        control = free_port("127.0.0.1")
        local = self.account.local
        config = _CONFIG.format(
            local=local, port=free_port(local), interface=interface_of(local), number=self.number, folder=self.folder,
            rate=48_000 if opus else 8_000, modules=_MODULES, control=control,
        )  # fmt: skip
        if not self.settings.video:
            config = "\n".join(line for line in config.splitlines() if "video" not in line and "vp8" not in line) + "\n"
        (self.folder / "config").write_text(config)
        (self.folder / "accounts").write_text(self._account() + "\n")
        (self.folder / "contacts").touch()
        self._events: list[dict[str, Any]] = []
        self._replies: dict[str, str] = {}  # what it printed, by tokens of commands
        self._count = 0
        self._log = (self.folder / "log").open("ab")
        self._process = subprocess.Popen(
            ["baresip", "-f", str(self.folder), "-s", "-v"],
            stdin=subprocess.DEVNULL, stdout=self._log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        self._control = self._connect(control)
        threading.Thread(target=self._read, daemon=True).start()
        self.await_true(self._registered, "a registration")

    def _account(self) -> str:
        account, codecs = self.account, ",".join(_CODECS[codec] for codec in self.settings.codecs)
        return (
            f"<sip:{account.user}@vss.internal;transport={account.transport}>;auth_user={account.user};"
            # pragma: allowlist nextline secret
            f'auth_pass={account.password};outbound="sip:{account.proxy}:5060;transport={account.transport}";'
            f"regint=300;audio_codecs={codecs};video_codecs={'VP8' if self.settings.video else ''};"
            f"answermode={'early' if self.settings.early else 'manual'}"
        )

    def _connect(self, port: int) -> socket.socket:
        made: list[socket.socket] = []

        def connected() -> bool:
            try:
                made.append(socket.create_connection(("127.0.0.1", port)))
            except OSError:
                assert self._process.poll() is None, f"{self} has ended; {self.state()}"
            return bool(made)

        self.await_true(connected, "its control port")
        return made[0]

    def stop(self) -> None:
        if process := getattr(self, "_process", None):
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            self._log.close()
        if control := getattr(self, "_control", None):
            control.close()

    def call(self, number: int) -> None:
        self._clear()
        self._do("dial", f"sip:{number}@vss.internal")
        self.await_true(lambda: bool(self._types("CALL_LOCAL_SDP")), "its own INVITE")

    def await_call(self) -> None:
        self.await_true(self._rings, "a call")

    def answer(self) -> None:
        self._do("accept")

    def await_up(self) -> None:
        self.await_true(lambda: self._up() or self._over(), "an answer")
        if self._over():
            raise AgentError(f"{self}: its call has ended ({self._events[-1].get('param')})")
        time.sleep(1 - time.time() % 1)  # a recording is named by its second: what follows gets another one

    def transfer(self, number: int) -> None:
        self._do("transfer", f"sip:{number}@vss.internal")

    def hang_up(self) -> None:
        self._do("hangup")

    def await_over(self, timeout: float = PATIENCE) -> None:
        self.await_true(self._over, "the end of the call", timeout)
        self._clear()

    def hold(self) -> None:
        self._do("hold")

    def resume(self) -> None:
        self._do("resume")

    def reinvite(self) -> None:
        self._do("reinvite")

    def send_digits(self, digits: str) -> None:
        for digit in digits:
            self._do("sndcode", digit)

    def digits(self) -> str:
        return "".join(str(event.get("param", "")) for event in self._types("CALL_DTMF_START"))

    def sound(self) -> Sound:
        """Of its recording; where it has given that up (baresip 1.0 does so on hold): what it gets and decodes."""
        before = _STREAM.search(self._ask("audio_debug"))
        recorded = listen(self._recording, self._rate)
        if recorded.level > SILENCE_DBFS:
            return recorded
        now = _STREAM.search(self._ask("audio_debug"))
        if before is None or now is None or now["decoded"] == before["decoded"]:
            return recorded
        return overhear(int(now["port"]), interface_of(self.account.local))

    def state(self) -> str:
        return f"last events {[event['type'] for event in self._events[-5:]]}, log in {self.folder}"

    def _recording(self) -> Path | None:
        found = list(self.folder.glob("dump-*-dec.wav"))
        return max(found, key=lambda path: path.name) if found else None  # they are named by when they began

    def _clear(self) -> None:
        """Forget the call before this one, and what was heard in it."""
        with self._news:
            self._events.clear()
        for path in self.folder.glob("dump-*.wav"):
            path.unlink(missing_ok=True)

    def _over(self) -> bool:
        return bool(self._types("CALL_CLOSED")) and _CALLS.format(0) in self._ask("listcalls")

    def _types(self, *types: str) -> list[dict[str, Any]]:
        return [event for event in self._events if event["type"] in types]

    def _up(self) -> bool:
        closed = {event["id"] for event in self._types("CALL_CLOSED")}
        return any(event["id"] not in closed for event in self._types("CALL_ESTABLISHED"))

    def _rings(self) -> bool:
        """A call that is heard before it is answered is not told of by an event."""
        return bool(self._types("CALL_INCOMING")) or _CALLS.format(1) in self._ask("listcalls")

    def _registered(self) -> bool:
        return "OK" in self._ask("reginfo")

    def _do(self, command: str, parameter: str = "") -> str:
        """Give a command; returns its token, which is in the reply, too."""
        self._count += 1
        text = json.dumps({"command": command, "params": parameter, "token": str(self._count)}).encode()
        self._control.sendall(b"%d:%s," % (len(text), text))
        return str(self._count)

    def _ask(self, command: str) -> str:
        """What it prints to a command; empty if that does not come."""
        token = self._do(command)
        with self._news:
            self._news.wait_for(lambda: token in self._replies, PATIENCE)
        return self._replies.pop(token, "")

    def _read(self) -> None:
        """Netstrings of JSON, until the connection ends."""
        read = b""
        while more := _received(self._control):
            read += more
            while b":" in read:
                size, _, rest = read.partition(b":")
                if len(rest) <= int(size):
                    break
                read = rest[int(size) + 1 :]
                message = json.loads(rest[: int(size)])
                with self._news:
                    if message.get("event"):
                        self._events.append(message)
                    else:
                        self._replies[message.get("token", "")] = message.get("data", "")
                    self._news.notify_all()


def _received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65_536)
    except OSError:
        return b""


def interface_of(address: str) -> str:
    """The name of the network interface that has this address."""
    for line in run(["ip", "-o", "-4", "addr"]).stdout.splitlines():
        if line.split()[3].split("/")[0] == address:
            return line.split()[1]
    raise AgentError(f"no interface has {address}")
