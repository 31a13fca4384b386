"""A throw-away PostgreSQL server for tests: a real one, gone afterwards.

A local installation (Debian's /usr/lib/postgresql/*/bin, version 15 or newer) is used when there is one,
else a container. Set SIPSTACK_TEST_POSTGRES=docker to take the container, which has the
deployed version.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg.rows import TupleRow

from sipstack.lab.base import ensure_base_image
from sipstack.lab.engine import ensure_engine

OLDEST = 15  # first release whose schema public is closed to PUBLIC by default, as in the deployed 17
IMAGE = "sipstack-lab/test-postgres:17"
DOCKERFILE = """FROM {base}
RUN apt-get update && apt-get install -y --no-install-recommends postgresql-17 && rm -rf /var/lib/apt/lists/*
USER postgres
"""
# Speed, not safety: what is lost in a crash here is thrown away anyway.
OPTIONS = ("fsync=off", "full_page_writes=off", "max_connections=60", "password_encryption=scram-sha-256")
START_LIMIT_S = 60.0


@dataclass(frozen=True)
class Server:
    """A running server that asks for SCRAM passwords over TCP on loopback."""

    host: str
    port: int
    superuser: str
    password: str

    def connect(
        self,
        user: str = "postgres",
        password: str | None = None,
        dbname: str = "postgres",
        autocommit: bool = True,
        application_name: str = "",
    ) -> psycopg.Connection[TupleRow]:
        """Open a connection; without `password` the superuser's is used. Raises psycopg.OperationalError."""
        return psycopg.connect(
            host=self.host,
            port=self.port,
            user=user,
            password=self.password if password is None else password,
            dbname=dbname,
            autocommit=autocommit,
            connect_timeout=10,
            application_name=application_name,
        )

    def environment(self, user: str, password: str, dbname: str) -> dict[str, str]:
        """The PG* variables with which psql reaches this server."""
        return {
            "PGHOST": self.host,
            "PGPORT": str(self.port),
            "PGUSER": user,
            "PGPASSWORD": password,
            "PGDATABASE": dbname,
        }


@contextmanager
def throwaway_postgres() -> Iterator[Server]:
    """Start a server, yield it when it answers, and remove it with all its data.

    Without a local installation it starts the engine that the lab uses too, if none answers.
    """
    server = Server("127.0.0.1", _free_port(), "postgres", secrets.token_urlsafe(18))
    binaries = _local_binaries()
    if binaries is not None:
        with _local(server, binaries):
            yield server
    else:
        ensure_engine()
        with _container(server):
            yield server


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _local_binaries() -> Path | None:
    """The folder of the newest local installation that is new enough and complete."""
    if os.environ.get("SIPSTACK_TEST_POSTGRES") == "docker":
        return None
    folders = list(Path("/usr/lib/postgresql").glob("*/bin"))
    if (initdb := shutil.which("initdb")) is not None:
        folders.append(Path(initdb).resolve().parent)
    found = [(version, f) for f in folders if (version := _version(f)) >= OLDEST]
    return max(found)[1] if found else None


def _version(folder: Path) -> int:
    if not all((folder / name).exists() for name in ("initdb", "postgres")):
        return 0
    answer = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, check=True).stdout
    match = re.search(r"(\d+)", answer)
    return int(match[1]) if match else 0


def _wait(server: Server, alive: subprocess.Popen[bytes] | None, log: Path | None) -> None:
    limit = time.monotonic() + START_LIMIT_S
    while True:
        try:
            server.connect().close()
            return
        except psycopg.OperationalError as error:
            dead = alive is not None and alive.poll() is not None
            if dead or time.monotonic() > limit:
                said = log.read_text(errors="replace")[-2000:] if log else ""
                raise RuntimeError(f"the throw-away PostgreSQL does not answer: {error}\n{said}") from error
            time.sleep(0.05)


@contextmanager
def _local(server: Server, binaries: Path) -> Iterator[None]:
    # PostgreSQL refuses to run as root; its package made a user for it.
    as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.getuid() == 0 else []
    folder = Path(tempfile.mkdtemp(prefix="sipstack-pg-"))
    try:
        secret, log = folder / "secret", folder / "log"
        secret.write_text(server.password)
        if as_user:
            for path in (folder, secret):
                shutil.chown(path, "postgres", "postgres")
        initdb: list[str | Path] = [
            binaries / "initdb",
            "-D",
            folder / "data",
            "-U",
            server.superuser,
            "--pwfile",
            secret,
        ]
        initdb += ["-A", "scram-sha-256", "-E", "UTF8", "--locale=C.UTF-8", "-N"]
        subprocess.run([*as_user, *initdb], check=True, capture_output=True, cwd="/")
        settings = [*OPTIONS, f"port={server.port}", "listen_addresses=127.0.0.1", "unix_socket_directories="]
        command: list[str | Path] = [
            *as_user,
            binaries / "postgres",
            "-D",
            folder / "data",
            *(f"--{s}" for s in settings),
        ]
        with log.open("wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd="/")
        try:
            _wait(server, process, log)
            yield
        finally:
            process.send_signal(signal.SIGQUIT)  # at once, nothing here is worth a checkpoint
            process.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _container(server: Server) -> Iterator[None]:
    known = subprocess.run(["docker", "image", "inspect", IMAGE], capture_output=True).returncode == 0
    if not known:
        dockerfile = DOCKERFILE.format(base=ensure_base_image()).encode()
        subprocess.run(["docker", "build", "-q", "-t", IMAGE, "-"], input=dockerfile, check=True, capture_output=True)
    bins, data = "/usr/lib/postgresql/17/bin", "/tmp/data"
    settings = " ".join(f"--{s}" for s in (*OPTIONS, "listen_addresses=*", "unix_socket_directories="))
    script = (
        f'printf %s "$SECRET" >/tmp/secret && '
        f"{bins}/initdb -D {data} -U {server.superuser} --pwfile /tmp/secret "
        f"-A scram-sha-256 -E UTF8 --locale=C.UTF-8 -N >/dev/null && "
        f"echo 'host all all all scram-sha-256' >>{data}/pg_hba.conf && "
        f"exec {bins}/postgres -D {data} {settings}"
    )
    run = ["docker", "run", "-d", "--rm", "-e", "SECRET", "-p", f"127.0.0.1:{server.port}:5432", IMAGE]
    environment = os.environ | {"SECRET": server.password}
    answer = subprocess.run([*run, "sh", "-c", script], check=True, capture_output=True, text=True, env=environment)
    container = answer.stdout.strip()
    try:
        _wait(server, None, None)
        yield
    finally:
        subprocess.run(["docker", "rm", "-f", container], check=True, capture_output=True)
