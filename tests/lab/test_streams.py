"""TCP: where a message ends, and who takes his time over it. Nobody else waits for that, and nothing stays open."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.lab.hostile import Watch, answers_options, listen, over_tcp, phones_are_served
from tests.lab.system import System
from tests.lab.test_malformed import REGISTRAR, request

# tcp_msg_read_timeout or tcp_msg_data_timeout, and tcp_check_timer once more (kamailio.cfg).
CLOSED_WITHIN = 20.0


@pytest.fixture(scope="module", autouse=True)
def unharmed(system: System) -> Iterator[None]:
    with Watch(system):
        yield
        assert phones_are_served(system) < 5


def options(length: str = "0", body: bytes = b"") -> bytes:
    head = request("OPTIONS", REGISTRAR, to=REGISTRAR)
    return head.replace(b"Content-Length: 0\r\n", f"Content-Length: {length}\r\n".encode() if length else b"") + body


def test_two_messages_in_one_segment(system: System) -> None:
    assert over_tcp(system.address, options() + options(), answers=2).codes == [200, 200]


def test_a_message_in_a_body_is_a_body(system: System) -> None:
    inner = options()
    heard = over_tcp(system.address, options(str(len(inner)), inner) + options(), answers=3)
    assert heard.codes == [200, 200]


def test_a_body_that_is_longer_than_said_is_no_message(system: System) -> None:
    """The rest is read as the next message, which it is not: the connection ends, and only that."""
    heard = over_tcp(system.address, options("2", b"body that goes on\r\n\r\n"), timeout=2, answers=2)
    assert heard.codes == [200]
    assert heard.closed


@pytest.mark.parametrize("length", ["", "-1", "+4", "0x4", "4,4", "2147483648", "4294967296", "4294967297", "9" * 40])
def test_a_length_that_is_none(system: System, length: str) -> None:
    """Where the message ends cannot be known, so nothing on that connection can be read any more."""
    heard = over_tcp(system.address, options(length, b"body") + options(), timeout=2)
    assert heard.code in (0, 400)
    assert heard.closed
    assert answers_options(system) < 1.0


def test_two_lengths_that_differ(system: System) -> None:
    twice = options("4", b"body").replace(b"Content-Length: 4\r\n", b"Content-Length: 4\r\nl: 40\r\n")
    assert over_tcp(system.address, twice).code in (0, 400)


@pytest.mark.parametrize("size", [1, 7, 100])
def test_a_slow_link_is_served(system: System, size: int) -> None:
    """A message in pieces, a keep-alive before it and another message behind it."""
    message = b"\r\n\r\n" + options("4", b"body") + options()
    assert over_tcp(system.address, message, size=size, pause=0.002, timeout=3, answers=2).codes == [200, 200]


def test_stalled_connections_are_closed_and_delay_nobody(system: System) -> None:
    """Two hundred at once: silent, half a head, a head without its body, and one that sends an octet now and then."""
    starts = (b"", options()[:100], options("1000", b"body"), options("99999999"))
    with ExitStack() as stack:
        opened = time.monotonic()
        stalled = [stack.enter_context(socket.create_connection((system.address, 5060))) for _ in range(200)]
        for number, connection in enumerate(stalled):
            connection.sendall(starts[number % len(starts)])
        dripping = stack.enter_context(socket.create_connection((system.address, 5060)))
        drip = iter(options("1000", b"x" * 1000))
        assert answers_options(system) < 1.0
        assert over_tcp(system.address, options(), timeout=2).code == 200
        assert phones_are_served(system) < 5
        while time.monotonic() < opened + CLOSED_WITHIN:
            try:
                dripping.sendall(bytes([next(drip)]))
            except OSError:
                break
            time.sleep(0.3)
        else:
            pytest.fail("what comes an octet at a time is read for ever")
        for connection in stalled:
            heard = listen(connection, max(0.1, opened + CLOSED_WITHIN - time.monotonic()))
            assert heard.closed, "still open"
        assert answers_options(system) < 1.0


def test_a_phone_may_be_silent_between_its_messages(system: System) -> None:
    """What is closed is a connection that never brought a whole message, not one that waits for a call."""
    with socket.create_connection((system.address, 5060)) as phone:
        phone.sendall(options())
        assert listen(phone, 2).code == 200
        time.sleep(CLOSED_WITHIN + 2)
        phone.sendall(options())
        assert listen(phone, 2).code == 200


OTHERS = (
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
    b"\0" * 5_000,
    b"SSH-2.0-x\r\n",
    b"\r\n" * 5_000 + b"x",
    b"\xff" * 20_000,
    b"MSRP 1 SEND\r\n\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
)


def test_garbage(system: System) -> None:
    """Other protocols on this port: nothing is said to them."""
    for octets in OTHERS:
        heard = over_tcp(system.address, octets, timeout=0.5)
        assert heard.codes == []
        assert answers_options(system) < 1.0
