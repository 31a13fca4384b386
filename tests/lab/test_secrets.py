"""Secrets: any characters work, a change reaches what reads it and nothing else, and none is seen where others look."""

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sipstack.paths import HOME
from tests.lab.inventories import entry, pyinfra, write_inventory
from tests.lab.system import System

# However a secret is quoted or escaped on its way into an output, this part of it stays as it is.
MARK = "canary7351"
ODD = f"""p'a"s$HOME `s` #;w\\o\\\\rd {{{{x}}}} %s {MARK} пароль"""
NAMES = ("postgres_password", "postgres_owner_password", "auth_secret")


@pytest.fixture(autouse=True, scope="module")
def back_to_the_defaults(system: System) -> Iterator[None]:
    yield
    system.deploy()


@pytest.fixture
def odd_secrets(system: System, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """What the operator gives in the environment, from now on, until the function that this gives is called.

    A deploy keeps it: without what was there before, the next test would find no change.
    """
    kept = system.lab.state.folder / "secrets.json"
    before = kept.read_text()
    for name in NAMES:
        monkeypatch.setenv(f"SIPSTACK_SECRET_{name.upper()}", f"{ODD} {name}")

    def generated_again() -> None:
        monkeypatch.undo()
        kept.write_text(before)

    yield generated_again
    generated_again()


@pytest.fixture
def odd_slot(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "slots.csv"
    quoted = ODD.replace('"', '""')
    path.write_text(f'number,password\n6100,"{quoted}, slot"\n')
    yield path


def call_works(system: System) -> None:
    with system.phone(6001) as anna, system.phone(7001) as boris:
        anna.register(check=True)
        boris.register(check=True)
        call = anna.call("7001")
        boris.expect_call().answer()
        call.wait_state("confirmed")
        call.hangup()


def watched(system: System) -> set[str]:
    """Every secret of this system, and every HA1: none of them is to be seen anywhere."""
    slots = json.loads((system.lab.state.folder / "slots.json").read_text())
    secrets = json.loads((system.lab.state.folder / "secrets.json").read_text())
    ha1 = [hashlib.md5(f"{user}:vss.internal:{word}".encode()).hexdigest() for user, word in slots.items()]
    return {*slots.values(), *secrets.values(), *ha1}


def seen(text: str, secrets: set[str]) -> list[str]:
    return [secret for secret in secrets if secret in text]


def test_any_characters_work_and_a_new_password_restarts_only_the_proxy(
    system: System, odd_secrets: Callable[[], None], odd_slot: Path
) -> None:
    before = system.started_at()
    # What the host's process list shows while the deploy runs.
    watch = "while :; do ps axww -o args; sleep 0.02; done > /run/watch.txt"
    system.host.exec("systemd-run", "--unit=watch", "sh", "-c", watch)
    try:
        output = system.deploy(slots_csv=str(odd_slot))
    finally:
        system.host.exec("systemctl", "stop", "watch")
    after = system.started_at()
    assert {name for name in after if after[name] != before[name]} == {"vss-kamailio"}
    assert "vss-kamailio restarts: etc/secrets.cfg changed; postgres_password changed" in output
    assert "role vss_owner: set password" in output and "role vss: set password" in output
    call_works(system)
    with system.phone(6100, password=f"{ODD}, slot") as phone:
        phone.register(check=True)
    processes = system.host.exec("cat", "/run/watch.txt").stdout
    assert "docker" in processes
    assert not seen(output + processes, {*watched(system), MARK})
    assert "[sip1] Success" not in system.deploy(slots_csv=str(odd_slot))
    odd_secrets()
    assert "vss-kamailio restarts: etc/secrets.cfg changed; postgres_password changed" in system.deploy()
    call_works(system)


@pytest.mark.parametrize(
    "flags",
    ["--dry", "--dry -vvv --diff", "--dry --debug", "--debug-operations", "--dry --json", "-y -vvv --diff --debug"],
)
def test_no_flag_of_pyinfra_shows_a_secret(
    system: System, odd_secrets: Callable[[], None], odd_slot: Path, flags: str
) -> None:
    done = system.pyinfra("deploy.py", *flags.split(), "--data", f"slots_csv={odd_slot}", "--data", "slots_ls=[8001]")
    assert done.returncode == 0, done.stderr
    output = done.stdout + done.stderr
    assert not seen(output, {*watched(system), MARK})


def test_no_secret_is_seen_on_the_host(system: System) -> None:
    system.deploy()
    call_works(system)
    script = """
        docker ps -aq | xargs docker inspect
        docker image ls -q | sort -u | xargs -n 1 docker history --no-trunc --format '{{.CreatedBy}}'
        docker image ls -q | sort -u | xargs docker inspect
        for c in $(docker ps -aq); do docker logs $c 2>&1; done
        cat /opt/vss/docker-compose.vss-demiurge.yml
        ps axwwe
        journalctl --no-pager -o cat
    """
    shown = system.host.exec("sh", "-c", script).stdout
    assert "vss.digest" in shown and "POSTGRES_PASSWORD_FILE" in shown
    assert not seen(shown, watched(system))


def test_only_their_reader_can_read_the_files_with_secrets(system: System) -> None:
    system.deploy()
    secrets = watched(system)
    look = "find /opt /tmp /var/tmp /etc /home /run -xdev -type f -perm /o+r -size -1000k -exec cat {} + 2>/dev/null"
    assert not seen(system.host.exec("sh", "-c", f"{look}; true").stdout, secrets)
    listing = system.host.exec("find", f"{HOME}/config", "-type", "f", "!", "-perm", "0444", "-printf", "%m %U %f\n")
    assert set(listing.stdout.split("\n")[:-1]) == {
        "400 5060 secrets.cfg", "400 5060 postgres_password", "400 5432 admin_password",
    }  # fmt: skip


def test_a_database_of_ones_own(system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL that the deploy did not make: found by address, its superuser's password is the operator's."""
    # What the environment gives is kept; the lab's own database goes on with what it was made with.
    kept = system.lab.state.folder / "secrets.json"
    before = kept.read_text()
    for name in ("postgres_admin_password", "postgres_owner_password", "postgres_password"):
        monkeypatch.setenv(f"SIPSTACK_SECRET_{name.upper()}", f"{ODD} {name}")
    image = system.host.exec("docker", "inspect", "-f", "{{.Config.Image}}", "vss-postgres").stdout.strip()
    folder = "/root/own"
    hba = "host all all 0.0.0.0/0 scram-sha-256\n"
    for name, content in (
        ("admin_password", f"{ODD} postgres_admin_password"),
        ("etc/pg_hba.conf", hba),
        ("etc/postgresql.conf",
         "data_directory='/var/lib/postgresql/data'\nhba_file='/etc/postgresql/vss/pg_hba.conf'\n"
         "listen_addresses='*'\nport=5433\nunix_socket_directories='/tmp'\nmax_connections=300\n"),
    ):  # fmt: skip
        write = f"mkdir -p {folder}/etc; cat > {folder}/{name}; chmod -R a+rX {folder}; chmod a+x /root"
        system.host.exec("sh", "-c", write, stdin=content)
    system.host.exec(
        "docker", "run", "-d", "--name", "own-postgres", "--network", "host", "--tmpfs", "/tmp",
        "-v", f"{folder}/etc:/etc/postgresql/vss:ro",
        "-v", f"{folder}/admin_password:/run/secrets/admin_password:ro", image,
    )  # fmt: skip
    path = tmp_path / "own.py"
    write_inventory(path, entry(system.lab, system.host), groups=("media", "pbx", "proxies"))
    settings = ("--data", f"postgres_host={system.address}", "--data", "postgres_port=5433")
    try:
        ready = "until docker exec own-postgres pg_isready -q -h 127.0.0.1 -p 5433; do sleep 0.2; done"
        system.host.exec("sh", "-c", ready, timeout=60)
        done = pyinfra(path, "deploy.py", "-y", *settings)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "42 added, 0 changed, 0 removed" in done.stderr
        call_works(system)
        done = pyinfra(path, "deploy.py", "-y", *settings)
        assert "[sip1] Success" not in done.stderr and done.returncode == 0
        # The roles exist now: no superuser is needed any more, but the proxy's password is.
        no_admin = (*settings, "--data", 'postgres_admin=""')
        assert pyinfra(path, "deploy.py", "-y", *no_admin).returncode == 0
        monkeypatch.setenv("SIPSTACK_SECRET_POSTGRES_PASSWORD", "another one")
        done = pyinfra(path, "deploy.py", "-y", *no_admin)
        assert done.returncode == 1 and 'password authentication failed for user "vss"' in done.stderr
        assert "Beginning operation run" not in done.stderr
    finally:
        kept.write_text(before)
        system.host.exec("docker", "rm", "-fv", "own-postgres")
        system.host.exec("rm", "-rf", folder)
        monkeypatch.undo()
        system.deploy()
    call_works(system)
