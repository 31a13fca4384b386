"""What a rehearsal makes of an inventory, before any host is up; which lab is meant when none is named."""

from pathlib import Path
from typing import Any

import pytest

from sipstack import cli
from sipstack.errors import OperatorError
from sipstack.lab import state
from sipstack.lab.wiring import Wiring, host_names, ssh_targets
from sipstack.rehearsal import mode
from sipstack.rehearsal.plan import Plan, lab_for, make_plan
from sipstack.rehearsal.stage import Rehearsal

OTHER = ("other", {"address": "192.0.2.2", "ssh_user": "root"})


@pytest.fixture(autouse=True)
def own_addresses(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The addresses that this machine is taken to have."""
    own: set[str] = set()
    monkeypatch.setattr("sipstack.rehearsal.plan._own_addresses", lambda: own)
    return own


def plan(folder: Path, *hosts: Any, settings: str = "") -> Plan:
    """The plan of an inventory with these hosts in every group."""
    file = folder / "prod.py"
    file.write_text(f"proxies = databases = media = pbx = {list(hosts)!r}\n")
    (folder / "group_data").mkdir(exist_ok=True)
    (folder / "group_data" / "prod.py").write_text(settings)
    return make_plan(file)


def wiring(folder: Path, name: str, **data: Any) -> Wiring:
    """How the one host of an inventory is played."""
    (found,) = plan(folder, (name, data)).wirings.values()
    return found


def refusal(folder: Path, *hosts: Any, settings: str = "") -> str:
    with pytest.raises(OperatorError) as caught:
        plan(folder, *hosts, settings=settings)
    message = str(caught.value)
    assert "\n" not in message and "prod.py" in message
    return message


def test_a_host_has_its_addresses_names_and_way_in(tmp_path: Path) -> None:
    found = wiring(tmp_path, "sip1.example.net", address="192.0.2.1", ssh_hostname="192.0.2.9", ssh_user="root")
    assert found == Wiring(("192.0.2.1", "192.0.2.9"), ("sip1.example.net",), 22, "root")
    found = wiring(tmp_path, "sip1", ssh_hostname="jump.example.net", ssh_user="debian", ssh_port=2222)
    assert found == Wiring((), ("jump.example.net", "sip1"), 2222, "debian")


def test_the_operators_ssh_config_says_what_the_inventory_leaves_out(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("Host sip1\n  User ops\n  Port 2200\n  HostName 192.0.2.99\n")
    found = wiring(tmp_path, "sip1", ssh_config_file=str(config))
    assert (found.ssh_user, found.ssh_port, found.addresses) == ("ops", 2200, ())
    assert wiring(tmp_path, "sip1", ssh_config_file=str(config), ssh_user="root").ssh_user == "root"
    assert wiring(tmp_path, "sip1", ssh_config_file="/nowhere/config").ssh_port == 22


@pytest.mark.parametrize(
    ("name", "called"),
    [
        ("sip1.example.net", "sip1.example.net"),
        ("@ssh/sip1", "sip1"),
        ("SIP_1", "sip-1"),
        ("192.0.2.1", "host-192-0-2-1"),
    ],
)
def test_what_a_host_is_called_here(tmp_path: Path, name: str, called: str) -> None:
    found = plan(tmp_path, (name, {"ssh_user": "root"}))
    assert list(found.wirings) == found.groups["proxies"] == [called]


@pytest.mark.parametrize(
    ("hosts", "said"),
    [
        (["@local"], "@local: only hosts by SSH"),
        ([("sip1", {"address": "sip1.example.net"})], "'sip1.example.net' is not an IPv4 address"),
        ([("sip1", {"ssh_hostname": "127.0.0.1"})], "127.0.0.1 cannot be played"),
        ([("sip1", {"ssh_hostname": "2001:db8::1"})], "'2001:db8::1' cannot be played"),
        ([("sip1", {"address": "192.0.2.2"}), OTHER], "sip1 and other are both reached as 192.0.2.2"),
        ([("sip1", {"sip_prt": 1})], "unknown setting sip_prt"),
        (["sip_1", "sip-1"], "a second host would be called sip-1"),
    ],
)
def test_what_cannot_be_played_is_told(tmp_path: Path, hosts: list[Any], said: str) -> None:
    assert said in refusal(tmp_path, *hosts)


@pytest.mark.parametrize(
    "setting",
    [
        "postgres_host = 'db.example.com'",
        "asterisk_provider = '203.0.113.5:5060'",
        "gateways = ['203.0.113.5:5060']",
        "rtpengines = ['203.0.113.5:2223']",
    ],
)
def test_servers_of_other_people_are_not_asked(tmp_path: Path, setting: str) -> None:
    assert f"{setting.split()[0]} names" in refusal(tmp_path, OTHER, settings=setting)
    if "203.0.113.5" in setting:
        plan(tmp_path, OTHER, settings=setting.replace("203.0.113.5", "192.0.2.2"))


def test_an_address_of_this_machine_is_refused(tmp_path: Path, own_addresses: set[str]) -> None:
    own_addresses.add("192.0.2.2")
    assert "192.0.2.2 is this machine's own" in refusal(tmp_path, OTHER)


@pytest.mark.parametrize(
    ("path", "lab"), [("inventories/prod.py", "rprod"), ("My-Big_Fleet2026.py", "rmybigflee"), ("-.py", "r")]
)
def test_the_lab_is_named_for_the_inventory(path: str, lab: str) -> None:
    assert lab_for(path) == lab


def test_names_and_targets() -> None:
    wired = Wiring(("192.0.2.1",), ("Sip1.example.net",), 2222)
    assert host_names("sip1.example.net", wired, ["sip1.example.net", "sip2"])[:2] == ["sip1.example.net", "sip1"]
    assert "sip1" not in host_names("sip1.example.net", wired, ["sip1.example.net", "sip1.example.org"])
    assert {"192.0.2.1", "[192.0.2.1]:2222", "Sip1.example.net"} <= set(ssh_targets("sip1", "198.51.100.11", wired))


def test_no_rehearsal_overrides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(mode.VARIABLE, raising=False)
    assert mode.overrides() == {}
    monkeypatch.setenv(mode.VARIABLE, "rnosuch")
    with pytest.raises(OperatorError, match="not its network"):
        mode.overrides()
    with pytest.raises(OperatorError, match="a rehearsal already"):
        Rehearsal("inventories/prod.py")


def test_a_command_needs_hosts_that_are_up(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["rehearse", "inventories/nosuch.py", "--", "pyinfra", "--", "true"]) == 1
    assert "run `sipstack rehearse inventories/nosuch.py` first" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main(["lab", "status", "--", "true"])


def test_an_inventory_that_is_refused_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "STATE", tmp_path / "state")
    with pytest.raises(OperatorError, match="no such inventory"):
        Rehearsal(tmp_path / "nosuch.py").up()
    assert not (tmp_path / "state").exists()


def test_which_lab_is_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "STATE", tmp_path)
    monkeypatch.delenv("SIPSTACK_LAB", raising=False)

    def up(folder: str) -> None:
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "hosts.json").write_text("{}")

    def refused() -> str:
        with pytest.raises(OperatorError) as caught:
            state.current_lab()
        return str(caught.value)

    assert "no lab is up" in refused()
    up("lab-rprod")
    assert state.current_lab() == "rprod"
    up("lab-two")
    assert "labs rprod, two are up; set SIPSTACK_LAB" in refused()
    monkeypatch.setenv("SIPSTACK_LAB", "two")
    assert state.current_lab() == "two"
    monkeypatch.setenv("SIPSTACK_LAB", "three")
    assert "no lab 'three' is up" in refused()
    monkeypatch.delenv("SIPSTACK_LAB")
    up("lab")
    assert state.current_lab() == "lab"
