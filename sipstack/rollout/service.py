"""A service that the proxies ask changes: they leave it alone meanwhile, and it goes back when it does not come up.

An rtpengine or an Asterisk restarts when its calls have ended, if there is another one for new calls. PostgreSQL
restarts while the proxies hear nothing for a moment, which phones bridge by sending again (RFC 3261 section 17.1).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pyinfra.api.host import Host

from sipstack.errors import OperatorError
from sipstack.lock import LOCK
from sipstack.node import GATEWAY_SET, Node
from sipstack.oci import in_proxy
from sipstack.rollout import scripts
from sipstack.rollout.everywhere import on_proxies
from sipstack.rollout.proof import PROOF_SECONDS, call_through
from sipstack.rollout.report import REPORT
from sipstack.rollout.shell import run

# A proxy asks its gateways every 5 s.
ANSWERS_WITHIN_S = 15


@dataclass(frozen=True)
class Change:
    """compose: path of the compose file from which the service is started; seconds: how long until it is healthy.

    replace: its container is removed first, for Compose would not see what has changed. running: whether it serves now.
    """

    service: str
    compose: str
    seconds: int
    replace: bool
    running: bool

    @property
    def container(self) -> str:
        return f"vss-{self.service}"


def change(host: Host, node: Node, wanted: Change) -> None:
    """Start a service anew, and what ran before if it does not become healthy.

    Raises OperatorError then, and for every host that comes after: the same would fail there. Raises LockLostError, and
    nothing is started, when the deploy lock was lost meanwhile.
    """
    if REPORT.halted:
        REPORT.untouched.append(host.name)
        raise OperatorError(f"{wanted.container} is not touched: the run stopped at {REPORT.halted}")
    faults = []
    with _left_alone(host, node, wanted) as cut:
        LOCK.confirm()  # waiting for calls may have taken longer than the lease
        REPORT.service_changed(host.name, wanted.container, cut, wanted.running)
        up = scripts.service_up(wanted.service, wanted.compose, wanted.seconds, wanted.replace)
        started = run(host, up, seconds=wanted.seconds + 60)
        if not started.ok:
            faults = [f"{wanted.container} does not start:", *started.text.splitlines()]
    if not faults and wanted.service == "asterisk":
        faults = _unanswered(host, node, wanted) or _takes_no_calls(host, node, wanted)
    if faults:
        REPORT.stopped = host.name
        back = run(
            host, scripts.service_back(wanted.service, wanted.compose, wanted.seconds), seconds=wanted.seconds + 60
        )
        if wanted.running:
            faults.append("it is back at what ran before" if back.ok else "it did NOT come back, look at the host")
        raise OperatorError("\n".join(faults))


def await_health(host: Host, service: str, compose: str, seconds: int) -> None:
    """Wait until a service that has started, or whose engine has, says that it is well. Raises OperatorError."""
    answer = run(host, scripts.service_up(service, compose, seconds, replace=False), seconds=seconds + 60)
    if not answer.ok:
        raise OperatorError(f"vss-{service} does not become healthy:\n{answer.text}")


def _unanswered(host: Host, node: Node, wanted: Change) -> list[str]:
    """That it is up says little: the proxies that serve have to hear from it."""
    answers = on_proxies(host, scripts.answers_within(_gateway(node), ANSWERS_WITHIN_S), ANSWERS_WITHIN_S + 30)
    deaf = sorted(name for name, answer in answers.items() if not answer.ok and not answer.unreachable)
    return [f"{wanted.container} is up, but does not answer {', '.join(deaf)}"] if deaf else []


def _takes_no_calls(host: Host, node: Node, wanted: Change) -> list[str]:
    """That it answers OPTIONS says nothing of its dial plan."""
    place = f"{node.gateway_bind}:{node.settings.asterisk_port}"
    answers = on_proxies(host, call_through(node, place), PROOF_SECONDS)
    number = node.settings.verify_external_number
    return [
        f"{wanted.container} does not take a call to {number} from {name}: {_last_line(answer.text)}"
        for name, answer in sorted(answers.items())
        if not answer.ok and not answer.unreachable
    ]


def _gateway(node: Node) -> str:
    return f"sip:{node.gateway_bind}:{node.settings.asterisk_port}"


@contextmanager
def _left_alone(host: Host, node: Node, wanted: Change) -> Iterator[int]:
    """While the block runs, the proxies do without it; gives how many calls will not survive the block."""
    if not wanted.running:
        yield 0
    elif wanted.service == "postgres":
        on_proxies(host, scripts.pause())
        try:
            yield 0
        finally:
            on_proxies(host, scripts.hear())
    elif wanted.service == "rtpengine":
        uri = f"udp:{node.rtpengine_bind}:{node.settings.rtpengine_port}"
        rest, wake = f"rtpengine.enable {uri} 0", f"rtpengine.enable {uri} 1"
        yield from _rested(host, node, wanted.service, rest, wake, len(node.rtpengines))
    else:
        # Probing: it is asked for signs of life, and used from the first one on.
        rest, wake = (f"dispatcher.set_state {state} {GATEWAY_SET} {_gateway(node)}" for state in ("d", "ip"))
        yield from _rested(host, node, wanted.service, rest, wake, len(node.gateways))


def _rested(host: Host, node: Node, service: str, rest: str, wake: str, there_are: int) -> Iterator[int]:
    count, patience = scripts.CALLS_OF[service], node.settings.service_drain_seconds
    if there_are == 1 or not patience:
        # rtpengine keeps calls for a while that have ended, those of a trial among them. The proxies know better.
        yield (
            _calls_of_all(host) if service == "rtpengine" else _number(run(host, scripts.wait_for_calls(count, 0)).text)
        )
        return
    on_proxies(host, scripts.for_a_while(rest, wake, patience + 60))
    try:
        yield _number(run(host, scripts.wait_for_calls(count, patience), seconds=patience + 30).text)
    finally:
        on_proxies(host, in_proxy(f"kamcmd {wake}"))


def _calls_of_all(host: Host) -> int:
    """How many calls are in progress; one that goes through two proxies is one."""
    return len(
        {line for answer in on_proxies(host, scripts.CALLS).values() if answer.ok for line in answer.text.split()}
    )


def _number(text: str) -> int:
    last = _last_line(text)
    return int(last) if last.isdigit() else 0


def _last_line(text: str) -> str:
    return (text.splitlines() or [""])[-1]
