"""Which hosts watch the database, and which one they watch."""

from hashlib import sha256

from sipstack.facts.watch import Watch
from sipstack.node import Node
from sipstack.operations.watch import is_watching
from sipstack.watch import PROGRAM, UNIT, files
from tests.unit import test_node
from tests.unit.test_node import Nodes, box

nodes = test_node.nodes
FLEET = {"proxies": ["p1"], "databases": ["db"], "media": ["m1"], "pbx": ["pbx"]}


def unit(node: Node) -> str:
    return files(node)[UNIT][0].decode()


def test_the_hosts_of_proxies_watch_the_database_that_they_ask(nodes: Nodes) -> None:
    fleet = nodes(FLEET)
    assert [name for name, node in fleet.items() if files(node)] == ["p1"]
    assert f"ExecStart={PROGRAM} {fleet['db'].address} 5432 5060 2\n" in unit(fleet["p1"])
    assert f"ExecStart={PROGRAM} 127.0.0.1 5432 5060 2\n" in unit(nodes(box("one"))["one"])


def test_it_is_as_it_should_be_only_if_nothing_lacks(nodes: Nodes) -> None:
    wanted = files(nodes(box("one"))["one"])
    state = Watch().process(["enabled", "active", *(f"{'0' * 64}  {path}" for path in wanted)])
    assert not is_watching(state, wanted)
    state.files = {path: sha256(content).hexdigest() for path, (content, _) in wanted.items()}
    assert is_watching(state, wanted)
    state.active = False
    assert not is_watching(state, wanted)
