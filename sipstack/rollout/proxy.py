"""One proxy changes: drain, switch, prove; and back when it does not prove itself. Only then the next."""

import re
import time
from dataclasses import dataclass

from pyinfra.api.host import Host

from sipstack.errors import OperatorError
from sipstack.lock import LOCK, LockLostError
from sipstack.node import Node
from sipstack.provenance import about
from sipstack.rollout import scripts
from sipstack.rollout.outside import unreached
from sipstack.rollout.proof import Watch, prove
from sipstack.rollout.report import REPORT, Row
from sipstack.rollout.shell import run

# A proxy starts within a second or two; one that takes longer than this is taken back.
BACK_WITHIN_S = 20
# The first start of all may wait for a database that has only just been made.
FIRST_WITHIN_S = 180
# A proxy asks the others for their bindings when it starts.
SYNC_SECONDS = 5.0


@dataclass(frozen=True)
class Target:
    """A release that lies on the host, and what its proxy's container carries as digest. verb: deploy, or rollback."""

    name: str
    digest: str
    verb: str = "deploy"


def roll(host: Host, node: Node, target: Target, replace: bool, switch: bool) -> None:
    """Bring one proxy to a release and prove it.

    replace: its container is removed first, for Compose would not see what has changed. switch: False to prove what
    runs already, because the run that switched it was killed. Raises OperatorError when the proxy did not prove
    itself: it is back at what it ran before, and the other proxies of this run are not touched. Raises LockLostError
    when the deploy lock was lost on the way: then it is not switched.
    """
    if REPORT.halted:
        REPORT.untouched.append(host.name)
        raise OperatorError(f"not touched: the rollout stopped at {REPORT.halted}")
    row = Row(host.name, _in_force(host) if switch else _previous(host, target), target.name)
    REPORT.rows.append(row)
    try:
        if switch and row.before:
            with Watch(host, node) as watch:
                _change(host, node, target, row, replace)
            row.silent_ms = watch.silent_ms
        elif switch:
            _switch(host, target, FIRST_WITHIN_S, replace)
        if faults := prove(host, node, node.settings.sip_port, "public"):
            raise OperatorError("it does not serve calls: " + "; ".join(faults))
    except LockLostError as error:
        # It may be in the hands of another run by now. What was drained opens by itself.
        REPORT.stopped, row.outcome = host.name, f"NOT switched: {error}"
        raise
    except OperatorError as error:
        REPORT.stopped = host.name
        row.outcome = f"FAILED: {error}\n    {_take_back(host, row)}"
        raise OperatorError(row.outcome) from None
    except BaseException:
        # Whatever else it was, the next proxy is not to meet it.
        REPORT.stopped, row.outcome = host.name, "" if REPORT.interrupted else "FAILED, look at the host"
        raise
    if fault := unreached(host, node):
        # No release is to blame for that, and going back would not help.
        REPORT.stopped, row.outcome = host.name, f"serves calls on its own host, but {fault}"
        raise OperatorError(row.outcome)
    run(host, scripts.note_proved(target.digest))
    row.outcome = "proved"


def _change(host: Host, node: Node, target: Target, row: Row, replace: bool) -> None:
    """Drain a running proxy and switch it, and note what was carried over."""
    patience = node.settings.drain_seconds
    drained = run(host, scripts.drain(patience), seconds=patience + 30)
    row.cut = _number(drained.text, "unanswered")
    bindings, calls = _count(host, scripts.COUNT_BEFORE)
    _switch(host, target, BACK_WITHIN_S, replace)
    deadline = time.monotonic() + SYNC_SECONDS
    now = _count(host, scripts.COUNT_AFTER)
    while now[0] < bindings and time.monotonic() < deadline:
        time.sleep(0.2)
        now = _count(host, scripts.COUNT_AFTER)
    row.bindings, row.calls = (bindings, now[0]), (calls, now[1])


def _switch(host: Host, target: Target, seconds: int, replace: bool) -> None:
    # All proxies are one operation, and pyinfra's confirmation before it may be many minutes old.
    LOCK.confirm()
    script = scripts.switch(target.name, seconds, about(target.verb), replace)
    switched = run(host, script, seconds=2 * seconds + 60)
    if not switched.ok:
        raise OperatorError(f"it does not start: {switched.text}")


def _take_back(host: Host, row: Row) -> str:
    """Return to what ran before; what came of it, in words."""
    if not row.before:
        return "there is no release before it to go back to"
    try:
        LOCK.confirm()
    except LockLostError as error:
        return f"NOT taken back to release {row.before}: {error}"
    # A release that failed is no way back for anybody.
    run(host, scripts.forget(row.after))
    if _in_force(host) == row.before:
        # The host itself did it: a release that does not become healthy is replaced there at once.
        return f"taken back to release {row.before}"
    back = run(host, scripts.switch(row.before, BACK_WITHIN_S, about(scripts.FAILED)), seconds=2 * BACK_WITHIN_S + 60)
    if back.ok:
        return f"taken back to release {row.before}"
    return f"NOT taken back to release {row.before}, look at the host: {back.text}"


def _in_force(host: Host) -> str:
    """The release that this host serves; empty if there is none, or if its proxy does not run."""
    served = run(host, scripts.SERVED)
    return served.text if served.ok and re.fullmatch(r"[0-9a-f]{12}", served.text) else ""


def _previous(host: Host, target: Target) -> str:
    """The release before this one."""
    names = [name for name in run(host, scripts.HISTORY).text.split() if name != target.name]
    return names[-1] if names else ""


def _count(host: Host, script: str) -> tuple[int, int]:
    """How many bindings the proxy knows, and how many calls in progress; after a switch, of those before it."""
    said = run(host, script).text
    return _number(said, "bindings"), _number(said, "calls")


def _number(text: str, key: str) -> int:
    found = re.search(rf"^{key} (\d+)$", text, re.MULTILINE)
    return int(found[1]) if found else 0
