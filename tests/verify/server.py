"""One deployed host, as the checks see it."""

import json
import re
import shlex
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sipstack.inventory import Entry
from sipstack.services import KINDS
from sipstack.ssh import Connections

# PostgreSQL must not hold a check up: each of these is one look at a few rows. Seconds, milliseconds.
_PSQL_ENVIRONMENT = "PGCONNECT_TIMEOUT=5 PGOPTIONS='-c statement_timeout=5000'"


class NotServed(AssertionError):
    """A command that a part should have obeyed failed; the message is what it said."""


@dataclass(frozen=True)
class Listener:
    """A socket that a part should have."""

    transport: str
    address: str
    port: int

    def __str__(self) -> str:
        return f"{self.transport}:{self.address}:{self.port}"


class Server:
    """A host of the inventory, its Node, and testinfra's view of it."""

    def __init__(self, entry: Entry, connections: Connections) -> None:
        self.name = entry.name
        self.node = entry.node
        self.ssh_port = int(entry.data.get("ssh_port") or 22)
        self._connections = connections

    @property
    def host(self) -> Any:
        """testinfra's host. OperatorError, in one line and soon, when SSH does not get there."""
        self.run("true")
        return self._testinfra

    @cached_property
    def _testinfra(self) -> Any:
        return self._connections.testinfra(self.name)

    @property
    def parts(self) -> list["Part"]:
        """What should run here, in the order in which it is brought up."""
        return [Part(self, name) for name, kind in KINDS.items() if self.node.has(kind.role)]

    def part(self, name: str) -> "Part":
        return next(part for part in self.parts if part.name == name)

    def run(self, command: str, stdin: str = "") -> str:
        """What a shell command prints. Raises NotServed when it fails, OperatorError when SSH does."""
        done = self._connections.run(self.name, command, stdin)
        if done.returncode:
            said = (done.stderr.strip() or done.stdout.strip()).splitlines() or ["no message"]
            # psql shows the place of an error below the error.
            telling = [line for line in said if re.search("(ERROR|FATAL|error):", line)] or said
            raise NotServed(f"{telling[-1].strip()} (exit {done.returncode})")
        return done.stdout


class Part:
    """One of our containers on one host."""

    def __init__(self, server: Server, name: str) -> None:
        self.server = server
        self.name = name
        self.container = f"vss-{name}"

    def __str__(self) -> str:
        return f"{self.container} on {self.server.name}"

    @cached_property
    def inspected(self) -> dict[str, Any]:
        """What the engine knows of it, asked once; empty when there is no such container."""
        found = self.server.host.run("docker inspect %s", self.container)
        return dict(json.loads(found.stdout)[0]) if found.rc == 0 else {}

    @property
    def status(self) -> str:
        """running, exited, paused, restarting …, or absent."""
        return str(self.inspected["State"]["Status"]) if self.inspected else "absent"

    @property
    def health(self) -> str:
        """healthy, unhealthy, starting."""
        state = self.inspected.get("State", {})
        return str((state.get("Health") or {}).get("Status", "without a health check"))

    @property
    def last_health_output(self) -> str:
        probes = ((self.inspected.get("State", {}).get("Health") or {}).get("Log")) or [{}]
        return str(probes[-1].get("Output", "")).strip()

    @property
    def serves(self) -> bool:
        return self.status == "running" and self.health == "healthy"

    def run(self, *argv: str, stdin: str = "", title: str = "") -> str:
        """What a command in the container prints. Raises NotServed, which says its title, when it fails."""
        interactive = "-i " if stdin else ""
        try:
            return self.server.run(f"timeout 15 docker exec {interactive}{self.container} {shlex.join(argv)}", stdin)
        except NotServed as error:
            raise NotServed(f"{self}: {title or shlex.join(argv)}: {error}") from None

    def logs(self, lines: int) -> str:
        """Its last log lines, standard error included."""
        return self.server.run(f"docker logs --tail {lines} {self.container} 2>&1 || true")

    @property
    def listeners(self) -> list[Listener]:
        """The sockets that Node and the templates give it."""
        node, settings = self.server.node, self.server.node.settings
        if self.name == "kamailio":
            return [Listener(transport, node.address, settings.sip_port) for transport in ("udp", "tcp")]
        if self.name == "rtpengine":
            return [Listener("udp", node.rtpengine_bind, settings.rtpengine_port)]
        if self.name == "asterisk":
            return [Listener("udp", node.gateway_bind, settings.asterisk_port)]
        addresses = ["127.0.0.1", node.address] if node.database.remote_peers else ["127.0.0.1"]
        return [Listener("tcp", address, settings.postgres_port) for address in addresses]

    # --- the database ----------------------------------------------------------------------------------

    def as_proxy(self, query: str) -> list[list[str]]:
        """Rows of a query, asked as the role of the proxies, from Kamailio's container and with its password."""
        node = self.server.node
        target = f"-h {node.database.host} -p {node.database.port} -U {node.settings.postgres_user}"
        script = f"export PGPASSFILE=/run/kamailio/pgpass; {_psql(target, node.settings.postgres_db)}"
        return _rows(self.run("sh", "-c", script, stdin=query, title=f"psql as {node.settings.postgres_user}"))

    def as_owner(self, query: str, **variables: str) -> list[list[str]]:
        """Rows of a query, asked as the owner of the tables, in this container. It can only read.

        variables: what `:'name'` stands for in the query.
        """
        node = self.server.node
        password = node.database_secret("postgres_owner_password")
        target = f"-h {node.database.host} -p {node.database.port} -U {node.settings.postgres_owner}"
        given = "".join(f"\\set {name} {_quoted(value)}\n" for name, value in variables.items())
        # The password is the first line of standard input: a command line is for everyone to see.
        script = f"IFS= read -r PGPASSWORD; export PGPASSWORD; {_psql(target, node.settings.postgres_db)}"
        query = f"{password}\n{given}SET default_transaction_read_only = on;\n{query}"
        return _rows(self.run("sh", "-c", script, stdin=query, title=f"psql as {node.settings.postgres_owner}"))


def _psql(target: str, database: str) -> str:
    return f"{_PSQL_ENVIRONMENT} exec psql {target} -d {database} -wXAtqF '\t' -v ON_ERROR_STOP=1"


def _quoted(value: str) -> str:
    """For psql's \\set, which knows backslashes inside single quotes."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _rows(output: str) -> list[list[str]]:
    return [line.split("\t") for line in output.splitlines()]
