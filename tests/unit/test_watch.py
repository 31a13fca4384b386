"""Which hosts watch the database, and which one they watch."""

from hashlib import sha256

from sipstack.facts.watch import Watch
from sipstack.node import Node
from sipstack.operations.watch import is_watching
from sipstack.watch import PROGRAM, REVIVER_SERVICE, REVIVER_UNIT, SERVICE, UNIT, files, services
from tests.unit import test_node
from tests.unit.test_node import Nodes, box

nodes = test_node.nodes
FLEET = {"proxies": ["p1"], "databases": ["db"], "media": ["m1"], "pbx": ["pbx"]}


def unit(node: Node) -> str:
    return files(node)[UNIT][0].decode()


def test_the_hosts_of_proxies_watch_the_database_that_they_ask(nodes: Nodes) -> None:
    fleet = nodes(FLEET)
    assert [name for name, node in fleet.items() if SERVICE in services(node)] == ["p1"]
    assert [name for name, node in fleet.items() if UNIT in files(node)] == ["p1"]
    assert f"ExecStart={PROGRAM} {fleet['db'].address} 5432 5060 2\n" in unit(fleet["p1"])
    assert f"ExecStart={PROGRAM} 127.0.0.1 5432 5060 2\n" in unit(nodes(box("one"))["one"])


def test_on_every_host_what_docker_gives_up_comes_back(nodes: Nodes) -> None:
    assert all(REVIVER_SERVICE in services(node) and REVIVER_UNIT in files(node) for node in nodes(FLEET).values())


def test_it_is_as_it_should_be_only_if_nothing_lacks(nodes: Nodes) -> None:
    node = nodes(box("one"))["one"]
    wanted, units = files(node), services(node)
    said = [f"{word} {one}" for word in ("enabled", "active") for one in units]
    state = Watch().process([*said, *(f"{'0' * 64}  {path}" for path in wanted)])
    assert not is_watching(state, wanted, units)
    state.files = {path: sha256(content).hexdigest() for path, (content, _) in wanted.items()}
    assert is_watching(state, wanted, units)
    state.active = {SERVICE}
    assert not is_watching(state, wanted, units)


def test_what_a_host_has_no_more_is_not_left(nodes: Nodes) -> None:
    """A proxy that became a host of something else."""
    fleet = nodes(FLEET)
    had, wanted = files(fleet["p1"]), files(fleet["db"])
    state = Watch().process([f"{word} {one}" for word in ("enabled", "active") for one in services(fleet["p1"])])
    state.files = {path: sha256(content).hexdigest() for path, (content, _) in had.items()}
    assert not is_watching(state, wanted, services(fleet["db"]))
