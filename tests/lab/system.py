"""A deployed system to test against: the real deploy on a lab host, and what tests want to know of it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from sipstack.lab.hosts import Lab
from sipstack.lab.machine import LabHost
from sipstack.paths import ROOT
from sipstack.probe.phone import Phone


class System:
    """One lab with one host that has all roles (`sip1`), deployed by `pyinfra inventories/lab.py deploy.py`."""

    def __init__(self, lab_name: str) -> None:
        self.lab = Lab(lab_name)
        self.host: LabHost = self.lab.up(["sip1"])[0]
        self.address = self.host.address

    def pyinfra(self, *arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run the pyinfra command as an operator would, in the repository, against this lab."""
        command = [str(Path(sys.executable).parent / "pyinfra"), "inventories/lab.py", *arguments]
        environment = {**os.environ, "SIPSTACK_LAB": self.lab.name, **(env or {})}
        return subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=900
        )

    def deploy(self, **data: Any) -> str:
        """Deploy, with settings that differ from group_data; returns what pyinfra printed. Fails with that output."""
        settings = [bit for key, value in data.items() for bit in ("--data", f"{key}={json.dumps(value)}")]
        done = self.pyinfra("deploy.py", "-y", *settings)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def password(self, number: int) -> str:
        """The generated password of a slot."""
        passwords: dict[str, str] = json.loads((self.lab.state.folder / "slots.json").read_text())
        return passwords[f"slot_{number}"]

    def phone(self, number: int, **options: Any) -> Phone:
        """A phone of that slot, which talks to the proxy. Options are those of Phone."""
        password = options.pop("password", None) or self.password(number)
        return Phone(f"slot_{number}", password, "vss.internal", f"{self.address}:5060", **options)

    @property
    def admin_password(self) -> str:
        """That of PostgreSQL's superuser."""
        secrets: dict[str, str] = json.loads((self.lab.state.folder / "secrets.json").read_text())
        return secrets["postgres_admin_password"]

    def sql(self, query: str) -> list[list[str]]:
        """Rows of a query, as the superuser, on the host itself."""
        done = self.host.exec(
            "docker", "exec", "-i", "-e", f"PGPASSWORD={self.admin_password}", "vss-postgres",
            "psql", "-h", "127.0.0.1", "-U", "postgres", "-d", "vss_db", "-AtF", "\t", "-c", query,
        )  # fmt: skip
        return [line.split("\t") for line in done.stdout.splitlines()]

    def kamcmd(self, *arguments: str) -> str:
        """What `kamcmd` prints in the proxy's container."""
        return self.host.exec("docker", "exec", "vss-kamailio", "kamcmd", *arguments).stdout

    def asterisk(self, command: str) -> str:
        """What a command of Asterisk's console prints."""
        conf = "/etc/asterisk/asterisk.conf"
        return self.host.exec("docker", "exec", "vss-asterisk", "asterisk", "-C", conf, "-rx", command).stdout

    def logs(self, container: str = "vss-kamailio", lines: int = 40) -> str:
        """The last log lines of a container."""
        done = self.host.exec("docker", "logs", "--tail", str(lines), container, check=False)
        return done.stdout + done.stderr

    def start(self, container: str) -> None:
        """Start a container that was stopped, and wait until it is healthy."""
        health = f"docker inspect -f '{{{{.State.Health.Status}}}}' {container}"
        self.host.exec("docker", "start", container)
        self.host.exec("sh", "-c", f"until [ $({health}) = healthy ]; do sleep 0.2; done", timeout=60)

    def started_at(self) -> dict[str, str]:
        """When each of our containers was started: what changes here was restarted."""
        done = self.host.exec(
            "sh", "-c", "docker inspect -f '{{.Name}} {{.State.StartedAt}}' $(docker ps -q --filter label=vss.digest)"
        )
        return dict(line.lstrip("/").split(" ", 1) for line in done.stdout.splitlines())

    def down(self) -> None:
        """Remove the lab and what was generated for it."""
        self.lab.down()
