"""What a host is to run, and what it restarts for: no host needed, for both follow from the settings."""

import runpy
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from sipstack.facts.engine import Container, FileState
from sipstack.facts.releases import KeptRelease
from sipstack.facts.system import Machine
from sipstack.node import Member, Node
from sipstack.operations.release import edited, reads_other, why_restart
from sipstack.paths import HOME, ROOT
from sipstack.secrets import SecretStore
from sipstack.services import Release, Service, release
from sipstack.settings import parse
from sipstack.site import numbering_plan

ROLES = frozenset(("databases", "media", "pbx", "proxies"))
Releases = Callable[..., Release]


@pytest.fixture
def releases(tmp_path: Path) -> Releases:
    """The release of one host with all roles, with these settings."""
    defaults = {k: v for k, v in runpy.run_path(str(ROOT / "group_data/all.py")).items() if not k.startswith("__")}

    def make(**changes: Any) -> Release:
        settings = parse({**defaults, **changes})
        me = Member("one", "192.0.2.1", ROLES)
        store = SecretStore(tmp_path / "state")
        node = Node(me, (me,), settings, store, numbering_plan(settings), ())
        built = release(node, Machine(), [node])
        store.keep()
        return built

    return make


def only(built: Release, name: str) -> Service:
    """The service of that name, which the release has."""
    service = built.service(name)
    assert service is not None
    return service


def on_host(built: Release) -> dict[str, FileState]:
    """What the host has after that release was put there, at second 100."""
    return {f.path: FileState(sha256(f.content).hexdigest(), f.mode, f.owner, 100.0) for f in built.files}


def running(built: Release, name: str, **changes: Any) -> Container:
    return replace(Container(f"vss-{name}", only(built, name).digest, "running", "healthy", 200.0), **changes)


def why(old: Release, new: Release, name: str, **changes: Any) -> list[str]:
    return why_restart(only(new, name), running(old, name, **changes), on_host(old), old.compose.content.decode())


def test_the_same_settings_make_the_same_release(releases: Releases) -> None:
    assert releases() == releases()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"kamailio_debug": 4}, {"kamailio": ["KAMAILIO_DEBUG 3 -> 4"]}),
        ({"register_min_seconds": 90}, {"kamailio": ["etc/values.cfg changed"]}),
        ({"rtp_port_max": 39000}, {"rtpengine": ["etc/rtpengine.conf changed"]}),
        ({"asterisk_rtp_port_max": 29000}, {"asterisk": ["etc/rtp.conf changed"]}),
        ({"container_memory": "1g"}, {
            "postgres": ["mem_limit 2560m -> 1g"],
            "rtpengine": ["mem_limit 2048m -> 1g"],
            "asterisk": ["mem_limit 2048m -> 1g"],
            "kamailio": ["mem_limit 2048m -> 1g"],
        }),
        ({"gateways": ["192.0.2.9:5060"]}, {}),
        ({"firewall_closed": False, "rtp_open_networks": ["0.0.0.0/0"]}, {}),
        ({"slots_auto": [6001]}, {}),
        ({"disk_free_gb": 9}, {}),
    ],
)  # fmt: skip
def test_a_setting_restarts_what_reads_it_and_says_why(
    releases: Releases, change: dict[str, Any], expected: dict[str, list[str]]
) -> None:
    old, new = releases(), releases(**change)
    assert {s.name: why(old, new, s.name) for s in new.services if why(old, new, s.name)} == expected


def test_a_new_secret_is_named_and_not_shown(releases: Releases, monkeypatch: pytest.MonkeyPatch) -> None:
    old = releases()
    monkeypatch.setenv("SIPSTACK_SECRET_POSTGRES_PASSWORD", "correct horse battery staple")
    new = releases()
    assert why(old, new, "kamailio") == ["postgres_password changed"]
    assert why(old, new, "postgres") == []
    shown = repr(new) + "".join(service.compose for service in new.services) + new.compose.content.decode()
    assert "horse" not in shown


def test_the_name_of_a_folder_does_not_let_a_weak_secret_be_guessed(
    releases: Releases, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = set()
    for key in ("one key", "another key"):
        monkeypatch.setenv("SIPSTACK_SECRET_DIGEST_KEY", key)
        folders.add(only(releases(), "kamailio").files[0].path)
    assert len(folders) == 2


def test_to_start_one_service_is_to_touch_that_one_only(releases: Releases) -> None:
    """Compose would start what a service depends on anew, with the proxy that is taken back: the calls' media first."""
    compose = releases().compose.content.decode()
    assert not any(key in compose for key in ("depends_on", "links:", "volumes_from"))


def test_what_runs_as_it_should_is_left_alone(releases: Releases) -> None:
    built = releases()
    assert why(built, built, "kamailio") == []
    assert not reads_other(only(built, "kamailio"), running(built, "kamailio"), on_host(built))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"status": "exited", "health": ""}, "it is exited"),
        ({"health": "unhealthy"}, "it is unhealthy"),
        ({"started": 99.0}, "its files were put right after it started"),
    ],
)
def test_a_container_that_does_not_serve_is_said_with_its_reason(
    releases: Releases, changes: dict[str, Any], reason: str
) -> None:
    built = releases()
    assert why(built, built, "kamailio", **changes) == [reason]


def test_an_edited_file_is_found_and_restarts_its_reader_only(releases: Releases) -> None:
    built = releases()
    present = on_host(built)
    path = next(path for path in present if path.endswith("rtpengine.conf"))
    present[path] = replace(present[path], sha256="0" * 64)
    assert [file.path for file in edited(built.files, present)] == [path]
    restarting = {s.name for s in built.services if reads_other(s, running(built, s.name), present)}
    assert restarting == {"rtpengine"}
    reasons = why_restart(only(built, "rtpengine"), running(built, "rtpengine"), present, "")
    assert reasons == ["etc/rtpengine.conf was changed by hand"]


def test_a_run_that_did_not_end_is_taken_up(releases: Releases) -> None:
    old, new = releases(), releases(kamailio_debug=4)
    # The compose file is the new one already, the container is not.
    reasons = why_restart(only(new, "kamailio"), running(old, "kamailio"), on_host(new), new.compose.content.decode())
    assert reasons == ["what it reads was changed by a run that did not end"]


def test_secret_files_are_for_their_reader_only(releases: Releases) -> None:
    secret = {file.path.rsplit("/", 1)[1]: (file.mode, file.owner) for file in releases().files if file.secret}
    assert secret == {
        "secrets.cfg": (0o400, 5060),
        "postgres_password": (0o400, 5060),
        "admin_password": (0o400, 5432),
    }
    assert all(file.path.startswith(f"{HOME}/") for file in releases().files)


def test_the_folders_that_a_release_reads_are_in_its_compose_file(releases: Releases) -> None:
    """What is removed from a host is decided by that file alone."""
    built = releases()
    named = KeptRelease(built.name, built.compose.content.decode()).configurations
    files = [file.path for service in built.services for file in service.files]
    assert len(named) == len(built.services) == 4
    assert all(any(path.startswith(f"{HOME}/{folder}/") for folder in named) for path in files)
