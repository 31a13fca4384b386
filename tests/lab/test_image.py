"""The Kamailio image by itself: what its entrypoint and its health check do, beside the running service."""

import json
import re
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from sipstack.errors import OperatorError
from tests.lab.system import System

NASTY = "пароль '\"$#;\\ : end"
NAMES = ("probe-a", "probe-b", "probe-c")


class Standalone:
    """Containers of the deployed image against a database of their own, made for one test."""

    def __init__(self, system: System) -> None:
        self.system = system
        secrets = json.loads((system.lab.state.folder / "secrets.json").read_text())
        self.admin = secrets["postgres_admin_password"]
        self.image = self._inspect("{{.Config.Image}}")
        self.config = self._inspect('{{range .Mounts}}{{if eq .Destination "/etc/kamailio"}}{{.Source}}{{end}}{{end}}')
        self.psql("postgres", "DROP DATABASE IF EXISTS standalone")
        self.psql("postgres", "DROP ROLE IF EXISTS standalone")
        self.psql("postgres", "CREATE ROLE standalone LOGIN PASSWORD '" + NASTY.replace("'", "''") + "'")
        self.psql("postgres", "CREATE DATABASE standalone OWNER standalone")
        # Owned by the account of the image, as a secret would be.
        system.host.exec("sh", "-c", "install -m 0400 -o 5060 /dev/stdin /root/standalone", stdin=NASTY)

    def _inspect(self, template: str) -> str:
        return self.system.host.exec("docker", "inspect", "-f", template, "vss-kamailio").stdout.strip()

    def psql(self, database: str, query: str) -> str:
        """The answer to a query as the superuser."""
        environment = ["-e", f"PGPASSWORD={self.admin}", "vss-postgres"]
        return self.system.host.exec(
            "docker", "exec", "-i", *environment, "psql", "-h", "127.0.0.1", "-U", "postgres", "-d", database, "-Atq",
            stdin=query,
        ).stdout.strip()  # fmt: skip

    def start(self, name: str, port: int, config: str | None = None, **environment: str) -> None:
        """Start a container of the image on a SIP port of its own."""
        values = {"POSTGRES_HOST": "127.0.0.1", "POSTGRES_DB": "standalone", "POSTGRES_USER": "standalone"}
        values |= {"POSTGRES_PASSWORD_FILE": "/run/secrets/db", "SIP_PORT": str(port), **environment}
        options = [bit for key, value in values.items() for bit in ("-e", f"{key}={value}")]
        self.system.host.exec(
            "docker", "run", "-d", "--name", name, "--network", "host", *options,
            "-v", "/root/standalone:/run/secrets/db:ro", "-v", f"{config or self.config}:/etc/kamailio:ro", self.image,
        )  # fmt: skip

    def remove(self) -> None:
        self.system.host.exec("docker", "rm", "-f", *NAMES, check=False)

    def says(self, name: str, pattern: str, seconds: float = 30) -> str:
        """Wait until the container's log has a match, and return it."""
        deadline = time.monotonic() + seconds
        while not (match := re.search(pattern, self.system.logs(name, 400))):
            assert time.monotonic() < deadline, f"{name} never said {pattern!r}:\n{self.system.logs(name)}"
            time.sleep(0.2)
        return match[0]

    def exit_code(self, name: str) -> int:
        """Wait for the container's end."""
        return int(self.system.host.exec("docker", "wait", name, timeout=60).stdout)

    def answers(self, name: str, seconds: float = 30) -> None:
        """Wait until the health check of the image passes."""
        deadline = time.monotonic() + seconds
        while self.system.host.exec("docker", "exec", name, "healthcheck", check=False).returncode:
            assert time.monotonic() < deadline, f"{name} is not healthy:\n{self.system.logs(name)}"
            time.sleep(0.2)


@pytest.fixture
def standalone(system: System) -> Iterator[Standalone]:
    standalone = Standalone(system)
    standalone.remove()
    yield standalone
    standalone.remove()


def test_several_that_start_at_once_initialise_the_schema_once(standalone: Standalone) -> None:
    for number, name in enumerate(NAMES):
        standalone.start(name, 5070 + number)
    for name in NAMES:
        standalone.answers(name)
    applied = standalone.psql("standalone", "SELECT count(*), count(DISTINCT number) FROM schema_migration")
    total, different = applied.split("|")
    assert total == different != "0"


def test_a_newer_schema_is_refused_in_one_line(standalone: Standalone) -> None:
    standalone.start("probe-a", 5070)
    standalone.answers("probe-a")
    standalone.remove()
    standalone.psql("standalone", "INSERT INTO schema_migration VALUES (999, '999_future', now())")
    standalone.start("probe-a", 5070)
    assert standalone.exit_code("probe-a") == 1
    assert "999" in standalone.says("probe-a", r"schema: .*")


def test_it_waits_for_the_database_and_says_so(standalone: Standalone) -> None:
    standalone.psql("postgres", "ALTER DATABASE standalone RENAME TO elsewhere")
    try:
        standalone.start("probe-a", 5070)
        assert "standalone" in standalone.says("probe-a", r"waiting for PostgreSQL.*")
    finally:
        standalone.psql("postgres", "ALTER DATABASE elsewhere RENAME TO standalone")
    standalone.answers("probe-a")


def test_a_stop_while_it_waits_needs_no_kill(standalone: Standalone) -> None:
    standalone.start("probe-a", 5070, POSTGRES_DB="nowhere")
    standalone.says("probe-a", r"waiting for PostgreSQL.*")
    standalone.system.host.exec("docker", "stop", "probe-a", timeout=60)
    assert standalone.exit_code("probe-a") == 143


def test_a_stop_ends_every_process_by_itself(standalone: Standalone) -> None:
    standalone.start("probe-a", 5070)
    standalone.answers("probe-a")
    standalone.system.host.exec("docker", "stop", "probe-a", timeout=60)
    assert standalone.exit_code("probe-a") == 0


def test_a_start_that_fails_says_why_and_ends(standalone: Standalone) -> None:
    standalone.start("probe-a", 5070, SIP_ADDRESS="192.0.2.99")
    assert standalone.exit_code("probe-a") not in (0, 137)
    assert standalone.says("probe-a", r"Cannot assign requested address")


def test_a_broken_configuration_is_refused(standalone: Standalone) -> None:
    host = standalone.system.host
    host.exec("sh", "-c", f"rm -rf /root/broken; cp -r {standalone.config} /root/broken; chmod -R a+rX /root/broken")
    host.exec(
        "sh",
        "-c",
        "chown -R 5060 /root/broken; chmod 0711 /root; echo 'route[X] { nonsense(' >>/root/broken/kamailio.cfg",
    )
    standalone.start("probe-a", 5070, config="/root/broken")
    assert standalone.exit_code("probe-a") == 1
    assert standalone.says("probe-a", r"the configuration has errors")


@pytest.mark.parametrize(
    ("setting", "value"),
    [("KAMAILIO_DEBUG", "5"), ("KAMAILIO_CHILDREN", "none"), ("POSTGRES_PASSWORD_FILE", "/nowhere")],
)
def test_a_wrong_variable_is_named(standalone: Standalone, setting: str, value: str) -> None:
    standalone.start("probe-a", 5070, **{setting: value})
    assert standalone.exit_code("probe-a") == 1
    assert value in standalone.says("probe-a", rf"entrypoint: .*{setting}.*")


def test_kamailio_is_pid_1_and_not_root(system: System) -> None:
    status = system.host.exec("docker", "exec", "vss-kamailio", "cat", "/proc/1/status").stdout
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert fields["Name"] == "kamailio"
    assert set(fields["Uid"].split()) == {"5060"}
    assert int(fields["CapEff"], 16) == 0


def test_the_image_has_only_the_modules_that_are_loaded(system: System) -> None:
    found = system.host.exec("docker", "exec", "vss-kamailio", "sh", "-c", "ls /usr/lib/*/kamailio/modules").stdout
    loaded = system.host.exec("docker", "exec", "vss-kamailio", "cat", "/etc/kamailio/modules.cfg").stdout
    assert sorted(found.split()) == sorted(re.findall(r'^loadmodule "(.*)"', loaded, re.MULTILINE))


def test_the_health_check_fails_when_sip_does_not_answer(standalone: Standalone) -> None:
    standalone.start("probe-a", 5070)
    standalone.answers("probe-a")
    host = standalone.system.host
    # The control socket has a process of its own, so it goes on answering while those that serve SIP stand still.
    pids = host.exec("docker", "exec", "probe-a", "kamcmd", "core.psx").stdout
    workers = re.findall(r"PID: (\d+)\s+DSC: (?:udp receiver|tcp receiver)", pids)
    assert workers
    host.exec("docker", "exec", "probe-a", "bash", "-c", f"kill -STOP {' '.join(workers)}")
    checked = host.exec("docker", "exec", "probe-a", "healthcheck", check=False, timeout=15)
    assert checked.returncode == 1
    assert "no answer to OPTIONS" in checked.stdout
    with suppress(OperatorError):
        host.exec("docker", "exec", "probe-a", "bash", "-c", f"kill -CONT {' '.join(workers)}")
