"""Reading an inventory: with the real pyinfra, against files of all kinds that operators may give."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sipstack import inventory, site
from sipstack.errors import OperatorError
from sipstack.inventory import load
from sipstack.ssh import Connections

# Every host is also in the group that is named like the file, and secrets lie under `state`.
TWO_HOSTS = """
databases = [("north", {"address": "192.0.2.1", "state": "two", "ssh_port": 2222})]
media = proxies = databases
pbx = [*databases, ("south", {"address": "192.0.2.2", "state": "two"})]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where inventories are written; the secrets of a deploy from here are in it."""
    state = tmp_path / "state"
    monkeypatch.setattr(inventory, "STATE", state)
    monkeypatch.setattr(site, "STATE", state)
    store = state / "two"
    store.mkdir(parents=True, mode=0o700)
    (store / "slots.json").write_text(json.dumps({"slot_6000": "first-probe", "slot_7000": "second-probe"}))
    (store / "slots.json").chmod(0o600)
    return tmp_path


def write(folder: Path, text: str, name: str = "prod.py") -> Path:
    file = folder / name
    file.write_text(text)
    return file


def refusal(path: Path, *limit: str) -> str:
    with pytest.raises(OperatorError) as caught:
        load(path, limit)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_hosts_with_their_settings(folder: Path) -> None:
    found = load(write(folder, TWO_HOSTS))
    north, south = found.hosts
    assert found.everyone == found.hosts
    assert {"databases", "media", "pbx", "proxies", "prod"} <= set(north.groups)
    assert north.node.settings.sip_domain == "vss.internal", "from group_data/all.py"
    assert south.node.database.host == "192.0.2.1", "the Node of one host knows the others"
    assert north.data["ssh_port"] == 2222


@pytest.mark.parametrize(
    ("limit", "names"),
    [(["south"], ["south"]), (["databases"], ["north"]), (["s*", "north"], ["north", "south"])],
)
def test_limit(folder: Path, limit: list[str], names: list[str]) -> None:
    found = load(write(folder, TWO_HOSTS), limit)
    assert [entry.name for entry in found.hosts] == names
    assert [entry.name for entry in found.everyone] == ["north", "south"]
    assert len(found.hosts[0].node.members) == 2, "a limit does not change what a host is to be"


def test_limit_that_matches_nothing(folder: Path) -> None:
    path = write(folder, TWO_HOSTS)
    assert "limit 'nothing' matches no host" in refusal(path, "nothing")
    assert "limit 'nothing' matches no host" in refusal(path, "north", "nothing")


def test_missing_file(folder: Path) -> None:
    write(folder, TWO_HOSTS)
    assert f"did you mean {folder / 'prod.py'}?" in refusal(folder / "prd.py")


def test_no_hosts(folder: Path) -> None:
    assert "no hosts in" in refusal(write(folder, "proxies = []\n"))


def test_python_that_is_none(folder: Path) -> None:
    assert "SyntaxError" in refusal(write(folder, "proxies = [(\n"))


def test_setting_that_is_refused(folder: Path) -> None:
    path = write(folder, TWO_HOSTS.replace('"address": "192.0.2.2"', '"address": "192.0.2.2", "sip_prt": 5060'))
    assert "south: unknown setting sip_prt: did you mean sip_port?" in refusal(path)


def test_before_the_first_deploy(folder: Path) -> None:
    store = folder / "state" / "two" / "slots.json"
    store.unlink()
    assert "no password of slot_6000 in it: the deploy has to run from here first" in refusal(write(folder, TWO_HOSTS))
    assert not store.exists(), "nothing is generated for a system that is not there"


def ssh_options(name: str, **data: object) -> dict[str, str]:
    """What OpenSSH understands of the configuration for a host."""
    with Connections([(name, data)]) as connections:
        file = connections.ssh_config(name)
        target = str(data.get("ssh_hostname", name))
        done = subprocess.run(["ssh", "-G", "-F", str(file), target], capture_output=True, text=True, check=True)
    return dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)


def test_ssh_options(folder: Path) -> None:
    own = write(folder, "Host far\n  ProxyJump gate\n  User nobody\n", "config")
    data = {
        "ssh_hostname": "far",
        "ssh_port": 2222,
        "ssh_user": "root",
        "ssh_key": "/keys/a",
        "ssh_config_file": str(own),
    }
    found = ssh_options("sip1", ssh_known_hosts_file="/keys/known hosts", ssh_strict_host_key_checking="yes", **data)
    assert (found["hostname"], found["port"], found["user"]) == ("far", "2222", "root")
    assert (found["identityfile"], found["identitiesonly"]) == ("/keys/a", "yes")
    assert (found["stricthostkeychecking"], found["batchmode"]) == ("true", "yes")
    assert found["userknownhostsfile"].startswith("/keys/known")
    assert found["proxyjump"] == "gate", "the operator's own file adds to it"


def test_unknown_connector() -> None:
    with Connections([("@docker/thing", {})]) as connections, pytest.raises(OperatorError, match="only hosts by SSH"):
        connections.run("@docker/thing", "true")


@pytest.fixture
def local() -> Iterator[Connections]:
    with Connections([("@local", {})]) as connections:
        yield connections


def test_this_machine(local: Connections) -> None:
    done = local.run("@local", "cat; exit 3", stdin="hello")
    assert (done.stdout, done.returncode) == ("hello", 3)
    assert local.testinfra("@local").file(sys.executable).exists


def test_command_without_end(local: Connections) -> None:
    with pytest.raises(OperatorError, match="no end of `sleep 60` within"):
        local.run("@local", "sleep 60", seconds=0.1)


def test_unreachable_host() -> None:
    # Nothing listens on this port of loopback.
    data = {"ssh_hostname": "127.0.0.1", "ssh_port": 1}
    with Connections([("lost", data)]) as connections, pytest.raises(OperatorError, match=r"lost: no SSH: .*refused"):
        connections.run("lost", "true")


def test_a_lost_host_is_not_waited_for_again(local: Connections) -> None:
    with pytest.raises(OperatorError, match="no end of `sleep 60`"):
        local.run("@local", "sleep 60", seconds=0.1)
    with pytest.raises(OperatorError, match="no end of `sleep 60`"):
        local.run("@local", "true")
