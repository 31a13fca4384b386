"""A scripted SIP proxy on loopback: registrar with digest, relay of media, wrong in the ways that a test asks for."""

import asyncio
import re
import socket
from collections import Counter
from collections.abc import Callable
from typing import Self

from sipstack.agent.digest import credentials
from sipstack.agent.message import Address, Message, parameter, parse, place_of, token, uri_in, user_of

DOMAIN = "test.internal"
# pragma: allowlist nextline secret
PASSWORD = "secret"


class FakeProxy(asyncio.DatagramProtocol):
    """An async context manager. Slot `slot_<n>` has number <n>, and every slot the same password.

    Attributes:
        address: its own.
        route: number called -> number whose phone gets the call.
        refuse: status line for everything, such as "503 Service Unavailable"; empty: it works.
        dead: answers nothing.
        bypass: whether the SDP of a message is passed on as it is, so that media goes past the relay.
        seen: requests by method.
        changed: set at each request; to be awaited and cleared by the test.
    """

    def __init__(
        self,
        route: Callable[[str], str] = lambda number: number,
        bypass: Callable[[Message], bool] = lambda message: False,
    ) -> None:
        self.route, self.refuse, self.dead, self.bypass = route, "", False, bypass
        self._relays: dict[Address, Relay] = {}
        self.seen: Counter[str] = Counter()
        self.changed = asyncio.Event()
        self.bindings: dict[str, str] = {}
        self.address: Address

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        self.address = self._transport.get_extra_info("sockname")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._transport.close()
        for relay in self._relays.values():
            relay.close()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until what was seen makes this true."""
        while not condition():
            self.changed.clear()
            await self.changed.wait()

    def datagram_received(self, data: bytes, source: Address) -> None:
        message = parse(data)
        if message.code:
            vias = message.all("Via")[1:]  # the first is ours
            message.set("Via", *vias)
            self._relay(message)
            self._send(message, (parameter(vias[0], "received"), int(parameter(vias[0], "rport"))))
            return
        self.seen[message.method] += 1
        self.changed.set()
        vias = message.all("Via")
        message.set("Via", vias[0].replace(";rport", f";received={source[0]};rport={source[1]}"), *vias[1:])
        if not self.dead:
            self._serve(message)

    def _serve(self, request: Message) -> None:
        method = request.method
        if method == "ACK" and not request.get("Route"):
            return  # of a refusal of ours
        if self.refuse:
            self._answer(request, self.refuse)
        elif request.get("Route"):
            request.set("Route", *request.all("Route")[1:])
            self._forward(request, request.uri)
        elif method == "OPTIONS":
            self._answer(request, "200 OK")
        elif not self._is_known(request):
            asked = ("401 Unauthorized", "WWW") if method == "REGISTER" else ("407 Auth Required", "Proxy")
            self._answer(request, asked[0], (f"{asked[1]}-Authenticate", f'Digest realm="{DOMAIN}", nonce="{token()}"'))
        elif method == "REGISTER":
            self._register(request)
        else:
            self._invite(request)

    def _is_known(self, request: Message) -> bool:
        given = request.get("Authorization") or request.get("Proxy-Authorization")
        user = user_of(uri_in(request.get("From")))
        return bool(given) and given == credentials(given, user, PASSWORD, request.method, request.uri)

    def _register(self, request: Message) -> None:
        number = user_of(uri_in(request.get("To"))).removeprefix("slot_")
        if request.get("Expires") == "0":
            self.bindings.pop(number, None)
            self._answer(request, "200 OK")
            return
        self.bindings[number] = uri_in(request.get("Contact"))
        self._answer(request, "200 OK", ("Contact", f"<{self.bindings[number]}>;expires=60"))

    def _invite(self, request: Message) -> None:
        number = self.route(user_of(request.uri))
        if number in self.bindings:
            request.set("Record-Route", "<sip:{}:{};lr>".format(*self.address))
            self._forward(request, self.bindings[number])
        else:
            self._answer(request, "480 Temporarily Unavailable" if number.isdigit() else "404 Not Found")

    def _forward(self, request: Message, target: str) -> None:
        request.first = f"{request.method} {target} SIP/2.0"
        # The branch of a proxy without state follows from the one below (RFC 3261 section 16.11).
        vias = request.all("Via")
        own = "SIP/2.0/UDP {}:{}".format(*self.address)
        request.set("Via", f"{own};branch={parameter(vias[0], 'branch')}x;rport", *vias)
        self._relay(request)
        self._send(request, place_of(target))

    def _relay(self, message: Message) -> None:
        """Name a port of ours instead of the sender's own in the SDP, if there is one."""
        listens = re.search(rb"^c=IN IP4 ([\d.]+)\r\n(?:.*\r\n)*?m=audio (\d+)", message.body, re.MULTILINE)
        if listens is None or self.bypass(message):
            return
        target = (listens[1].decode(), int(listens[2]))
        relay = self._relays.get(target) or self._relays.setdefault(target, Relay(target))
        message.body = re.sub(rb"(?<=^m=audio )\d+", b"%d" % relay.port, message.body, flags=re.MULTILINE)

    def _answer(self, request: Message, status: str, *headers: tuple[str, str]) -> None:
        copied = [entry for entry in request.headers if entry[0] in ("Via", "From", "Call-ID", "CSeq")]
        reply = Message(f"SIP/2.0 {status}", [*copied, ("To", f"{request.get('To')};tag={token()}"), *headers])
        via = request.all("Via")[0]
        self._send(reply, (parameter(via, "received"), int(parameter(via, "rport"))))

    def _send(self, message: Message, to: Address) -> None:
        self._transport.sendto(message.encode(), to)


class Relay:
    """A port of loopback; what comes there goes on to `target`."""

    def __init__(self, target: Address) -> None:
        self._socket, self._target = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), target
        self._socket.bind(("127.0.0.1", 0))
        self._socket.setblocking(False)
        self.port: int = self._socket.getsockname()[1]
        asyncio.get_running_loop().add_reader(self._socket, self._pass_on)

    def _pass_on(self) -> None:
        self._socket.sendto(self._socket.recv(2048), self._target)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()
