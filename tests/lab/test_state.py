"""What only the operator's machine knows: a run without it, or with another one's, is refused before any change."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sipstack import passwords
from tests.lab.outage import await_that
from tests.lab.system import System
from tests.lab.wire import Wire


@pytest.fixture(autouse=True)
def as_it_was(system: System) -> Iterator[None]:
    yield
    system.deploy()


@contextmanager
def another_state(system: System, tmp_path: Path) -> Iterator[Path]:
    """The folder of the state, which is put back afterwards."""
    folder = system.lab.state.folder
    kept = tmp_path / "kept"
    shutil.copytree(folder, kept)
    try:
        yield folder
    finally:
        for name in ("secrets.json", "slots.json", "slots_before.json"):
            (folder / name).unlink(missing_ok=True)
            if (kept / name).exists():
                shutil.copy2(kept / name, folder / name)


def refused(system: System, **data: object) -> str:
    """What a refused run says last. Nothing was changed: not the users, not the containers, and not the state."""
    before = system.sql("SELECT username, ha1 FROM subscriber ORDER BY 1"), system.started_at()
    state = {path.name: path.read_bytes() for path in system.lab.state.folder.glob("*.json")}
    settings = [bit for key, value in data.items() for bit in ("--data", f"{key}={json.dumps(value)}")]
    done = system.pyinfra("deploy.py", "-y", *settings)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert {path.name: path.read_bytes() for path in system.lab.state.folder.glob("*.json")} == state
    assert (system.sql("SELECT username, ha1 FROM subscriber ORDER BY 1"), system.started_at()) == before
    return [line for line in (done.stdout + done.stderr).splitlines() if line.strip()][-1]


def code(system: System, number: int, password: str) -> int:
    with Wire(system.address) as wire:
        return wire.register(f"slot_{number}", password)


def test_without_a_state_nothing_is_deployed_and_none_is_made(system: System, tmp_path: Path) -> None:
    admin = system.admin_password
    with another_state(system, tmp_path) as folder:
        (folder / "secrets.json").unlink()
        (folder / "slots.json").unlink()
        done = system.pyinfra("deploy.py", "-y")
        dry = system.pyinfra("deploy.py", "--dry")
        assert not (folder / "secrets.json").exists() and not (folder / "slots.json").exists()
    for one in (done, dry):
        assert one.returncode == 1, one.stdout + one.stderr
        assert "with the secrets of inventory" in one.stderr and "copy .state/" in one.stderr
    assert system.admin_password == admin
    assert code(system, 6001, system.password(6001)) == 200


def test_the_state_of_another_fleet_is_refused(system: System, tmp_path: Path) -> None:
    with another_state(system, tmp_path) as folder:
        secrets = json.loads((folder / "secrets.json").read_text())
        (folder / "secrets.json").write_text(json.dumps({**secrets, "digest_key": "of another fleet"}))
        said = refused_by_mark(system)
    assert "has those of another fleet" in said


def refused_by_mark(system: System) -> str:
    done = system.pyinfra("deploy.py", "-y")
    assert done.returncode == 1
    return [line for line in (done.stdout + done.stderr).splitlines() if line.strip()][-1]


def test_an_older_state_gives_no_phone_another_password(system: System, tmp_path: Path) -> None:
    """A second operator, with yesterday's copy."""
    system.deploy(slots_auto=["6001-6010", 6052])
    mine = system.password(6052)
    with another_state(system, tmp_path) as folder:
        slots = json.loads((folder / "slots.json").read_text())
        del slots["slot_6052"]
        (folder / "slots.json").write_text(json.dumps(slots))
        said = refused(system, slots_auto=["6001-6010", 6052])
        assert "a password of slot_6052 that this state does not know" in said
    assert code(system, 6052, mine) == 200


def test_a_renewed_password_counts_from_the_next_deploy_on(system: System, capsys: pytest.CaptureFixture[str]) -> None:
    old = system.password(7003)
    inventory = "inventories/lab.py"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SIPSTACK_LAB", system.lab.name)
        assert passwords.renew(inventory, ["7003"]) == 0
    new = system.password(7003)
    assert capsys.readouterr().out.splitlines()[-1] == f"7003,{new}"
    assert new != old
    assert code(system, 7003, old) == 200
    assert "0 added, 1 changed, 0 removed" in system.deploy()
    assert code(system, 7003, new) == 200
    assert code(system, 7003, old) == 401


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"sip_domain": "other.example"}, "sip_domain from vss.internal to other.example"),
        ({"sip_port": 5070}, "sip_port from 5060 to 5070"),
    ],
)
def test_a_move_under_the_phones_has_to_be_meant(system: System, data: dict[str, object], said: str) -> None:
    refusal = refused(system, **data)
    assert said in refusal and "set sip_allow_move = True" in refusal


@pytest.mark.slow
def test_a_database_that_serves_another_fleet_is_left_alone(system: System) -> None:
    """Of that fleet nothing is known here but that one of its proxies has the database open."""
    ask = (
        "PGPASSFILE=/run/kamailio/pgpass PGAPPNAME='vss-proxy sip1.two.example' timeout 60"
        " psql -qX -h $POSTGRES_HOST -U $POSTGRES_USER -c 'SELECT pg_sleep(60)' $POSTGRES_DB"
    )
    system.host.exec("docker", "exec", "-d", "vss-kamailio", "sh", "-c", ask)
    there = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'vss-proxy sip1.two.example'"
    try:
        await_that(lambda: system.sql(there) == [["1"]], 10, "it does not connect")
        said = refused(system, kamailio_debug=4)
        assert "this database serves sip1.two.example, which is not in this inventory" in said
    finally:
        system.sql(there.replace("count(*)", "pg_terminate_backend(pid)"))
