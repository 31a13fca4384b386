"""Proof: two phones on the host itself register, call each other and the outside, and their calls are on record."""

import json
import shlex
import time

from psycopg import sql
from pyinfra.api.host import Host

from sipstack.agent.selftest import NUMBER_SECONDS
from sipstack.database.session import as_owner, database_host
from sipstack.images import all_images
from sipstack.node import Node
from sipstack.oci import in_proxy, never_began
from sipstack.paths import HOME
from sipstack.rollout.shell import run
from sipstack.slots import probe_slots

ECHO = "9002"
# The phones end within 15 s by themselves.
PROOF_SECONDS = 25
RECORD_SECONDS = 5.0
WATCH = "vss-watch"
# Beside the time for draining: a switch, the way back, and waiting for bindings. Then it ends without being told.
WATCH_SECONDS = 180
_WATCH_LOG = f"{HOME}/watch.log"
# Nothing of the host but its network, and nothing left when it has ended.
DOCKER_RUN = "docker run --rm --network host --read-only --cap-drop ALL --security-opt no-new-privileges"


def prove(host: Host, node: Node, port: int, schema: str) -> list[str]:
    """What is wrong with the proxy on this host, a line each; empty when everything went well.

    port: SIP port of the proxy to prove. schema: where it writes its records.
    """
    image = all_images(node.settings)["probe"].tag
    phones, order = f"{DOCKER_RUN} -i {image} selftest", _order(node, port)
    seconds = PROOF_SECONDS + int(NUMBER_SECONDS * len(node.settings.verify_numbers))
    answer = run(host, phones, stdin=order, seconds=seconds)
    if never_began(answer.text) or _slow(answer.text, node):
        # A release is not to be taken back for that, nor for a machine that was busy for a moment.
        answer = run(host, phones, stdin=order, seconds=seconds)
    *steps, last = answer.text.splitlines() or [""]
    faults = [line.removeprefix("FAIL").strip() for line in steps if line.startswith("FAIL")]
    if faults:
        return faults
    try:
        told = json.loads(last)
        calls, setup = told["calls"], told["setup_ms"]
    except (ValueError, TypeError, KeyError):
        return [f"the phones that prove it did not run: {answer.text[-300:] or 'no output'}"]
    host.log_styled(f"a call is set up within {setup} ms", fg="green")
    if _slow(answer.text, node):
        limit = node.settings.verify_setup_ms
        return [f"a call is set up within {setup} ms at best, twice; verify_setup_ms allows {limit}"]
    return _missing_records(host, [*calls["internal"], *calls["outside"]], schema)


def _slow(said: str, node: Node) -> bool:
    """Whether all went well, but no call was set up within its time."""
    try:
        return bool(json.loads(said.splitlines()[-1])["setup_ms"] > node.settings.verify_setup_ms)
    except (IndexError, ValueError, TypeError, KeyError):
        return False


def call_through(node: Node, gateway: str) -> str:
    """Shell for a proxy's host: a call to the outside straight to a gateway, address:port; it fails if none answers.

    A host that has not this release's phones, because --limit leaves it out, says nothing.
    """
    image = all_images(node.settings)["probe"].tag
    number, domain = shlex.quote(node.settings.verify_external_number), node.settings.sip_domain
    local = f'"$({in_proxy("sed -n s/^SIP_ADDRESS=//p /run/kamailio/address")})"'
    call = f"{DOCKER_RUN} {image} gateway {gateway} {number} {domain} --local {local}"
    return f"! docker image inspect {image} >/dev/null 2>&1 || {call}"


def _order(node: Node, port: int) -> str:
    passwords = {slot.username: slot.password or "" for slot in node.slots}
    outside = node.settings.verify_external_number
    return json.dumps({
        "proxy": f"{node.address}:{port}",
        "domain": node.settings.sip_domain,
        "phones": [[slot.number, slot.username, passwords[slot.username]] for slot in probe_slots(node.plan)],
        "outside": outside,
        "echo": outside == ECHO,
        "numbers": node.settings.verify_numbers,
        "local": node.probe_address,
        "media": node.address,
    })  # fmt: skip


def _missing_records(host: Host, call_ids: list[str], schema: str) -> list[str]:
    """Calls without a row in acc_cdrs, which Kamailio writes once the BYE is answered."""
    query = sql.SQL("SELECT callid FROM {} WHERE callid = ANY(%s)").format(sql.Identifier(schema, "acc_cdrs"))
    deadline = time.monotonic() + RECORD_SECONDS
    with as_owner(*database_host(host)) as conn:
        while missing := set(call_ids) - {row[0] for row in conn.execute(query, [call_ids])}:
            if time.monotonic() > deadline:
                return [f"{len(missing)} of {len(call_ids)} calls are not on record (acc_cdrs)"]
            time.sleep(0.2)
    return []


class Watch:
    """Asks a proxy for signs of life from its own host, to tell how long it was silent. A context manager."""

    def __init__(self, host: Host, node: Node) -> None:
        self._host = host
        self._image = all_images(node.settings)["probe"].tag
        self._proxy = f"{node.address}:{node.settings.sip_port}"
        self._seconds = node.settings.drain_seconds + WATCH_SECONDS
        self.silent_ms: int | None = None

    def __enter__(self) -> "Watch":
        # One that a killed run has left is in the way. What it says goes to a file, since the container goes with it.
        watch = f"{self._image} watch --seconds {self._seconds} {shlex.quote(self._proxy)}"
        run(
            self._host,
            f"docker rm -f {WATCH} >/dev/null 2>&1; "
            f"setsid {DOCKER_RUN} --name {WATCH} {watch} >{_WATCH_LOG} 2>&1 </dev/null & "
            + _until(f"[ -n \"$(docker ps -q --filter 'name=^{WATCH}$')\" ]"),
        )
        return self

    def __exit__(self, *_: object) -> None:
        end = f"docker kill -s TERM {WATCH} >/dev/null 2>&1; " + _until(f"grep -q '^{{' {_WATCH_LOG}")
        for line in run(self._host, f"{end}; cat {_WATCH_LOG}").text.splitlines():
            if line.startswith("{"):
                self.silent_ms = json.loads(line)["longest_silence_ms"]


def _until(condition: str) -> str:
    """Shell that waits for a condition, five seconds at most."""
    return f"for _ in $(seq 50); do {condition} && break; sleep 0.1; done"
