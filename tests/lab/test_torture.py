"""RFC 4475 and RFC 5118 in full, over UDP and TCP: each message has the outcome that its RFC wants."""

import socket
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from tests.lab.hostile import (
    TELLTALE,
    Heard,
    Watch,
    answers_options,
    header,
    over_tcp,
    over_udp,
    phones_are_served,
)
from tests.lab.system import System
from tests.lab.wire import Wire, digest, forget_bindings
from tests.torture.corpus import CORPUS, RFC4475
from tests.torture.message import Message

TRANSPORTS = ("udp", "tcp")
SENDERS = {"udp": over_udp, "tcp": over_tcp}
# Two registrations and a call's set-up, seconds; a phone's library itself needs a good part of it.
NORMAL = 5.0


@pytest.fixture(scope="module", autouse=True)
def unharmed(system: System) -> Iterator[None]:
    """The same workers after all of it, nothing to look at in the log, and phones served at once."""
    with Watch(system):
        yield
        took = phones_are_served(system)
        assert took < NORMAL, f"two registrations and a call took {took:.1f} s"


def send(system: System, message: Message, transport: str) -> Heard:
    return SENDERS[transport](system.address, message.as_sent(f"{transport}{id(message):x}"))


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("message", CORPUS, ids=lambda message: message.name)
def test_outcome(system: System, message: Message, transport: str) -> None:
    heard = send(system, message, transport)
    wanted = message.wanted(transport)
    if message.instead and heard.code not in wanted:
        assert heard.code in message.instead, f"{message.why}\nand not {message.because}"
    else:
        assert heard.code in wanted, message.why
        assert not message.instead or message.over_tcp, "it has the RFC's outcome now: take the deviation out"
    for answer in heard.messages:
        assert not TELLTALE.search(answer), answer.decode("utf-8", "replace")
        assert header(answer, "CSeq"), "an answer that nobody can match"
    assert answers_options(system) < 1.0, "the next one had to wait"


def test_deviations_are_few() -> None:
    """Each is explained where the message is."""
    deviating = [message.name for message in RFC4475 if message.instead]
    assert len(RFC4475) == 49
    assert len(deviating) <= 5, deviating


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(
    "message", [message for message in CORPUS if message.delivered], ids=lambda message: message.name
)
def test_delivered(system: System, message: Message, transport: str) -> None:
    """A well-formed INVITE is no less of a call for looking strange."""
    forget_bindings(system)
    kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
    with Wire(system.address) as callee, socket.socket(socket.AF_INET, kind) as caller:
        assert callee.register("slot_6002", system.password(6002)) == 200
        octets = message.as_sent(f"delivered{transport}")
        challenge = header(SENDERS[transport](system.address, octets).messages[-1], "Proxy-Authenticate")
        uri = octets.split(b" ", 2)[1].decode()
        value = digest(challenge, "slot_6001", system.password(6001), "INVITE", uri)
        # A request of its own (RFC 3261 section 22.2): with the old branch it may be taken for the old one, sent again.
        first, _, rest = message.as_sent(f"credentials{transport}").partition(b"\r\n")
        caller.connect((system.address, 5060))
        caller.sendall(b"%s\r\nProxy-Authorization: %s\r\n%s" % (first, value.encode(), rest))
        request, headers = callee.next_request()
        assert request.startswith("INVITE ")
        assert headers["call-id"].startswith(f"{message.name}.")
        assert hears_busy(caller, lambda: callee.answer(headers, b"486 Busy Here", tag=b"busy"))
    forget_bindings(system)


def hears_busy(caller: socket.socket, answer: Callable[[], None]) -> bool:
    """Answer, and again every half second as a phone would (RFC 3261 section 17.2.1), until the caller has heard it."""
    caller.settimeout(0.5)
    for _ in range(10):
        answer()
        with suppress(TimeoutError):
            while (heard := caller.recv(65_536)).startswith(b"SIP/2.0 100"):
                pass
            return heard.startswith(b"SIP/2.0 486")
    return False


REASONS = {
    "unreason": "= 2**3 * 5**2 \u043d\u043e \u0441\u0442\u043e \u0434\u0435\u0432\u044f\u043d\u043e\u0441\u0442\u043e",
    "noreason": "",
}


@pytest.mark.parametrize("reason", REASONS.values(), ids=REASONS)
def test_a_reason_reaches_the_caller(system: System, reason: str) -> None:
    """RFC 4475 3.1.1.12 and 3.1.1.13, where they mean something: as the answer to a call."""
    forget_bindings(system)
    with Wire(system.address) as callee, Wire(system.address) as caller:
        assert callee.register("slot_6002", system.password(6002)) == 200
        uri = "sip:6002@vss.internal"
        _, headers = caller.ask(caller.invite(uri))
        value = digest(headers["proxy-authenticate"], "slot_6001", system.password(6001), "INVITE", uri)
        caller.send(caller.invite(uri, cseq=2, headers=(f"Proxy-Authorization: {value}",)))
        _, asked = callee.next_request()
        callee.answer(asked, f"180 {reason}".encode(), tag=b"rings")
        caller.socket.settimeout(5)
        while not (answer := caller.socket.recv(65_536)).startswith(b"SIP/2.0 180"):
            assert answer.startswith(b"SIP/2.0 100")
        assert answer.startswith(f"SIP/2.0 180 {reason}\r\n".encode())
        callee.answer(asked, b"486 Busy Here", tag=b"rings")
        assert caller.final_code() == 486
    forget_bindings(system)
