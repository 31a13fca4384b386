"""Verification: the checks of this folder over the hosts of an inventory.

pytest tests/verify --inventory inventories/prod.py [--limit PATTERN]
"""

from collections.abc import Generator
from contextlib import ExitStack
from pathlib import Path

import pytest

from sipstack.errors import OperatorError
from sipstack.firewall import peer_ports
from sipstack.inventory import Inventory, load
from sipstack.node import LOOPBACK
from sipstack.ssh import Connections
from tests.verify.blame import LOG_LINES, advice, describe, suspects
from tests.verify.server import Part, Server


class Deployment:
    """The inventory under verification. `servers` has all hosts, `chosen` those that are to be verified."""

    def __init__(self, inventory: Inventory, connections: Connections) -> None:
        self.servers = {entry.name: Server(entry, connections) for entry in inventory.everyone}
        self.chosen = [self.servers[entry.name] for entry in inventory.hosts]
        # The parts whose log was shown: once is enough.
        self.shown: set[str] = set()


DEPLOYMENT = pytest.StashKey[Deployment]()
CLOSING = pytest.StashKey[ExitStack]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("verification")
    group.addoption("--inventory", metavar="PATH", help="the inventory to verify, such as inventories/prod.py")
    group.addoption("--limit", action="append", default=[], metavar="PATTERN", help="only these hosts or groups")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """A run of other tests, which has no inventory, leaves this folder alone."""
    return None if DEPLOYMENT in config.stash else True


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(*parts): the parts that a check needs, the likeliest culprit first")


def pytest_sessionstart(session: pytest.Session) -> None:
    config = session.config
    if not (path := config.getoption("inventory", None)):
        raise pytest.UsageError("no inventory: add --inventory inventories/prod.py")
    config.stash[CLOSING] = ExitStack()
    try:
        inventory = load(Path(config.invocation_params.dir, path), config.getoption("limit"))
    except OperatorError as error:
        raise pytest.UsageError(str(error)) from None
    connections = Connections((entry.name, entry.data) for entry in inventory.everyone)
    config.stash[CLOSING].enter_context(connections)
    config.stash[DEPLOYMENT] = Deployment(inventory, connections)


def pytest_unconfigure(config: pytest.Config) -> None:
    if stack := config.stash.get(CLOSING, None):
        stack.close()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    chosen = metafunc.config.stash[DEPLOYMENT].chosen
    parts = [part for server in chosen for part in server.parts]
    proxies = [server for server in chosen if server.node.has("proxies")]
    if "part" in metafunc.fixturenames and "listener" in metafunc.fixturenames:
        pairs = [(part, listener) for part in parts for listener in part.listeners]
        ids = [f"{part.server.name}-{part.name}-{listener}" for part, listener in pairs]
        metafunc.parametrize(("part", "listener"), pairs, ids=ids)
    elif "private_part" in metafunc.fixturenames:
        private = [part for part in parts if {listener.address for listener in part.listeners} == {LOOPBACK}]
        metafunc.parametrize("private_part", private, ids=[f"{part.server.name}-{part.name}" for part in private])
    elif "part" in metafunc.fixturenames:
        metafunc.parametrize("part", parts, ids=[f"{part.server.name}-{part.name}" for part in parts])
    elif "neighbour" in metafunc.fixturenames:
        # Each proxy with the one after it: a ring, so that every proxy calls and is called.
        servers = metafunc.config.stash[DEPLOYMENT].servers.values()
        everyone = [server for server in servers if server.node.has("proxies")]
        ring = dict(zip((server.name for server in everyone), everyone[1:] + everyone[:1], strict=True))
        neighbours = [(proxy, ring[proxy.name]) for proxy in proxies if len(everyone) > 1]
        metafunc.parametrize(
            ("proxy", "neighbour"), neighbours, ids=[f"{one.name}-{other.name}" for one, other in neighbours]
        )
    elif "peer_port" in metafunc.fixturenames:
        ports = [(server, port) for server in chosen for port in peer_ports(server.node)]
        names = [f"{server.name}-{port.number}-{port.transport}" for server, port in ports]
        metafunc.parametrize(("server", "peer_port"), ports, ids=names)
    elif "proxy" in metafunc.fixturenames:
        metafunc.parametrize("proxy", proxies, ids=[server.name for server in proxies], scope="module")
    elif "server" in metafunc.fixturenames:
        metafunc.parametrize("server", chosen, ids=[server.name for server in chosen])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A check of what this inventory does not have is no check: pytest would call it skipped."""
    items[:] = [
        item
        for item in items
        if not any("empty parameter set" in mark.kwargs.get("reason", "") for mark in item.iter_markers("skip"))
    ]


@pytest.fixture(scope="session")
def deployment(request: pytest.FixtureRequest) -> Deployment:
    return request.config.stash[DEPLOYMENT]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed check says what is wrong, with which part, and what that part logged; not where in our code."""
    report = yield
    arguments = item.callspec.params  # type: ignore[attr-defined]  # every check is parametrised
    subject = next(value for value in arguments.values() if isinstance(value, Part | Server))
    report.user_properties.append(("host", subject.server.name if isinstance(subject, Part) else subject.name))
    if report.failed and call.excinfo:
        words = [str(call.excinfo.value).split("\nassert ")[0]]
        try:
            parts = _suspects(item, subject)
            if not parts:
                report.user_properties.append(("check", item.name))
            for part in parts:
                words.append(f"{describe(part)}: {advice(part)}")
                # The last line of all is about parts that do not serve, else about the checks that failed.
                report.user_properties.append(("check", item.name) if part.serves else ("fault", describe(part)))
                _show_log(report, item, part)
        except (AssertionError, OperatorError, RuntimeError) as error:
            # The host itself is out of reach, and the failure has said so.
            report.user_properties.append(("fault", str(error)))
        if isinstance(call.excinfo.value, AssertionError | OperatorError):
            report.longrepr = "\n".join(words) + "\n"
    return report


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    """A check whose fixture fails has failed: it is no error of the verification."""
    return ("failed", "F", "FAILED") if report.failed else None


def _suspects(item: pytest.Item, subject: Part | Server) -> list[Part]:
    if isinstance(subject, Part):
        return [subject]
    marker = item.get_closest_marker("needs")
    return suspects(subject, marker.args if marker else (), item.config.stash[DEPLOYMENT].servers)


def _show_log(report: pytest.TestReport, item: pytest.Item, part: Part) -> None:
    shown = item.config.stash[DEPLOYMENT].shown
    if str(part) not in shown:
        shown.add(str(part))
        report.sections.append((f"last {LOG_LINES} log lines of {part}", part.logs(LOG_LINES)))
