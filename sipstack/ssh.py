"""SSH to the hosts of an inventory, for what is done beside a deploy."""

import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import testinfra  # type: ignore[import-untyped]

from sipstack.errors import OperatorError
from sipstack.paths import ROOT

COMMAND_SECONDS = 20


class Connections:
    """SSH to hosts with the options that pyinfra has for them; a context manager. It asks nothing and waits for no one.

    Each host has one connection, which its commands share (OpenSSH's ControlMaster), and a configuration file of its
    own in a private folder that goes away.
    """

    def __init__(self, hosts: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
        self._hosts = dict(hosts)
        self._used: set[str] = set()
        # Hosts that did not answer once are not waited for again.
        self._lost: dict[str, str] = {}
        self._folder = Path(tempfile.mkdtemp(prefix="ssh-"))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in self._used:
            if self._config(name).exists():
                subprocess.run([*self._ssh(name, "-O", "exit"), self._target(name)], capture_output=True, timeout=10)
        # A connection that is closing removes its own socket at the same time.
        shutil.rmtree(self._folder, ignore_errors=True)

    def run(
        self, name: str, command: str, stdin: str = "", seconds: float = COMMAND_SECONDS
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell command on a host, as root where the inventory says _sudo.

        Raises OperatorError when SSH does not get there, or the command takes longer than `seconds`; from then on at
        once for that host.
        """
        self._used.add(name)
        if name in self._lost:
            raise OperatorError(self._lost[name])
        if self._hosts[name].get("_sudo"):
            command = f"sudo -n sh -c {shlex.quote(command)}"
        argv = ["sh", "-c", command] if _is_local(name) else [*self._ssh(name), self._target(name), command]
        try:
            done = subprocess.run(argv, input=stdin, capture_output=True, text=True, errors="replace", timeout=seconds)
        except subprocess.TimeoutExpired:
            self._lost[name] = f"{name}: no end of `{command}` within {seconds:g} s: look at the host"
            raise OperatorError(self._lost[name]) from None
        if done.returncode == 255 and not _is_local(name):
            said = done.stderr.strip().splitlines() or ["no message"]
            self._lost[name] = f"{name}: no SSH: {said[-1]}: check ssh_hostname, ssh_user and ssh_key"
            raise OperatorError(self._lost[name])
        return done

    def fact(self, name: str, kind: type[Any]) -> Any:
        """A fact of pyinfra's kind about a host. Raises OperatorError as `run` does."""
        asked = kind()
        return asked.process(self.run(name, asked.command()).stdout.splitlines())

    def testinfra(self, name: str) -> Any:
        """The host for testinfra's own modules, over the same connection."""
        self._used.add(name)
        sudo = bool(self._hosts[name].get("_sudo"))
        if _is_local(name):
            return testinfra.get_host("local://", sudo=sudo)
        return testinfra.get_host(f"ssh://{self._target(name)}", ssh_config=str(self.ssh_config(name)), sudo=sudo)

    def _target(self, name: str) -> str:
        return str(self._hosts[name].get("ssh_hostname") or name.removeprefix("@ssh/"))

    def _ssh(self, name: str, *options: str) -> list[str]:
        return ["ssh", "-F", str(self.ssh_config(name)), *options]

    def _config(self, name: str) -> Path:
        return self._folder / f"{list(self._hosts).index(name)}.config"

    def ssh_config(self, name: str) -> Path:
        """The configuration file of OpenSSH for a host. Raises OperatorError where SSH is not the way."""
        file = self._config(name)
        if not file.exists():
            if name.startswith("@") and not name.startswith("@ssh/"):
                raise OperatorError(f"{name}: only hosts by SSH and @local can be reached from here: use one of them")
            file.write_text("".join(f"{line}\n" for line in self._options(self._hosts[name])))
        return file

    def _options(self, data: Mapping[str, Any]) -> Iterator[str]:
        if data.get("ssh_password"):
            raise OperatorError("ssh_password: passwords cannot be used here: give ssh_key, or a key in the agent")
        for key, option in (
            ("ssh_port", "Port"),
            ("ssh_user", "User"),
            ("ssh_strict_host_key_checking", "StrictHostKeyChecking"),
        ):
            if value := data.get(key):
                yield f"{option} {value}"
        if own_key := data.get("ssh_key"):
            # pyinfra takes a relative name from where it is started, the repository.
            yield f'IdentityFile "{ROOT / Path(own_key).expanduser()}"'
            yield "IdentitiesOnly yes"
        if known := data.get("ssh_known_hosts_file"):
            yield f'UserKnownHostsFile "{ROOT / Path(known).expanduser()}"'
        if not data.get("ssh_strict_host_key_checking"):
            yield "StrictHostKeyChecking accept-new"  # pyinfra's default
        yield from ("BatchMode yes", "ConnectTimeout 10", "ServerAliveInterval 5", "ServerAliveCountMax 3")
        yield from ("ControlMaster auto", "ControlPersist 60", f"ControlPath {self._folder}/%C", "LogLevel ERROR")
        # Of two values the first counts, so the operator's own file (a jump host, say) adds to the above.
        yield f'Include "{Path(data.get("ssh_config_file") or "~/.ssh/config").expanduser()}"'


def _is_local(name: str) -> bool:
    return name == "@local"
