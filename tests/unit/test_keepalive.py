"""Connections to hosts that vanish."""

import socket
from collections.abc import Iterator
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
from paramiko import Channel, SSHClient, Transport
from pyinfra.connectors.ssh import SSHConnector

from sipstack.keepalive import ASK_SECONDS, SILENT_SECONDS, Keepalive
from sipstack.lock import LEASE_SECONDS


@pytest.fixture
def transport() -> Iterator[Transport]:
    """A connection that says nothing yet, over a socket of loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        made = Transport(socket.create_connection(listener.getsockname()))
        made.set_keepalive = MagicMock()  # type: ignore[method-assign]
        yield made
        made.sock.close()


def connected(transport: Transport | None) -> SimpleNamespace:
    """A pyinfra host that has just been connected to."""
    connector, client = MagicMock(spec=SSHConnector), MagicMock(spec=SSHClient)
    client.get_transport.return_value = transport
    connector.client = client
    return SimpleNamespace(connector=connector)


def is_bounded(transport: Transport) -> bool:
    transport.set_keepalive.assert_called_once_with(ASK_SECONDS)  # type: ignore[attr-defined]
    assert isinstance(transport.sock, socket.socket)
    limit: int = transport.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
    return limit == SILENT_SECONDS * 1000


def test_a_connection_ends_before_the_lock_is_somebody_elses(transport: Transport) -> None:
    Keepalive.host_connect(MagicMock(), connected(transport))  # type: ignore[arg-type]
    assert is_bounded(transport)
    assert ASK_SECONDS + SILENT_SECONDS < LEASE_SECONDS


def test_so_does_the_way_through_a_jump_host(transport: Transport) -> None:
    channel = Channel(1)
    channel.transport = transport
    behind = MagicMock(spec=Transport, sock=channel)
    Keepalive.host_connect(MagicMock(), connected(behind))  # type: ignore[arg-type]
    behind.set_keepalive.assert_called_once_with(ASK_SECONDS)
    assert is_bounded(transport)


def test_other_connectors_are_left_alone() -> None:
    Keepalive.host_connect(MagicMock(), SimpleNamespace(connector=object()))  # type: ignore[arg-type]
    Keepalive.host_connect(MagicMock(), connected(None))  # type: ignore[arg-type]
