"""Whether a proxy is reached from elsewhere: a proof on its own host does not see what keeps the world out.

Asked from the other hosts of the inventory, those first that are most like phones, and from this machine. One that
reaches it is enough: the others may be in networks from which nobody calls.
"""

import shlex
from collections.abc import Iterator

from pyinfra.api.host import Host

from sipstack.errors import OperatorError
from sipstack.node import Node
from sipstack.probe.errors import ProbeError
from sipstack.probe.options import options
from sipstack.reach import reach
from sipstack.rollout.shell import run

ANSWER_SECONDS = 3
TRANSPORTS = ("udp", "tcp")
# With what every Debian has. A request is one datagram: it is written, and its answer read, in one piece (dd). Over UDP
# it is sent again, as a packet may be lost.
_ASK = """
exec 3<>"/dev/$1/$2/$3" || exit 1
id=$RANDOM$RANDOM
request() {
    printf '%s\\r\\n' "OPTIONS sip:$2:$3 SIP/2.0" "Via: SIP/2.0/${1^^} 192.0.2.1:9;branch=z9hG4bK$id;rport" \\
        "From: <sip:probe@192.0.2.1>;tag=$id" "To: <sip:$2:$3>" "Call-ID: $id" "CSeq: 1 OPTIONS" \\
        "Max-Forwards: 70" "Content-Length: 0" ""
}
for _ in 1 2; do
    request "$@" | dd bs=4096 iflag=fullblock status=none >&3
    answer=$(timeout "$4" dd bs=4096 count=1 status=none <&3)
    [[ $answer == SIP/2.0* ]] && exit 0
    [[ $1 == udp ]] || break
done
exit 1
"""


def unreached(host: Host, node: Node) -> str:
    """Why nobody reaches the proxy on this host, in words; empty if somebody does over UDP and TCP."""
    address, port = node.address, node.settings.sip_port
    failed: dict[str, list[str]] = {}
    for place, transport, reached in _tries(host, node, address, port):
        if reached:
            failed.pop(transport, None)
        else:
            failed.setdefault(transport, []).append(place)
    if not failed:
        return ""
    said = "; ".join(f"over {transport} not from {', '.join(places)}" for transport, places in failed.items())
    return (
        f"it is not reached at {address}:{port} from elsewhere ({said}): a firewall in front of it, or on it, drops SIP"
    )


def _tries(host: Host, node: Node, address: str, port: int) -> Iterator[tuple[str, str, bool]]:
    """Where it was tried from, over what, and whether there was an answer; each transport until there is one."""
    left = list(TRANSPORTS)
    for other in _others(host, node):
        for transport in tuple(left):
            script = shlex.join(["bash", "-c", _ASK, "ask", transport, address, str(port), str(ANSWER_SECONDS)])
            answer = run(other, script, seconds=4 * ANSWER_SECONDS)
            if answer.unreachable:
                break
            if answer.ok:
                left.remove(transport)
            yield other.name, transport, answer.ok
    for transport in tuple(left):
        yield "this machine", transport, _answers_here(address, port, transport)


def _answers_here(address: str, port: int, transport: str) -> bool:
    try:
        options(address, port, "tcp" if transport == "tcp" else "udp", timeout=ANSWER_SECONDS)
    except ProbeError:
        return False
    return True


def _others(host: Host, node: Node) -> Iterator[Host]:
    """The other hosts, connected; databases, which may be in a network of their own, last."""
    order = {role: number for number, role in enumerate(("proxies", "pbx", "media", "databases"))}
    members = [member for member in node.members if member.name != node.name]
    names = sorted(members, key=lambda one: (min((order.get(role, 9) for role in one.roles), default=9), one.name))
    for member in names:
        other = host.state.inventory.get_host(member.name)
        try:
            reach(other, "to see whether a proxy is reached from elsewhere")
        except OperatorError:
            continue
        if other is not None:
            yield other
