"""Whether a proxy is reached from elsewhere: where that is tried, and what is said when nobody does."""

import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest

from sipstack.rollout import outside
from sipstack.rollout.shell import Answer

ANSWER = b"SIP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n"
Reach = Callable[..., str]


@contextmanager
def server(transport: str) -> Iterator[int]:
    """Answers one SIP request; its port."""
    kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(10)
        if transport == "tcp":
            sock.listen()

        def answer() -> None:
            if transport == "udp":
                said, source = sock.recvfrom(4096)
                assert said.startswith(b"OPTIONS sip:127.0.0.1:") and said.endswith(b"\r\n\r\n")
                sock.sendto(ANSWER, source)
            else:
                with sock.accept()[0] as link:
                    assert link.recv(4096).startswith(b"OPTIONS sip:127.0.0.1:")
                    link.sendall(ANSWER)

        thread = Thread(target=answer)
        thread.start()
        yield sock.getsockname()[1]
        thread.join(10)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_a_host_asks_with_what_every_debian_has(transport: str) -> None:
    with server(transport) as port:
        done = subprocess.run(["bash", "-c", outside._ASK, "ask", transport, "127.0.0.1", str(port), "5"], timeout=20)
    assert done.returncode == 0


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_no_answer_is_none(transport: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        done = subprocess.run(
            ["bash", "-c", outside._ASK, "ask", transport, "127.0.0.1", str(port), "1"], timeout=20, capture_output=True
        )
    assert done.returncode == 1


@pytest.fixture
def reach(monkeypatch: pytest.MonkeyPatch) -> Reach:
    """Whether a proxy is reached, given where it answers: from hosts by name, and from here."""

    def unreached(hosts: dict[str, list[str]], here: list[str]) -> str:
        others = [SimpleNamespace(name=name) for name in hosts]
        monkeypatch.setattr(outside, "_others", lambda *_: iter(others))
        monkeypatch.setattr(outside, "_answers_here", lambda _address, _port, transport: transport in here)

        def run(host: Any, command: str, **_: Any) -> Answer:
            transport = "udp" if " ask udp " in command else "tcp"
            return Answer(transport in hosts[host.name], "", unreachable="gone" in hosts[host.name])

        monkeypatch.setattr(outside, "run", run)
        node: Any = SimpleNamespace(address="192.0.2.1", settings=SimpleNamespace(sip_port=5060))
        return outside.unreached(SimpleNamespace(), node)  # type: ignore[arg-type]

    return unreached


def test_one_that_reaches_it_is_enough(reach: Reach) -> None:
    assert reach({"sip2": ["udp", "tcp"]}, []) == ""
    assert reach({"sip2": [], "db1": ["udp", "tcp"]}, []) == ""
    assert reach({"sip2": ["udp"]}, ["tcp"]) == ""
    assert reach({}, ["udp", "tcp"]) == ""
    assert reach({"sip2": ["gone"]}, ["udp", "tcp"]) == ""


def test_who_tried_in_vain_is_named(reach: Reach) -> None:
    said = reach({"sip2": ["tcp"], "db1": []}, [])
    assert "not reached at 192.0.2.1:5060 from elsewhere (over udp not from sip2, db1, this machine)" in said
    assert "over tcp not from this machine" in reach({}, ["udp"])
