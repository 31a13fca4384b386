"""Each part does its own work: control socket, schema and rights, media relay, gateways."""

import re
import time

import pytest

from sipstack.database.provision import SQL
from sipstack.database.schema import KAMAILIO_VERSIONS, migrations
from sipstack.watch import SERVICE
from tests.verify.server import NotServed, Server

# The proxies look at their gateways every 5 seconds (ds_ping_interval in files/kamailio/etc/parameters.cfg).
GATEWAY_SECONDS = 8.0


@pytest.mark.needs("kamailio")
def test_control_socket(proxy: Server) -> None:
    """`kamcmd core.ping` says pong, and a command that does not exist fails: so the pong means something."""
    kamailio = proxy.part("kamailio")
    answer = kamailio.run("kamcmd", "core.ping").strip()
    assert answer == "pong", f"{kamailio}: kamcmd core.ping prints {answer!r}, not pong"
    try:
        kamailio.run("kamcmd", "core.nonsense")
    except NotServed:
        return
    raise AssertionError(f"{kamailio}: kamcmd exits 0 on a command that does not exist")


@pytest.mark.needs("kamailio")
def test_the_database_is_watched(proxy: Server) -> None:
    """Else a silent one holds up the proxy."""
    watch = proxy.host.service(SERVICE)
    assert watch.is_running and watch.is_enabled, f"{proxy.name}: {SERVICE} does not run: deploy again"


@pytest.mark.needs("postgres", "kamailio")
def test_table_versions(proxy: Server) -> None:
    """Table `version` says what Kamailio's modules want to read there."""
    rows = {name: int(number) for name, number in _ask(proxy, "SELECT table_name, table_version FROM version")}
    for name, number in KAMAILIO_VERSIONS.items():
        found = rows.get(name, "absent")
        assert found == number, f"{proxy.name}: table {name} is of version {found}, Kamailio wants {number}: deploy"


@pytest.mark.needs("postgres", "kamailio")
def test_schema(proxy: Server) -> None:
    """The newest file of the schema is in the database."""
    newest = migrations(SQL)[-1]
    recorded = _ask(proxy, "SELECT number, name FROM schema_migration ORDER BY number DESC LIMIT 1")
    assert recorded == [[str(newest.number), newest.name]], (
        f"{proxy.name}: the database has schema {' '.join(recorded[0]) if recorded else 'none'}, "
        f"this project {newest.name}: deploy"
    )


@pytest.mark.needs("postgres", "kamailio")
def test_proxy_cannot_change_the_schema(proxy: Server) -> None:
    role = proxy.node.settings.postgres_user
    try:
        # Were it allowed, it would be undone at once.
        _ask(proxy, "BEGIN; CREATE TABLE public.verification_probe (); ROLLBACK;")
    except NotServed as error:
        assert "permission denied" in str(error), str(error)
        return
    raise AssertionError(f"{proxy.name}: role {role} may create tables: deploy again, which takes the right from it")


@pytest.mark.needs("rtpengine", "kamailio")
def test_media_relays(proxy: Server) -> None:
    """Every rtpengine answers a ping of the ng protocol, asked from where the proxy asks, and the proxy uses it."""
    for where in proxy.node.rtpengines:
        address, _, port = where.removeprefix("udp:").rpartition(":")
        ask = f"exec 3<>/dev/udp/{address}/{port}; printf 'verify d7:command4:pinge' >&3; "
        ask += "timeout 3 dd bs=2048 count=1 status=none <&3 | tr -d '\\0' || true"
        answer = proxy.part("kamailio").run("bash", "-c", ask, title="ping of rtpengine")
        assert "pong" in answer, f"{proxy.name}: rtpengine at {address}:{port} does not answer a ping"
    listed = proxy.part("kamailio").run("kamcmd", "rtpengine.show", "all")
    for where, aside in re.findall(r"url: (\S+).*?disabled: (\S+)", listed, re.DOTALL):
        assert aside == "0", (
            f"{proxy.name}: Kamailio has put rtpengine {where} aside: it tries it again by itself later"
        )


@pytest.mark.needs("asterisk", "kamailio")
def test_gateways(proxy: Server) -> None:
    """The proxy has every gateway, and finds it active: at once, or at its next look."""
    deadline = time.monotonic() + GATEWAY_SECONDS
    while (fault := _gateway_fault(proxy)) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert not fault, f"{proxy.name}: {fault}"


def _gateway_fault(proxy: Server) -> str:
    listed = proxy.part("kamailio").run("kamcmd", "dispatcher.list")
    flags = dict(re.findall(r"URI: (\S+)\s+FLAGS: (\w+)", listed))
    for gateway in proxy.node.gateways:
        found = flags.get(gateway.destination)
        if found is None:
            return f"gateway {gateway.destination} is unknown to Kamailio: deploy again"
        # First letter: Active, Inactive, Disabled, Trying (module dispatcher, RPC dispatcher.list).
        if not found.startswith("A"):
            return f"gateway {gateway.destination} does not answer ({found})"
    return ""


def _ask(proxy: Server, query: str) -> list[list[str]]:
    return proxy.part("kamailio").as_proxy(query)
