"""A deployed fleet to test against: three proxies, a database, two rtpengines, two Asterisks, on six lab hosts."""

import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from sipstack.lab.hosts import Lab
from sipstack.lab.machine import LabHost
from sipstack.node import Member
from sipstack.paths import ROOT
from sipstack.probe.phone import Phone
from tests.lab.load import Load
from tests.lab.run import Run, data_arguments

PROXIES = ("sip1", "sip2", "sip3")
GROUPS = {"databases": ["db1"], "media": ["db1", "pbx1"], "pbx": ["pbx1", "pbx2"], "proxies": list(PROXIES)}
HOSTS = (*PROXIES, "db1", "pbx1", "pbx2")
CONTAINERS: dict[str, tuple[str, ...]] = {
    **{proxy: ("vss-kamailio",) for proxy in PROXIES},
    "db1": ("vss-postgres", "vss-rtpengine"),
    "pbx1": ("vss-asterisk", "vss-rtpengine"),
    "pbx2": ("vss-asterisk",),
}
# Slots for a test's own phones, and one that tests add and remove; all others are the load's.
RESERVED = frozenset({6001, 6002, 6003, 6004, 7001, 7002, 8001, 8002, 8020})
TONES = (440, 880)
# What a copy of the project does not need to be deployed from.
LEFT_OUT = shutil.ignore_patterns(".git", ".venv", ".state", "__pycache__", ".*_cache", "build", "*.egg-info")


class Fleet:
    """One lab with the hosts of `groups`, deployed by `pyinfra inventories/lab.py deploy.py`."""

    def __init__(self, lab_name: str, groups: dict[str, list[str]] = GROUPS) -> None:
        self.lab = Lab(lab_name)
        up = self.lab.up(sorted({name for names in groups.values() for name in names}), groups=groups)
        self.hosts: dict[str, LabHost] = {host.name: host for host in up}
        self.database = groups["databases"][0]
        self.address = {name: host.address for name, host in self.hosts.items()}
        # What differs from group_data since the last deploy that changed something on purpose.
        self.settings: dict[str, Any] = {}
        self._runs: list[Run] = []

    # --- as the operator ---------------------------------------------------------------------------------

    def start(self, *arguments: str, root: Path = ROOT, **data: Any) -> Run:
        """Start `pyinfra … deploy.py -y`. data: settings that differ from those in force."""
        settings = data_arguments({**self.settings, **data})
        self._runs.append(Run(self.lab.name, "deploy.py", "-y", *arguments, *settings, root=root))
        return self._runs[-1]

    def deploy(self, *arguments: str, **data: Any) -> Run:
        """The same, to its good end; the settings are in force from then on."""
        run = self.start(*arguments, **data).end_well()
        self.settings |= data
        return run

    def end_runs(self) -> None:
        """What a failed test has begun is ended, and its hosts are put right."""
        going_on = [run for run in self._runs if run.process.poll() is None]
        self._runs.clear()
        for run in going_on:
            run.kill()
        if going_on:
            self.deploy()

    def checkout(self, folder: Path) -> Path:
        """A copy of the project, with the same secrets, that a test may change as an operator would."""
        copy = folder / "project"
        shutil.copytree(ROOT, copy, ignore=LEFT_OUT, symlinks=True)
        (copy / ".state").symlink_to(ROOT / ".state")
        return copy

    # --- as a subscriber ---------------------------------------------------------------------------------

    @property
    def passwords(self) -> dict[str, str]:
        found: dict[str, str] = json.loads((self.lab.state.folder / "slots.json").read_text())
        return found

    def password(self, number: int) -> str:
        """That of a slot."""
        return self.passwords[f"slot_{number}"]

    def phone(self, number: int, proxy: str, **options: Any) -> Phone:
        """A phone of that slot, which talks to that proxy. Options are those of Phone."""
        user = f"slot_{number}"
        return Phone(user, self.passwords[user], "vss.internal", f"{self.address[proxy]}:5060", **options)

    @contextmanager
    def phones(self, *at: tuple[int, str], **options: Any) -> Iterator[list[Phone]]:
        """Registered phones, each a slot and its proxy; the first plays 440 Hz, the second 880 Hz, and so on."""
        with ExitStack() as stack:
            made = [
                stack.enter_context(self.phone(number, proxy, tone=TONES[index % 2], **options))
                for index, (number, proxy) in enumerate(at)
            ]
            for phone in made:
                phone.register(check=True)
            yield made

    def load(self, calls: int = 12, hold: tuple[float, float] = (10, 25)) -> Load:
        """Phones of all slots that are not reserved, over all proxies."""
        numbers = sorted(int(user.removeprefix("slot_")) for user in self.passwords)
        # The two whose number ends in 000 prove a proxy for the deploy.
        phones = [(n, self.passwords[f"slot_{n}"]) for n in numbers if n not in RESERVED and n % 1000]
        return Load([self.address[name] for name in PROXIES], phones, calls, hold)

    # --- what there is to see ----------------------------------------------------------------------------

    def sql(self, query: str) -> list[list[str]]:
        """Rows of a query, as the superuser, on the database's host."""
        secrets = json.loads((self.lab.state.folder / "secrets.json").read_text())
        done = self.hosts[self.database].exec(
            "docker", "exec", "-i", "-e", f"PGPASSWORD={secrets['postgres_admin_password']}", "vss-postgres",
            "psql", "-h", "127.0.0.1", "-U", "postgres", "-d", "vss_db", "-AtF", "\t", "-c", query,
        )  # fmt: skip
        return [line.split("\t") for line in done.stdout.splitlines()]

    def kamcmd(self, proxy: str, *arguments: str) -> str:
        """What `kamcmd` prints in a proxy's container."""
        return self.hosts[proxy].exec("docker", "exec", "vss-kamailio", "kamcmd", *arguments).stdout

    def serves(self, proxy: str) -> bool:
        """Whether its own health check says so."""
        return self.hosts[proxy].exec("docker", "exec", "vss-kamailio", "healthcheck", check=False).returncode == 0

    def bindings(self, proxy: str) -> set[tuple[str, str]]:
        """User and Contact of each binding that a proxy has in memory and that has not expired."""
        found, user, contact = set(), "", ""
        for line in self.kamcmd(proxy, "ul.dump").splitlines():
            key, _, value = line.strip().partition(": ")
            if key == "AoR":
                user = value
            elif key == "Address":
                contact = value.partition(";ob")[0]
            elif key == "Expires" and value.isdigit():  # else a word: expired, and not yet swept out
                found.add((user, contact))
        return found

    def destinations(self, proxy: str) -> dict[str, str]:
        """Flags (AP: active, IP: silent) of every gateway and proxy, as a proxy has it: URI -> flags."""
        text = self.kamcmd(proxy, "dispatcher.list")
        return dict(re.findall(r"URI: (\S+)\s+FLAGS: (\w+)", text))

    def peers(self, proxy: str) -> dict[str, str]:
        """Who the other proxies are for this one's DMQ: address -> active, disabled …"""
        text = self.kamcmd(proxy, "dmq.list_nodes")
        found = re.findall(r"host: (\S+).*?status: (\w+).*?local: (\d)", text, re.DOTALL)
        return {host: status for host, status, local in found if local == "0"}

    def schema(self, proxy: str) -> str:
        """The schema that holds what only this proxy writes."""
        return Member(proxy, self.address[proxy], frozenset()).schema

    def logs(self, host: str, container: str, lines: int = 40, since: str = "") -> str:
        """The last log lines of a container."""
        limit = ["--since", since] if since else ["--tail", str(lines)]
        done = self.hosts[host].exec("docker", "logs", *limit, container, check=False)
        return done.stdout + done.stderr

    def started_at(self, *hosts: str) -> dict[tuple[str, str], str]:
        """When each of our containers was started, (host, container) -> time: what changes here was restarted.

        One that is replaced at this very moment is not there.
        """
        ours = "docker ps -q --filter label=vss.digest"
        script = f"{ours} | xargs -r docker inspect -f '{{{{.Name}}}} {{{{.State.StartedAt}}}}' || true"
        found = {}
        for name in hosts or self.hosts:
            for line in self.hosts[name].exec("sh", "-c", script).stdout.splitlines():
                container, at = line.lstrip("/").split(" ", 1)
                found[name, container] = at
        return found

    def down(self) -> None:
        """Remove the lab and what was generated for it."""
        self.lab.down()


def eventually(condition: Callable[[], Any], within: float, what: str = "") -> float:
    """Wait until it is true, and return the seconds that it took."""
    began = time.monotonic()
    while not (seen := condition()):
        assert time.monotonic() < began + within, f"not within {within:g} s: {what or seen}"
        time.sleep(0.1)
    return time.monotonic() - began


def on_this_machine(seconds: float) -> float:
    """A bound for a machine that has time for the test; one with other work takes as much longer as everything does."""
    return seconds * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def others(proxy: str) -> Sequence[str]:
    return [name for name in PROXIES if name != proxy]
