"""SIP from here, where the operator is: the proxies answer."""

from typing import Literal

import pytest

from sipstack.probe.options import options
from tests.verify.server import Server

SECONDS = 3.0


@pytest.mark.needs("kamailio")
@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_options(proxy: Server, transport: Literal["udp", "tcp"]) -> None:
    node = proxy.node
    reply = options(node.address, node.settings.sip_port, transport, SECONDS)
    where = f"{transport}:{node.address}:{node.settings.sip_port}"
    assert reply.code == 200, f"{proxy.name}: {where} answers OPTIONS with {reply.code} {reply.reason}"
