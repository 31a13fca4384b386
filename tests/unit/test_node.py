"""The inventory as a whole, before any host is looked at: pyinfra's own Inventory, no connection."""

import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyinfra.api.exceptions import DeployError
from pyinfra.api.inventory import Inventory

from sipstack import site
from sipstack.database.provision import wanted_subscribers
from sipstack.deploys.preflight import media_faults, ssh_faults
from sipstack.facts.system import Machine, MachineFact
from sipstack.node import Node
from sipstack.paths import ROOT
from sipstack.services import release

Nodes = Callable[..., dict[str, Node]]
ROLES = ("databases", "media", "pbx", "proxies")


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Nodes:
    """Nodes of the given groups (name -> names of hosts, or (name, data)) and settings."""
    monkeypatch.setattr(site, "STATE", tmp_path)
    for name in ("POSTGRES_PASSWORD", "POSTGRES_OWNER_PASSWORD", "POSTGRES_ADMIN_PASSWORD", "AUTH_SECRET"):
        monkeypatch.delenv(f"SIPSTACK_SECRET_{name}", raising=False)
    defaults = {k: v for k, v in runpy.run_path(str(ROOT / "group_data/all.py")).items() if not k.startswith("__")}

    def make(groups: dict[str, list[Any]], **settings: Any) -> dict[str, Node]:
        hosts: dict[str, dict[str, Any]] = {}
        for host in (host for members in groups.values() for host in members):
            name, data = host if isinstance(host, tuple) else (host, {})
            number = len(hosts) + 1
            hosts.setdefault(name, {"address": f"192.0.2.{number}", "state": "unit", **data})
        named: dict[str, Any] = {
            group: ([member[0] if isinstance(member, tuple) else member for member in members], {})
            for group, members in groups.items()
        }
        inventory = Inventory((list(hosts.items()), {**defaults, **settings}), **named)  # type: ignore[no-untyped-call]
        made = site.all_nodes(inventory)
        assert site.all_nodes(inventory) is made  # what the second host of a run gets
        return dict(made)

    return make


def box(*hosts: Any) -> dict[str, list[Any]]:
    return {role: list(hosts) for role in ROLES}


def test_one_host_for_everything_keeps_its_parts_on_loopback(nodes: Nodes) -> None:
    node = nodes(box("one"))["one"]
    assert node.database.host == "127.0.0.1"
    assert node.rtpengines == ["udp:127.0.0.1:2223"]
    assert node.provisions_database


def test_a_fleet(nodes: Nodes) -> None:
    fleet = nodes({"databases": ["db"], "media": ["m1", "m2"], "pbx": ["pbx"], "proxies": ["p1"]})
    assert fleet["p1"].database.host == fleet["db"].address
    assert fleet["db"].database.remote_peers == (fleet["p1"].address,)
    assert fleet["p1"].rtpengines == [f"udp:{fleet[name].address}:2223" for name in ("m1", "m2")]
    assert [name for name, node in fleet.items() if node.provisions_database] == ["db"]


@pytest.mark.parametrize(
    ("groups", "settings", "message"),
    [
        ({**box("a"), "proxy": ["b"]}, {}, "b: group proxy is not known: did you mean proxies?"),
        (
            {**box("a"), "moscow": ["b"]},
            {},
            "b is in none of the groups databases, media, pbx, proxies: put it into one",
        ),
        ({"databases": ["a"], "media": ["a"], "pbx": ["a"]}, {}, "no host in group proxies: add one"),
        (
            {"databases": ["a"], "proxies": ["a"], "pbx": ["a"]},
            {},
            "no host in group media: add one, or set rtpengines",
        ),
        ({**box("a"), "databases": ["a", "b"]}, {}, "only one is supported, keep one"),
        (box("a"), {"postgres_host": "192.0.2.9"}, "keep one of the two"),
        (box(("a", {"address": "192.0.2.300"})), {}, "a: address '192.0.2.300' is not the IPv4 address of a host"),
        (box(("a", {"address": "sip_1"})), {}, "a: address 'sip_1' is not the IPv4 address of a host"),
        (box(("a", {"address": "0.0.0.0"})), {}, "a: address '0.0.0.0' is not the IPv4 address of a host"),
        (
            {**box("a"), "media": ["a", ("b", {"address": "192.0.2.1"})]},
            {},
            "a and b have the same address 192.0.2.1: set `address` for each",
        ),
        (
            {**box("a"), "media": ["a", ("b", {"sip_domain": "other.example"})]},
            {},
            "sip_domain is 'vss.internal' for a and 'other.example' for b: set it once, for all hosts",
        ),
        ({**box("a"), "media": ["a", ("b", {"state": "other"})]}, {}, "give all hosts the same `state`"),
        ({**box("a"), "media": ["a", ("b", {"log_mbs": 1})]}, {}, "b: unknown setting log_mbs: did you mean log_mb?"),
        ({**box("a"), "media": ["a", "b"]}, {"log_mbs": 1}, "a, b: unknown setting log_mbs"),
        (box("a"), {"slots_auto": [6001, 6001]}, "6001 is in 6001 and again in 6001: write it once"),
        (box("a"), {"slots_auto": [6000]}, "6000 is reserved for the probe user"),
        (box("a"), {"slot_numbers_mf": "6500-6600"}, "overlap"),
    ],
)
def test_what_does_not_add_up_is_refused(
    nodes: Nodes, groups: dict[str, list[Any]], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(DeployError) as caught:
        nodes(groups, **settings)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_groups_of_ones_own_are_welcome_beside_the_roles(nodes: Nodes) -> None:
    nodes({**box("a"), "proxies_east": ["a"], "moscow": ["a"]})


def test_hosts_may_differ_in_what_is_their_own(nodes: Nodes) -> None:
    fleet = nodes({**box("a"), "media": ["a", ("b", {"rtp_port_min": 32000, "log_mb": 20})]})
    assert fleet["b"].settings.rtp_port_min == 32000


def test_the_passwords_of_a_database_of_ones_own_are_the_operators(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = {"media": ["a"], "pbx": ["a"], "proxies": ["a"]}
    for name in ("POSTGRES_PASSWORD", "POSTGRES_OWNER_PASSWORD", "POSTGRES_ADMIN_PASSWORD"):
        with pytest.raises(DeployError, match=f"missing: set the environment variable SIPSTACK_SECRET_{name}"):
            nodes(groups, postgres_host="192.0.2.9")
        monkeypatch.setenv(f"SIPSTACK_SECRET_{name}", "something")
    assert nodes(groups, postgres_host="192.0.2.9")["a"].database.external
    monkeypatch.delenv("SIPSTACK_SECRET_POSTGRES_ADMIN_PASSWORD")
    nodes(groups, postgres_host="192.0.2.9", postgres_admin="")


def test_damaged_passwords_are_refused_before_anything_else(nodes: Nodes, tmp_path: Path) -> None:
    nodes(box("a"))["a"].secrets.keep()
    (tmp_path / "unit" / "slots.json").write_text("{")
    with pytest.raises(DeployError, match="damaged"):
        nodes(box("a"))


def test_a_large_csv_is_read_once_a_run(nodes: Nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "slots.csv"
    file.write_text("number,password\n" + "".join(f"{number},password-{number}\n" for number in range(600000, 620000)))
    reads: list[Path] = []
    read_bytes = Path.read_bytes

    def counted(self: Path) -> bytes:
        reads.append(self)
        return read_bytes(self)

    monkeypatch.setattr(Path, "read_bytes", counted)
    groups = {**box("a"), "media": [f"m{number}" for number in range(20)]}
    fleet = nodes(groups, slots_csv=str(file), slot_numbers_auto="6001-6999, 600000-699999")
    assert reads.count(file) == 1
    assert len(wanted_subscribers(fleet["m3"])) == 20042


def test_each_proxy_signs_its_own_nonces(nodes: Nodes) -> None:
    """Only the one that made a nonce knows whether it was used; elsewhere it is no nonce at all."""
    fleet = nodes({**box("p1"), "proxies": ["p1", "p2"]})
    everyone = list(fleet.values())
    services = [release(node, Machine(), everyone).service("kamailio") for node in everyone]
    secrets = [file.content for service in services if service for file in service.files if "secrets.cfg" in file.path]
    assert len(set(secrets)) == 2


def test_the_addresses_of_the_system_are_no_phones(nodes: Nodes) -> None:
    groups = {"databases": ["d1"], "media": ["m1"], "proxies": ["p1"]}
    node = nodes(groups, gateways=["198.51.100.7:5060"], rtpengines=["198.51.100.8:2223", "m:22"])["p1"]
    assert node.own_addresses == {
        **{f"192.0.2.{number}": name for number, name in enumerate(("d1", "m1", "p1"), 1)},
        "198.51.100.8": "settings",
    }


def test_no_repr_shows_a_secret(nodes: Nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIPSTACK_SECRET_AUTH_SECRET", "of the operator")
    node = nodes(box("a"))["a"]
    node.secrets.keep()
    shown = repr(node) + repr(node.slots) + repr(wanted_subscribers(node))
    kept = [json.loads((tmp_path / "unit" / name).read_text()) for name in ("secrets.json", "slots.json")]
    secrets = ["of the operator", *(value for file in kept for value in file.values())]
    hashes = [text for user in wanted_subscribers(node) for text in (user.ha1, user.ha1b)]
    assert not [secret for secret in (*secrets, *hashes) if secret in shown]


@pytest.mark.parametrize(
    ("settings", "files", "said"),
    [
        ({}, None, None),
        ({"kamailio_calls": 2500}, 20_000, None),
        ({"kamailio_calls": 2501}, None, "rtp_port_min to rtp_port_max are 10000 ports, enough for 2500 calls"),
        ({"kamailio_calls": 5000, "rtp_port_max": 59_999}, None, None),
        (
            {"kamailio_calls": 5000, "rtp_port_max": 59_999},
            20_000,
            "it lets a process open 20000 files, enough for 4975",
        ),
        ({"kamailio_calls": 5000, "rtpengines": ["192.0.2.9:2223"]}, None, None),
    ],
)
def test_the_calls_of_a_proxy_fit_into_the_rtpengines(
    nodes: Nodes, settings: dict[str, Any], files: int | None, said: str | None
) -> None:
    faults = media_faults(Machine(open_files=files), nodes(box("one"), **settings)["one"])
    assert [fault.startswith(said or "") for fault in faults] == ([True] if said else [])


def test_what_an_engine_gives_of_open_files_is_not_exceeded(nodes: Nodes) -> None:
    """Docker would not start the container."""
    node = nodes(box("one"))["one"]
    compose = release(node, Machine(open_files=20_000), [node]).compose.content.decode()
    assert "nofile: 20000\n" in compose
    assert "nofile: 100000\n" in release(node, Machine(open_files=1_048_576), [node]).compose.content.decode()


@pytest.mark.parametrize(
    ("printed", "said"),
    [
        ([], ""),
        (["Welcome, uid=7", ""], "its shell prints 'Welcome, uid=7' before every command"),
        (["ssh_lacks=sftp"], ""),  # that is a greeting, too
    ],
)
def test_what_a_shell_prints_before_a_command_is_told_from_its_answer(
    nodes: Nodes, printed: list[str], said: str
) -> None:
    machine = MachineFact().process([*printed, "BEGIN", "uid=0", "system=debian"])
    assert (machine.uid, machine.system, machine.ssh_lacks) == (0, "debian", set())
    faults = ssh_faults(machine, nodes(box("one"))["one"])
    assert bool(faults) == bool(printed)
    assert all(fault.startswith(said) for fault in faults)


def test_what_sshd_does_not_offer_is_named_where_it_is_needed(nodes: Nodes) -> None:
    fleet = nodes({"databases": ["db"], "media": ["m"], "pbx": ["m"], "proxies": ["p"]})
    machine = MachineFact().process(["BEGIN", *(f"ssh_lacks={what}" for what in ("sftp", "sessions", "forwarding"))])
    assert [len(ssh_faults(machine, fleet[name])) for name in ("db", "m", "p")] == [3, 2, 2]
