"""A host that vanishes without a word is noticed: its SSH connection ends, and with it all that waits for an answer.

pyinfra bounds the connecting (CONNECT_TIMEOUT, 10 s) and nothing after it: a host without power would be waited for
until TCP gives up, a quarter of an hour later, or for ever while nothing is sent.
"""

import socket

from paramiko import Channel, Transport
from pyinfra.api.host import Host
from pyinfra.api.state import BaseStateCallback, State
from pyinfra.connectors.ssh import SSHConnector

# After so many seconds in which nothing was sent, something is.
ASK_SECONDS = 10
# What was sent and is not acknowledged for so long was sent to nobody. Less than the lease of the
# deploy lock (sipstack/lock.py): who is cut off for longer has lost it.
SILENT_SECONDS = 40


class Keepalive(BaseStateCallback):
    """Bounds each connection that a pyinfra State makes."""

    @staticmethod
    def host_connect(state: State, host: Host) -> None:
        connector = host.connector
        if isinstance(connector, SSHConnector) and connector.client and (transport := connector.client.get_transport()):
            bound(transport)


def bound(transport: Transport) -> None:
    """Let a connection end by itself ASK_SECONDS + SILENT_SECONDS after its far end was heard last, at the latest.

    The same goes for the jump hosts on its way (ProxyJump). What a ProxyCommand runs has options of its own.
    """
    transport.set_keepalive(ASK_SECONDS)
    way = transport.sock
    if isinstance(way, Channel):
        if way.transport is not None:
            bound(way.transport)
    elif isinstance(way, socket.socket):
        # paramiko's keepalive asks for no answer: it is the kernel that misses the acknowledgement.
        way.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SILENT_SECONDS * 1000)
