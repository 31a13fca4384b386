"""Very many phones behind two sockets, by signalling alone: they register, and hold calls with each other."""

import asyncio
import itertools
import re
import secrets
import socket
import threading
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from sipstack.probe.message import parse_head
from tests.lab.wire import DOMAIN, SDP, digest

# How many transactions are open at once: more only queue in the proxy.
WINDOW = 24
# As root, more than the machine's limit for all (socket(7)).
SO_RCVBUFFORCE = 33
REPEAT_SECONDS, GIVE_UP_SECONDS = 1.0, 12.0
Headers = dict[str, str]


@dataclass
class Talk:
    """A call as the caller has it. answer: the headers of its 200; none: it is not up."""

    caller: str
    called: str
    call_id: str = field(default_factory=lambda: secrets.token_hex(8))
    tag: str = field(default_factory=lambda: secrets.token_hex(4))
    answer: Headers = field(default_factory=dict)


class Crowd:
    """Phones of `passwords` (slot number -> password) at a proxy; a context manager.

    Attributes:
        ended: Call-IDs of calls of which a BYE has come in.
    """

    def __init__(self, proxy: str, passwords: dict[int, str]) -> None:
        self._proxy, self._passwords = proxy, passwords
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.ended: set[str] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        opened = (_Socket.open(self._proxy, self.ended) for _ in range(2))
        self._callers, self._called = (asyncio.run_coroutine_threadsafe(one, self._loop).result() for one in opened)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def register(self, numbers: Iterable[int]) -> list[int]:
        """Register them, all at the socket that is called; the codes other than 200."""
        return self._codes(_each(numbers, self._register))

    def call(self, pairs: Sequence[tuple[int, int]]) -> tuple[list[Talk], list[int]]:
        """Each first one calls the second; the calls that are up, and the codes of those that are not."""
        talks = [Talk(str(caller), str(called)) for caller, called in pairs]
        failed = self._codes(_each(talks, self._call))
        return [talk for talk in talks if talk.answer], failed

    def hang_up(self, talks: Iterable[Talk]) -> list[int]:
        """End them, the caller's side; the codes other than 200."""
        return self._codes(_each(talks, self._hang_up))

    def _codes(self, work: Coroutine[Any, Any, list[int]]) -> list[int]:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _register(self, number: int) -> int:
        user, uri, call_id = f"slot_{number}", f"sip:{DOMAIN}", secrets.token_hex(8)

        def lines(cseq: int) -> list[str]:
            return [
                *(f"From: <sip:{user}@{DOMAIN}>;tag={call_id[:4]}", f"To: <sip:{user}@{DOMAIN}>"),
                *(f"Call-ID: {call_id}", f"CSeq: {cseq} REGISTER", "Expires: 3600"),
                f"Contact: <sip:{user}@{self._called.place}>",
            ]

        return (await self._with_credentials(self._called, number, "REGISTER", uri, lines))[0]

    async def _call(self, talk: Talk) -> int:
        uri = f"sip:{talk.called}@{DOMAIN}"

        def lines(cseq: int) -> list[str]:
            return [
                *(f"From: <sip:slot_{talk.caller}@{DOMAIN}>;tag={talk.tag}", f"To: <{uri}>"),
                *(f"Call-ID: {talk.call_id}", f"CSeq: {cseq} INVITE"),
                *(f"Contact: <sip:slot_{talk.caller}@{self._callers.place}>", "Content-Type: application/sdp"),
            ]

        body = SDP.format(self._callers.address)
        code, answer = await self._with_credentials(self._callers, int(talk.caller), "INVITE", uri, lines, body)
        if code == 200:
            talk.answer = answer
            self._callers.request("ACK", _uri(answer["contact"]), self._inside(talk, "2 ACK"))
        return code

    async def _hang_up(self, talk: Talk) -> int:
        code, _ = await self._callers.ask("BYE", _uri(talk.answer["contact"]), self._inside(talk, "3 BYE"))
        return code

    def _inside(self, talk: Talk, cseq: str) -> list[str]:
        routes = reversed(talk.answer["record-route"].split(", "))
        return [
            *(f"Route: {route}" for route in routes),
            f"From: <sip:slot_{talk.caller}@{DOMAIN}>;tag={talk.tag}",
            *(f"To: {talk.answer['to']}", f"Call-ID: {talk.call_id}", f"CSeq: {cseq}"),
        ]

    async def _with_credentials(
        self, way: "_Socket", number: int, method: str, uri: str, lines: Callable[[int], list[str]], body: str = ""
    ) -> tuple[int, Headers]:
        code, said = await way.ask(method, uri, lines(1), body)
        if code not in (401, 407):
            return code, said
        name, challenge = (
            ("Authorization", said["www-authenticate"])
            if code == 401
            else ("Proxy-Authorization", said["proxy-authenticate"])
        )
        value = digest(challenge, f"slot_{number}", self._passwords[number], method, uri)
        return await way.ask(method, uri, [*lines(2), f"{name}: {value}"], body)


async def _each(items: Iterable[Any], work: Callable[[Any], Any]) -> list[int]:
    """Do it for each, WINDOW at a time; the codes other than 200."""
    left, codes = iter(items), list[int]()

    async def worker() -> None:
        for item in left:
            codes.append(await work(item))

    await asyncio.gather(*(worker() for _ in range(WINDOW)))
    return [code for code in codes if code != 200]


class _Socket(asyncio.DatagramProtocol):
    """One of the sockets: sends requests and repeats them, takes calls and ends them when the other side does."""

    def __init__(self, ended: set[str]) -> None:
        self._ended, self._branches = ended, itertools.count()
        self._waiting: dict[str, asyncio.Future[tuple[int, Headers]]] = {}

    @classmethod
    async def open(cls, proxy: str, ended: set[str]) -> "_Socket":
        loop = asyncio.get_running_loop()
        return (await loop.create_datagram_endpoint(lambda: cls(ended), remote_addr=(proxy, 5060)))[1]

    def connection_made(self, transport: Any) -> None:
        self._transport: asyncio.DatagramTransport = transport
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 * 2**20)
        self.address, port = transport.get_extra_info("sockname")
        self.place = f"{self.address}:{port}"

    def request(self, method: str, uri: str, lines: list[str], body: str = "") -> str:
        """Send it once; its branch."""
        branch = f"z9hG4bK{id(self):x}.{next(self._branches)}"
        via = f"Via: SIP/2.0/UDP {self.place};branch={branch};rport"
        head = [f"{method} {uri} SIP/2.0", via, "Max-Forwards: 70", *lines, f"Content-Length: {len(body)}"]
        self._last = ("\r\n".join(head) + "\r\n\r\n" + body).encode()
        self._transport.sendto(self._last)
        return branch

    async def ask(self, method: str, uri: str, lines: list[str], body: str = "") -> tuple[int, Headers]:
        """Send it until its final answer comes: code and headers; 0 if none does."""
        answer: asyncio.Future[tuple[int, Headers]] = asyncio.get_running_loop().create_future()
        branch = self.request(method, uri, lines, body)
        self._waiting[branch], message = answer, self._last
        try:
            async with asyncio.timeout(GIVE_UP_SECONDS):
                while not (await asyncio.wait([answer], timeout=REPEAT_SECONDS))[0]:
                    self._transport.sendto(message)
        except TimeoutError:
            return 0, {}
        finally:
            del self._waiting[branch]
        return answer.result()

    def datagram_received(self, data: bytes, _: Any) -> None:
        first, headers = parse_head(data.decode("utf-8", "replace"))
        if first.startswith("SIP/2.0 "):
            self._answered(int(first[8:11]), headers)
        elif not first.startswith("ACK "):
            self._asked(first.split(" ")[0], data.partition(b"\r\n\r\n")[0].decode("utf-8", "replace"), headers)

    def _answered(self, code: int, headers: Headers) -> None:
        branch = re.search(r"branch=([^;,\s]+)", headers["via"])
        waiting = self._waiting.get(branch[1]) if branch else None
        if code < 200 or waiting is None or waiting.done():
            return
        if code >= 300 and headers["cseq"].endswith(" INVITE"):
            same = [f"{name}: {headers[name.lower()]}" for name in ("Via", "From", "To", "Call-ID")]
            cseq = f"CSeq: {headers['cseq'].split()[0]} ACK"
            head = [f"ACK sip:{DOMAIN} SIP/2.0", *same, cseq, "Max-Forwards: 70", "Content-Length: 0"]
            self._transport.sendto(("\r\n".join(head) + "\r\n\r\n").encode())
        waiting.set_result((code, headers))

    def _asked(self, method: str, head: str, headers: Headers) -> None:
        """Any call is taken at once, anything else is fine."""
        if method == "BYE":
            self._ended.add(headers["call-id"])
        names = ("via", "from", "to", "call-id", "cseq", "record-route")
        lines = [line for line in head.split("\r\n")[1:] if line.partition(":")[0].lower() in names]
        tag = f";tag={headers['call-id'][:6]}"
        lines = [line + tag if line.lower().startswith("to:") and ";tag=" not in line else line for line in lines]
        body = SDP.format(self.address) if method == "INVITE" else ""
        kind = ["Content-Type: application/sdp"] if body else []
        head = "\r\n".join(["SIP/2.0 200 OK", *lines, f"Contact: <sip:{self.place}>", *kind])
        self._transport.sendto(f"{head}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())


def _uri(header: str) -> str:
    return header.partition("<")[2].partition(">")[0]
