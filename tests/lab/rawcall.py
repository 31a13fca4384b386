"""A call between two sockets, of which everything is known and anything can be said."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol

from sipstack.probe.message import parse_head
from tests.lab.system import System
from tests.lab.wire import DOMAIN, SDP, Wire, digest

PASSED = 3.0  # seconds within which a request that the proxy lets through arrives, on a machine that has much to do


class Accounts(Protocol):
    """Who knows the passwords of slots: a system, or a fleet."""

    def password(self, number: int) -> str: ...


@dataclass(frozen=True)
class Side:
    """One side of a call as the other one knows it: its name in From and To, its tag, its contact."""

    name: str
    tag: str
    contact: str


@dataclass(frozen=True)
class RawCall:
    """What whoever has seen one of its messages knows of a call. `route`: the way of the caller, proxy by proxy."""

    call_id: str
    caller: Side
    callee: Side
    route: str

    @property
    def turned(self) -> RawCall:
        """The same call, with the called side speaking."""
        return replace(self, caller=self.callee, callee=self.caller, route=backwards(self.route))

    def request(
        self, wire: Wire, method: str, *, cseq: int = 50, uri: str = "", routes: Sequence[str] | None = None,
        name: str = "", headers: Sequence[str] = (), body: str = "",
    ) -> bytes:  # fmt: skip
        """A request inside the call by `caller`, as sent from that socket. `name`: another user in From."""
        lines = [
            f"{method} {uri or self.callee.contact} SIP/2.0",
            f"Via: SIP/2.0/UDP {wire.contact};branch=z9hG4bK{secrets.token_hex(8)};rport",
            "Max-Forwards: 70",
            *(f"Route: {route}" for route in ([self.route] if routes is None else routes)),
            f"From: <sip:{name or self.caller.name}@{DOMAIN}>;tag={self.caller.tag}",
            f"To: <sip:{self.callee.name}@{DOMAIN}>;tag={self.callee.tag}",
            f"Call-ID: {self.call_id}",
            f"CSeq: {cseq} {method}",
            f"Contact: <sip:{self.caller.name}@{wire.contact}>",
            *headers,
            *(["Content-Type: application/sdp"] if body else []),
            f"Content-Length: {len(body)}",
        ]
        return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()

    def offer(self, wire: Wire, **options: object) -> bytes:
        """A re-INVITE."""
        return self.request(wire, "INVITE", body=SDP.format(wire.address), **options)  # type: ignore[arg-type]


def with_credentials(
    system: Accounts, wire: Wire, number: int, make: Callable[[int, tuple[str, ...]], bytes], method: str, uri: str
) -> bytes:
    """The request of `make(cseq, headers)` that answers the challenge to the first one."""
    code, headers = wire.ask(make(1, ()))
    assert code == 407, code
    answer = digest(headers["proxy-authenticate"], f"slot_{number}", system.password(number), method, uri)
    return make(2, (f"Proxy-Authorization: {answer}",))


def prepare(system: Accounts, caller: Wire, number: int, target: str, headers: tuple[str, ...] = ()) -> bytes:
    """An INVITE of slot `number` to a number, with credentials."""
    uri, call_id = f"sip:{target}@{DOMAIN}", secrets.token_hex(8)

    def make(cseq: int, more: tuple[str, ...]) -> bytes:
        extra = (*headers, *more)
        return caller.invite(uri, user=f"slot_{number}", to=target, cseq=cseq, call_id=call_id, headers=extra)

    return with_credentials(system, caller, number, make, "INVITE", uri)


def begin(system: Accounts, caller: Wire, number: int, target: str, headers: tuple[str, ...] = ()) -> bytes:
    """Send it, and return it."""
    invite = prepare(system, caller, number, target, headers)
    caller.send(invite)
    return invite


def complete(system: Accounts, caller: Wire, callee: Wire, target: str, number: int = 6001) -> RawCall:
    """Call, answer and acknowledge."""
    begin(system, caller, number, target)
    first, invite = callee.next_request()
    assert first.startswith("INVITE "), first
    callee.answer(invite, b"200 OK", tag=secrets.token_hex(4).encode(), body=SDP.format(callee.address))
    call = acknowledged(caller, target, number, uri_of(invite["contact"]))
    assert callee.next_request()[0].startswith("ACK ")
    return call


def acknowledged(caller: Wire, target: str, number: int = 6001, contact: str = "") -> RawCall:
    """The call whose answer comes in, acknowledged; `contact`: the caller's, as the called side has it."""
    reply = caller.reply()
    assert reply["code"] == "200", reply
    call = answered(reply, target, number, contact)
    caller.send(call.request(caller, "ACK", cseq=2))
    return call


def answered(reply: dict[str, str], target: str, number: int = 6001, contact: str = "") -> RawCall:
    """The call that this 200 answers."""
    return RawCall(
        reply["call-id"],
        Side(f"slot_{number}", tag_of(reply["from"]), contact),
        Side(target, tag_of(reply["to"]), uri_of(reply["contact"])),
        backwards(reply["record-route"]),
    )


@contextmanager
def raw_call(system: System, target: str = "6003") -> Iterator[tuple[Wire, Wire, RawCall]]:
    """A call of slot 6001 to slot 6003, both of them sockets; it is hung up at the end, if it still goes on."""
    with Wire(system.address) as caller, Wire(system.address) as callee:
        password = system.password(int(target))
        assert callee.register(f"slot_{target}", password) == 200
        call = complete(system, caller, callee, target)
        try:
            yield caller, callee, call
        finally:
            caller.send(call.request(caller, "BYE", cseq=2000))
            assert callee.register(f"slot_{target}", password, headers=("Expires: 0",)) == 200


def goes_on(caller: Wire, callee: Wire, call: RawCall) -> None:
    """Both sides reach each other inside the call, and nothing has come in before."""
    for wire, other, mine in ((caller, callee, call), (callee, caller, call.turned)):
        request = mine.request(wire, "INFO", cseq=100 + secrets.randbelow(900))
        wire.send(request)
        first, headers = other.next_request(PASSED)
        assert first.startswith("INFO "), f"{first} came in"
        wanted = parse_head(request.partition(b"\r\n\r\n")[0].decode() + "\r\n\r\n")[1]["cseq"]
        assert headers["cseq"] == wanted, "somebody else's INFO came in"
        other.answer(headers, b"200 OK")
        assert wire.reply()["cseq"] == wanted
    assert not caller.seen
    assert not callee.seen


def backwards(route: str) -> str:
    """A route set from its other end (RFC 3261 section 12.1.2)."""
    return ", ".join(reversed(route.split(", ")))


def call_id_of(request: bytes) -> str:
    return parse_head(request.partition(b"\r\n\r\n")[0].decode() + "\r\n\r\n")[1]["call-id"]


def tag_of(header: str) -> str:
    return header.rpartition("tag=")[2].split(";")[0]


def uri_of(header: str) -> str:
    return header.partition("<")[2].partition(">")[0]
