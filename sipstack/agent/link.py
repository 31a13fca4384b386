"""The sockets of a phone: UDP to anyone, or one TCP connection to its proxy (RFC 3261 section 18)."""

import asyncio
import os
import re
import socket
from collections.abc import Callable
from typing import Any

from .errors import NoAnswerError
from .message import Address, Message, parse

Receiver = Callable[[Message, Address], None]


class Link(asyncio.DatagramProtocol, asyncio.Protocol):
    """What a phone sends and receives by.

    Attributes:
        kind: "UDP" or "TCP".
        local: own address and port.
    """

    def __init__(self, kind: str, receiver: Receiver) -> None:
        self.kind = kind
        self.local: Address = ("", 0)
        self._receiver = receiver
        self._transport: Any = None
        self._peer: Address = ("", 0)
        self._buffer = b""

    @property
    def reliable(self) -> bool:
        return self.kind == "TCP"

    @property
    def address(self) -> str:
        """address:port, as Via and Contact say it."""
        return f"{self.local[0]}:{self.local[1]}"

    def send(self, data: bytes, to: Address) -> None:
        """Send a message; over TCP it goes to the proxy, whatever `to` says."""
        if self.reliable:
            self._transport.write(data)
        else:
            self._transport.sendto(data, to)

    def close(self) -> None:
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self.local = transport.get_extra_info("sockname")[:2]
        self._peer = (transport.get_extra_info("peername") or ("", 0))[:2]

    def datagram_received(self, data: bytes, source: Address) -> None:
        self._deliver(data, source)

    def data_received(self, data: bytes) -> None:
        """Cut the stream into messages by Content-Length (section 18.3); empty lines between them are keep-alives."""
        self._buffer = (self._buffer + data).lstrip(b"\r\n")
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            length = re.search(rb"\r\n(?:content-length|l)[ \t]*:[ \t]*(\d+)", self._buffer[:end], re.IGNORECASE)
            end += 4 + (int(length[1]) if length else 0)
            if len(self._buffer) < end:
                return
            message, self._buffer = self._buffer[:end], self._buffer[end:].lstrip(b"\r\n")
            self._deliver(message, self._peer)

    def _deliver(self, data: bytes, source: Address) -> None:
        try:
            message = parse(data)
        except ValueError:
            return  # a keep-alive, or not for us
        self._receiver(message, source)


async def open_link(kind: str, proxy: Address, local: str, receiver: Receiver) -> Link:
    """Open a phone's socket.

    Args:
        kind: "UDP" or "TCP".
        proxy: where TCP connects to; UDP finds by it which address is its own.
        local: own address; empty: the one from which the proxy is reached.

    Raises:
        NoAnswerError: TCP cannot connect.
        OSError: the own address is none of this machine.
    """
    loop = asyncio.get_running_loop()
    if kind == "TCP":
        try:
            _, link = await loop.create_connection(
                lambda: Link(kind, receiver), *proxy, local_addr=(local, 0) if local else None
            )
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise NoAnswerError(f"no TCP connection to {proxy[0]}:{proxy[1]}: {reason}") from None
        return link
    _, opened = await loop.create_datagram_endpoint(
        lambda: Link(kind, receiver), local_addr=(local or _own_address(proxy), 0)
    )
    return opened


def _own_address(peer: Address) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(peer)
        return str(probe.getsockname()[0])
