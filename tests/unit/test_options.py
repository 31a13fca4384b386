"""`options` against small responders on loopback: what it sends, what it accepts, what it says."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from sipstack.errors import OperatorError
from sipstack.probe.message import parse_head
from sipstack.probe.options import options

Answer = Callable[[str, dict[str, str], int], list[str]]


def reply(headers: dict[str, str], status: str = "200 OK", body: str = "", **changed: str) -> str:
    """A reply that copies what RFC 3261 section 8.2.6 tells it to copy."""
    copied = {name: headers[name] for name in ("via", "from", "to", "call-id", "cseq")} | {
        name.replace("_", "-"): value for name, value in changed.items()
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in copied.items())
    return f"SIP/2.0 {status}\r\n{lines}Content-Length: {len(body)}\r\n\r\n{body}"


@contextmanager
def udp_server(answer: Answer) -> Iterator[tuple[int, list[str]]]:
    """A server that gives what `answer(first line, headers, how many came before)` returns."""
    requests: list[str] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))

        def serve() -> None:
            while data := server.recvfrom(4096):
                if not data[0]:
                    return
                requests.append(data[0].decode())
                for text in answer(*parse_head(requests[-1]), len(requests) - 1):
                    server.sendto(text.encode(), data[1])

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1], requests
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
                end.sendto(b"", server.getsockname())
            thread.join()


@contextmanager
def tcp_server(chunks: Callable[[dict[str, str]], list[bytes]]) -> Iterator[int]:
    """A server that takes one connection and one request, sends the chunks and closes."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                request = connection.recv(4096).decode()
                for chunk in chunks(parse_head(request)[1]):
                    connection.sendall(chunk)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            thread.join()


def test_the_request_is_well_formed_and_the_reply_is_told() -> None:
    def answer(first: str, headers: dict[str, str], n: int) -> list[str]:
        return [reply(headers, "404 Not Here", server="x")]

    with udp_server(answer) as (port, requests):
        got = options("127.0.0.1", port, user="6001")
    assert (got.code, got.reason, got.headers["server"]) == (404, "Not Here", "x")
    assert got.rtt_ms > 0
    first, headers = parse_head(requests[0])
    assert first == f"OPTIONS sip:6001@127.0.0.1:{port} SIP/2.0"
    via = headers["via"].split(";")
    assert via[0].startswith("SIP/2.0/UDP 127.0.0.1:") and "rport" in via
    assert any(part.startswith("branch=z9hG4bK") for part in via)
    assert headers["max-forwards"] == "70" and headers["cseq"] == "1 OPTIONS"
    assert "tag=" in headers["from"] and "tag=" not in headers["to"]


def test_a_lost_request_is_sent_again_unchanged() -> None:
    with udp_server(lambda first, headers, n: [reply(headers)] if n == 1 else []) as (port, requests):
        assert options("127.0.0.1", port).code == 200
    assert len(requests) == 2 and requests[0] == requests[1]


def test_only_the_final_reply_to_this_request_counts() -> None:
    def answer(first: str, headers: dict[str, str], n: int) -> list[str]:
        return [
            "not SIP at all",
            reply(headers, "500 Other Branch", via="SIP/2.0/UDP 127.0.0.1;branch=z9hG4bKother"),
            reply(headers, "500 Other Call", call_id="other"),
            reply(headers, "100 Trying"),
            reply(headers, "200 OK"),
        ]

    with udp_server(answer) as (port, _):
        assert options("127.0.0.1", port).code == 200


def test_silence_is_an_error_that_names_the_peer() -> None:
    with udp_server(lambda first, headers, n: []) as (port, _), pytest.raises(OperatorError) as error:
        options("127.0.0.1", port, timeout=0.2)
    assert str(error.value) == f"no answer from udp:127.0.0.1:{port} within 0.2 s"


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_a_closed_port_is_an_error_at_once(transport: str) -> None:
    kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(OperatorError, match=f"no answer from {transport}:127.0.0.1:{port}: .*refused"):
        options("127.0.0.1", port, transport, timeout=30)  # type: ignore[arg-type]


def test_tcp_replies_are_cut_by_content_length_wherever_the_stream_is_torn() -> None:
    # The body looks like a final reply: only one who counts does not take it for one.
    def chunks(headers: dict[str, str]) -> list[bytes]:
        trap = reply(headers, "500 Inside The Body")
        stream = (reply(headers, "100 Trying", body=trap) + reply(headers, "202 Yes", body="hello")).encode()
        return [stream[i : i + 7] for i in range(0, len(stream), 7)]

    with tcp_server(chunks) as port:
        got = options("127.0.0.1", port, "tcp")
    assert (got.code, got.reason) == (202, "Yes")
    assert "/TCP " in got.headers["via"]


def test_tcp_that_closes_without_a_reply_is_an_error() -> None:
    with tcp_server(lambda headers: []) as port, pytest.raises(OperatorError, match="closed without a reply"):
        options("127.0.0.1", port, "tcp")


def test_compact_folded_and_repeated_headers_are_read() -> None:
    text = "SIP/2.0 200 OK\r\nv: one\r\nVia: two\r\ni: abc\r\nSubject: a\r\n b\r\n\r\nFrom: body\r\n"
    assert parse_head(text) == ("SIP/2.0 200 OK", {"via": "one, two", "call-id": "abc", "subject": "a b"})
