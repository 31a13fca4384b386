"""The stage of a rehearsal: lab hosts that play an inventory, and the desk that reaches nothing else."""

import getpass
import os
import re
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from sipstack.errors import OperatorError
from sipstack.lab.hosts import Lab, LabHost
from sipstack.lab.namespaces import meet, namespace_names, write_file
from sipstack.lab.outside import Outside
from sipstack.lab.shell import as_root, ensure_command
from sipstack.lab.wiring import Wiring, as_wirings
from sipstack.rehearsal.mode import DESK, SSH_CONFIG, VARIABLE, desk_name
from sipstack.rehearsal.plan import Plan, lab_for, make_plan

# Of the operator's environment; what opens real hosts and real secrets stays outside.
WITHHELD = ("SIPSTACK_SECRET_", "SIPSTACK_AGE_", "SIPSTACK_LAB", "SSH_")


class Rehearsal:
    """The hosts that play one inventory. `lab` has them; several inventories can be played at once."""

    def __init__(self, inventory: str | Path) -> None:
        """inventory: its file; it is read by `up` only. OperatorError when called within a rehearsal."""
        if os.environ.get(VARIABLE):
            raise OperatorError(f"this is a rehearsal already ({VARIABLE} is set): leave it first")
        self.inventory = Path(inventory)
        self.lab = Lab(lab_for(inventory))
        self.desk = desk_name(self.lab.name)

    @cached_property
    def plan(self) -> Plan:
        """What is to be played. OperatorError where that cannot be."""
        return make_plan(self.inventory)

    def up(self) -> list[LabHost]:
        """Bring up the hosts that are not up yet, and the desk. Returns all of them once SSH answers.

        OperatorError if the inventory cannot be played, or not by the hosts that are up.
        """
        ensure_command("ip", "iproute2")
        ensure_command("ssh", "openssh-client")
        self._refuse_another_play(self.plan)
        self.lab.state.prepare()
        self._played.write_text(f"{self.plan.inventory}\n")
        hosts = self.lab.up(list(self.plan.wirings), dict(self.plan.groups), self.plan.wirings)
        self._set_desk(hosts)
        return hosts

    def down(self) -> None:
        """Remove hosts, disks, network, desk and what was generated."""
        self.lab.down()

    @property
    def exec_prefix(self) -> list[str]:
        """What to put before a command so that it runs at the desk. OperatorError if nothing is up."""
        if self.desk not in namespace_names(self.lab.name):
            raise OperatorError(f"{self.inventory} is not on stage: run `sipstack rehearse {self.inventory}` first")
        enter = as_root(["ip", "netns", "exec", self.desk])
        if os.geteuid() == 0:
            return enter
        # sudo passes on nearly nothing, and the command is to run as the operator.
        kept = [f"{key}={value}" for key, value in self.environment.items() if key in ("HOME", "LANG", "TERM")]
        ours = [f"{key}={value}" for key, value in self.environment.items() if key in ("PATH", "PYTHONPATH", VARIABLE)]
        return [*enter, "sudo", "-n", "-u", getpass.getuser(), "env", *kept, *ours]

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a command at the desk: the caller's, without keys and secrets, `pyinfra` in its PATH."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(WITHHELD)}
        return {**kept, VARIABLE: self.lab.name, "PATH": f"{Path(sys.executable).parent}:{kept.get('PATH', '')}"}

    def run(self, command: Sequence[str], cwd: Path | None = None) -> int:
        """Run a command at the desk, with this terminal; its exit status. OperatorError if nothing is up."""
        argv = [*self.exec_prefix, *command]
        return subprocess.run(argv, env=self.environment, cwd=cwd).returncode

    @property
    def _played(self) -> Path:
        return self.lab.state.folder / "rehearsed"

    def _refuse_another_play(self, plan: Plan) -> None:
        """What is up may be added to. A host that changes its address or goes would still be there as it was."""
        then = f"remove what is up first: `sipstack rehearse {self.inventory} --down`"
        if not self._played.exists():
            return
        if (played := self._played.read_text().strip()) != str(plan.inventory):
            raise OperatorError(f"{self.lab.name} plays {played}, and would play {self.inventory} too: {then}")
        for name, wiring in as_wirings(self.lab.state.read()["wirings"]).items():
            if plan.wirings.get(name) != wiring:
                raise OperatorError(f"{self.inventory}: {name} is up and has changed in the inventory: {then}")

    def _set_desk(self, hosts: Sequence[LabHost]) -> None:
        if self.desk not in namespace_names(self.lab.name):
            Outside(self.lab).isolated(DESK)
        meet(self.desk, self.lab.state.played())
        # sudo looks up this machine's own name.
        own = f"127.0.1.1 {socket.gethostname()}\n"
        write_file(self.desk, "hosts", self.lab.state.etc_hosts.read_text() + own)
        write_file(self.desk, "resolv.conf", "")
        if (ways := Path("/etc/nsswitch.conf")).exists():
            # Other ways to names, such as that to systemd-resolved, are sockets, which lead out of the namespace.
            only_files = re.sub(r"(?m)^hosts:.*$", "hosts: files", ways.read_text())
            write_file(self.desk, "nsswitch.conf", only_files)
        config = self.lab.state.folder / SSH_CONFIG
        config.write_text(_ssh_config(self.plan.wirings) + f"Host *\n{self.lab.state.ssh_options()}")


def _ssh_config(wirings: Mapping[str, Wiring]) -> str:
    """Users and ports, which the inventory may have left to the operator's own ssh_config."""
    return "".join(
        f"Host {' '.join([*wiring.aliases, *wiring.addresses])}\n"
        f"    User {wiring.ssh_user}\n    Port {wiring.ssh_port}\n"
        for wiring in wirings.values()
    )
