"""The trial: a release runs beside the one that serves, on another port, with tables of its own, and takes calls.

What it writes is gone afterwards, and the running proxy is not touched.
"""

import re
import secrets
import time

from pyinfra.api.host import Host

from sipstack.database.own_tables import create_trial, drop_trial
from sipstack.database.session import as_owner, database_host
from sipstack.errors import OperatorError
from sipstack.node import Node
from sipstack.oci import in_proxy
from sipstack.rollout.proof import prove
from sipstack.rollout.report import REPORT
from sipstack.rollout.shell import run
from sipstack.services import Release

START_SECONDS = 20
CONTAINER = "vss-kamailio-trial"


def try_out(host: Host, node: Node, release: Release) -> None:
    """Try a release on one host. Raises OperatorError with what is wrong with it."""
    begun = time.monotonic()
    compose = f"docker compose --progress quiet -f {release.compose.path} --profile trial"
    try:
        # The trial has no peers; what concerns them is checked here, where nothing is opened.
        peers = f"-e PEER_PORT={node.settings.proxy_peer_port}" if node.peers else ""
        checked = run(host, f"{compose} run --rm -T {peers} kamailio-trial check")
        if not checked.ok:
            raise _refused(host, release, "its configuration has errors", checked.text.splitlines()[-12:])
        _boot_and_call(host, node, release, compose)
    finally:
        run(host, f"{compose} rm --stop --force --volumes kamailio-trial")
    host.log_styled(f"release {release.name} took calls on trial ({time.monotonic() - begun:.0f} s)", fg="green")


def _boot_and_call(host: Host, node: Node, release: Release, compose: str) -> None:
    schema, role = node.me.trial_schema, node.settings.postgres_user
    through, database_node = database_host(host)
    with as_owner(through, database_node) as conn:
        create_trial(conn, schema, role, node.destinations)
    try:
        # rtpengine tells the questions of several proxies apart by their number: one that it has never heard.
        number = 2_000_000_001 + secrets.randbelow(100_000_000)
        up = f"{compose} up -d --wait --wait-timeout {START_SECONDS} kamailio-trial"
        started = run(host, f"TRIAL_SERVER_ID={number} {up}")
        if not started.ok:
            # What it tells of its good beginning, and each worker of its end, hides the reason.
            log = run(host, f"docker logs {CONTAINER} 2>&1 | grep -v ' INFO: ' | tail -n 12").text
            raise _refused(host, release, "it does not start", log.splitlines())
        if faults := prove(host, node, node.settings.trial_port, schema):
            _blame(host, node, release, faults)
    finally:
        with as_owner(through, database_node) as conn, conn.transaction():
            drop_trial(conn, schema)


def _blame(host: Host, node: Node, release: Release, faults: list[str]) -> None:
    """Refuse the release, unless nothing that it asks is there yet for anybody: then it may be what brings that.

    As when both Asterisks are broken, or move to another address. Asked of the running proxy, without a call.
    """
    said = run(host, f"{in_proxy('kamcmd dispatcher.list')}; {in_proxy('kamcmd rtpengine.show all')}").text
    gateways = {uri for uri, state in re.findall(r"URI: (\S+)\s+FLAGS: (\w)", said) if state == "A"}
    relays = {url for url, off in re.findall(r"url: (\S+).*?disabled: (\d)", said, re.DOTALL) if off == "0"}
    known = "URI: " in said and "url: " in said
    if not known or (gateways & {one.destination for one in node.gateways} and relays & set(node.rtpengines)):
        raise _refused(host, release, "it does not serve calls", faults)
    why = "no gateway or no rtpengine of this release answers now, so the trial says nothing"
    host.log_styled(f"{why}: {'; '.join(faults)}", fg="yellow")


def _refused(host: Host, release: Release, why: str, lines: list[str]) -> OperatorError:
    REPORT.refused(host.name, release.name, why, lines)
    said = "".join(f"\n    {line}" for line in lines)
    return OperatorError(f"release {release.name} is refused, {why}; nothing that serves was touched{said}")
