"""Reach a port of a host through the SSH connection that pyinfra has to it already.

Works in threads and, where pyinfra's command line has patched the standard library, in gevent's greenlets.
"""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import paramiko

from sipstack.errors import OperatorError

if TYPE_CHECKING:
    from pyinfra.api.host import Host

CHUNK = 64 * 1024  # bytes; two packets of SSH's usual 32 KiB (RFC 4253 section 6.1)
CHANNEL_TIMEOUT_S = 10


def transport_of(host: "Host") -> paramiko.Transport | None:
    """The SSH connection of a pyinfra host; None for @local, which needs none.

    Raises OperatorError for any other connector: "localhost" would be the wrong machine there.
    """
    from pyinfra.connectors.local import LocalConnector
    from pyinfra.connectors.ssh import SSHConnector

    connector = host.connector
    if isinstance(connector, LocalConnector):
        return None
    client = connector.client if isinstance(connector, SSHConnector) else None
    if client is None:
        raise OperatorError(f"{host.name}: only @ssh and @local hosts have ports within reach: use one of them")
    return client.get_transport()


@contextmanager
def forward(transport: paramiko.Transport | None, remote_host: str, remote_port: int) -> Iterator[tuple[str, int]]:
    """A local (host, port) that leads to `remote_host:remote_port` as the far end of `transport` sees it.

    It listens on 127.0.0.1, for as long as the context lasts. Without a transport the remote address is given
    as it is. Raises OperatorError at once when the far end cannot reach the port or does not forward.
    """
    if transport is None:
        yield remote_host, remote_port
        return
    remote = (remote_host, remote_port)
    _open_channel(transport, remote).close()  # so that a dead port is said here, not by a client as "closed"
    with _Forwarder(transport, remote) as forwarder:
        yield forwarder.address


class _Forwarder:
    """One thread that accepts, and two for each connection, one a direction."""

    def __init__(self, transport: paramiko.Transport, remote: tuple[str, int]) -> None:
        self._transport = transport
        self._remote = remote
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[tuple[socket.socket, paramiko.Channel]] = []
        self._threads: list[threading.Thread] = []
        self.address: tuple[str, int] = self._listener.getsockname()

    def __enter__(self) -> "_Forwarder":
        self._start(self._accept)
        return self

    def __exit__(self, *error: object) -> None:
        # Shutting down wakes a thread that waits in accept or recv; closing alone does not.
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        self._listener.close()
        for connection, channel in self._open:
            channel.close()
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for connection, _ in self._open:
            connection.close()

    def _start(self, target: object, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return  # shut down
            # Both ends pass on small messages at once; Nagle's algorithm would delay each by a round trip.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                channel = _open_channel(self._transport, self._remote)
            except OperatorError:
                connection.close()
                continue
            self._open.append((connection, channel))
            self._start(_send, connection, channel)
            self._start(_receive, connection, channel)


def _send(connection: socket.socket, channel: paramiko.Channel) -> None:
    """Pass on what the client says, and that it has ended."""
    with suppress(OSError):
        while data := connection.recv(CHUNK):
            channel.sendall(data)
    with suppress(OSError, EOFError):
        channel.shutdown_write()


def _receive(connection: socket.socket, channel: paramiko.Channel) -> None:
    """Pass on what the far end says, and that it has ended."""
    with suppress(OSError):
        while data := channel.recv(CHUNK):
            connection.sendall(data)
    with suppress(OSError):
        connection.shutdown(socket.SHUT_WR)


def _open_channel(transport: paramiko.Transport, remote: tuple[str, int]) -> paramiko.Channel:
    """A connection from the far end to `remote` (RFC 4254 section 7.2, direct-tcpip)."""
    where = f"{remote[0]}:{remote[1]}"
    try:
        return transport.open_channel("direct-tcpip", remote, ("127.0.0.1", 0), timeout=CHANNEL_TIMEOUT_S)
    except paramiko.ChannelException as error:
        if error.code == 1:  # RFC 4254 section 5.1: administratively prohibited
            raise OperatorError(
                f"{where}: sshd refuses to forward: set AllowTcpForwarding yes in sshd_config"
                " (and permit it in PermitOpen and authorized_keys)"
            ) from None
        raise OperatorError(
            f"{where}: nothing answers there on the far end of the SSH connection:"
            " start the service, or correct the address"
        ) from None
    except (paramiko.SSHException, OSError, EOFError) as error:
        raise OperatorError(f"{where}: the SSH connection to its host is gone ({error}): run again") from None
