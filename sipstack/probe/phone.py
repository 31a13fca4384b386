"""A phone: a real SIP user agent with media, in a process (and, if wanted, a network namespace) of its own.

    with Phone("slot_6001", secret, "vss.internal", "198.51.100.11:5060", tone=620) as anna:
        anna.register(check=True)
        call = anna.call("6002")
        call.wait_state("confirmed")
        call.wait_hears(880)

It plays its tone in every call, so that hearing the other phone's tone tells real audio from silence
and echo.
"""

import re
import tempfile
from collections import deque
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from sipstack.probe.call import Call
from sipstack.probe.channel import Channel
from sipstack.probe.errors import ProbeError

_serial = count(1)  # two phones of one user must not share a log


class Phone:
    """One account on one worker process; a context manager, running between enter and exit.

    It holds up to 4 calls at once (pjsua's maxCalls); one more is answered 486 without being told of.

    Attributes:
        user: the account's user.
        uri: where this phone can be called directly, e.g. "sip:127.0.0.1:40123" (";transport=tcp" for TCP).
        log: file with this phone's SIP messages and errors.
        expires: seconds that the registrar granted with the last registration; 0 when not registered.
        lamp: whether it has been told that messages wait (RFC 3842); None: nobody has said anything.
        worker: the module of its process.
    """

    worker = "sipstack.probe.worker"

    def __init__(
        self,
        user: str,
        password: str,
        domain: str,
        proxy: str | None,
        transport: Literal["udp", "tcp"] = "udp",
        *,
        exec_prefix: Sequence[str] = (),
        log_dir: Path | None = None,
        local: str | None = None,
        tone: int | None = 440,
        keepalive: int = 0,
    ) -> None:
        """Describe a phone; it starts with `with`.

        Args:
            user: SIP user, for From, Contact and digest.
            password: for digest challenges; "" has none.
            domain: SIP domain, never resolved: requests go to `proxy`.
            proxy: "address:port" that every request goes to first; None calls URIs directly (loopback only,
                unless `local` says otherwise).
            transport: "udp" or "tcp", towards the proxy and in the Contact.
            exec_prefix: command in front of the worker's, e.g. ["ip", "netns", "exec", "office"].
            log_dir: directory for the log; None uses one that goes away with the phone.
            local: IPv4 address to bind SIP and RTP to; None takes the one that routes to the proxy.
            tone: frequency in Hz that this phone plays in its calls; None sends silence.
            keepalive: seconds between UDP keep-alives once registered; 0 sends none, so that the proxy's
                own NAT pings are what keeps a binding open.
        """
        self.user = user
        self.domain = domain
        self.uri = ""
        self.expires = 0
        self.lamp: bool | None = None
        self._transport = transport
        self._proxy = proxy
        self._settings: dict[str, Any] = {
            "user": user,
            "password": password,
            "domain": domain,
            "proxy": proxy,
            "transport": transport,
            "local": local,
            "tone": tone,
            "keepalive": keepalive,
        }
        self._exec_prefix = exec_prefix
        self._log_dir = log_dir
        self._calls: dict[int, Call] = {}
        self._incoming: deque[Call] = deque()
        self._registration: dict[str, Any] | None = None

    def __enter__(self) -> Self:
        self._temporary = tempfile.TemporaryDirectory(prefix="phone-") if self._log_dir is None else None
        folder = Path(self._temporary.name) if self._temporary else self._log_dir
        assert folder is not None
        folder.mkdir(parents=True, exist_ok=True)
        self.log = (folder / f"{self.user}-{next(_serial)}.log").absolute()
        self._channel = Channel(self.user, self._exec_prefix, self.log, self._on_event, self.worker)
        try:
            ready = self._channel.request("start", **self._settings)
        except BaseException:
            self.kill()
            raise
        self.uri = f"sip:{ready['address']}" + (";transport=tcp" if self._transport == "tcp" else "")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Hang up, unregister and end; what is not answered within half a second is left behind."""
        self._channel.close()
        self._forget()

    def kill(self) -> None:
        """End at once, without BYE or un-REGISTER, like a phone that loses its power."""
        self._channel.kill()
        self._forget()

    @property
    def pid(self) -> int:
        """Process id of the running phone (of `exec_prefix`'s command, when that does not replace itself)."""
        return self._channel.pid

    def register(self, timeout: float = 5.0, *, expires: int = 300, check: bool = False) -> int:
        """Register for `expires` seconds and return the final code (after digest): 200, 401, 403 …

        The phone refreshes by itself 5 s before its binding would expire, until `unregister` or the end.
        A wrong password costs up to 4 requests: the library takes a challenge with a new nonce for one
        whose nonce was stale, and tries again (3 times at most).

        Raises:
            ProbeError: no final answer within `timeout` seconds; with `check`, any code but 200.
        """
        event = self._change_registration("register", timeout, expires=expires)
        self.expires = event["expires"]
        if check and event["code"] != 200:
            raise ProbeError(f"{self._at('register')} got {event['code']} {event['reason']}")
        return int(event["code"])

    def unregister(self, timeout: float = 5.0) -> int:
        """Remove this phone's binding and return the final code.

        Raises:
            ProbeError: no final answer within `timeout` seconds, or it never registered.
        """
        event = self._change_registration("unregister", timeout)
        self.expires = 0
        return int(event["code"])

    def watch_lamp(self) -> None:
        """Subscribe to the slot's mailbox. What is told without being asked for is seen without this, too."""
        self._channel.request("watch_lamp")

    def wait_lamp(self, on: bool, timeout: float = 5.0) -> None:
        """Wait until the lamp is on, or off.

        Raises:
            ProbeError: it is not within `timeout` seconds.
        """
        if not self._channel.wait(lambda: self.lamp is on, timeout):
            raise ProbeError(
                f"{self.user}: no message came in {timeout:g} s that turns its lamp {'on' if on else 'off'}"
            )

    def call(self, target: str, timeout: float | None = None, *, headers: Mapping[str, str] | None = None) -> Call:
        """Call a number ("6002" is sip:6002@domain) or a whole URI.

        Args:
            target: number, user or URI.
            timeout: seconds to wait for the answer; None returns as soon as the INVITE is on its way.
            headers: more headers for the INVITE.

        Raises:
            ProbeError: the call cannot be made, or with a timeout is not confirmed within it.
        """
        uri = target if re.match("sips?:", target) else f"sip:{target}@{self.domain}"
        reply = self._channel.request("call", target=uri, headers=dict(headers or {}))
        call = self._calls[reply["call"]]
        call.target = uri
        if timeout is not None:
            call.wait_state("confirmed", timeout)
        return call

    def expect_call(self, timeout: float = 5.0) -> Call:
        """The next incoming call that was not taken yet; it is neither ringing nor answered.

        Raises:
            ProbeError: none within `timeout` seconds.
        """
        if not self._channel.wait(lambda: bool(self._incoming), timeout):
            raise ProbeError(f"{self.user}: no call came in within {timeout:g} s")
        return self._incoming.popleft()

    def _at(self, action: str) -> str:
        return f"{self.user}: {action} at {self._proxy}/{self._transport}"

    def _change_registration(self, do: str, timeout: float, **arguments: Any) -> dict[str, Any]:
        self._registration = None
        self._channel.request(do, **arguments)
        self._channel.wait(lambda: self._registration is not None, timeout)
        if self._registration is None:
            raise ProbeError(f"{self._at(do)} got no answer within {timeout:g} s")
        return self._registration

    def _on_event(self, event: dict[str, Any]) -> None:
        if event["event"] == "registration":
            self._registration = event
            return
        if event["event"] == "lamp":
            self.lamp = event["on"]
            return
        number = event["call"]
        if number not in self._calls:
            self._calls[number] = Call(self._channel, self.user, number)
        self._calls[number].apply(event)
        if event["event"] == "incoming":
            self._incoming.append(self._calls[number])

    def _forget(self) -> None:
        if self._temporary is not None:
            self._temporary.cleanup()
