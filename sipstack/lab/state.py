"""What a lab leaves on the operator's disk: key, known hosts, SSH configuration, list of hosts."""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sipstack.errors import OperatorError
from sipstack.lab.shell import run
from sipstack.lab.wiring import Wiring, host_names, ssh_targets
from sipstack.paths import STATE

FALLBACK_RESOLVERS = "/run/systemd/resolve/resolv.conf"


def state_name(lab: str) -> str:
    """The folder below `.state/` of a lab; never that of an inventory such as prod, whose secrets outlive every lab."""
    return lab if lab == "lab" else f"lab-{lab}"


def labs_with_hosts() -> list[str]:
    """The labs that left a list of hosts in `.state/`."""
    return sorted(file.parent.name.removeprefix("lab-") for file in STATE.glob("lab*/hosts.json"))


def current_lab() -> str:
    """The lab that is meant when none is named: SIPSTACK_LAB, else `lab`, else the only one.

    OperatorError if there is none, or no saying which.
    """
    known = labs_with_hosts()
    if named := os.environ.get("SIPSTACK_LAB"):
        if named not in known:
            raise OperatorError(f"no lab {named!r} is up; run `make demo` or `sipstack lab up --name {named}`")
        return named
    if "lab" in known or len(known) == 1:
        return "lab" if "lab" in known else known[0]
    if known:
        raise OperatorError(f"labs {', '.join(known)} are up; set SIPSTACK_LAB to one of them")
    raise OperatorError("no lab is up; run `make demo` or `sipstack lab up`")


class LabState:
    """The folder `.state/lab/`, or `.state/lab-<name>/` of another lab, readable by its owner only."""

    def __init__(self, lab: str) -> None:
        self.folder = STATE / state_name(lab)
        self.key = self.folder / "id_ed25519"
        self.known_hosts = self.folder / "known_hosts"
        self.ssh_config = self.folder / "ssh_config"
        self.hosts_json = self.folder / "hosts.json"
        self.etc_hosts = self.folder / "hosts"
        self.addresses = self.folder / "addresses"
        self.resolv_conf = self.folder / "resolv.conf"

    def prepare(self) -> None:
        """Make the folder, the key and the resolver file, keeping what is there."""
        STATE.mkdir(mode=0o700, exist_ok=True)
        self.folder.mkdir(mode=0o700, exist_ok=True)
        self.folder.chmod(0o700)
        if not self.key.exists():
            run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "sipstack-lab", "-f", str(self.key)])
        self._write_resolvers()
        self.etc_hosts.touch()
        self.addresses.touch()

    def _write_resolvers(self) -> None:
        # The engine's own name server sits on 127.0.0.11, which the engine inside a host cannot hand on to
        # its containers. So hosts get this machine's real resolvers, as a machine in its rack would.
        source = Path("/etc/resolv.conf").read_text()
        if "nameserver 127." in source and os.path.exists(FALLBACK_RESOLVERS):
            source = Path(FALLBACK_RESOLVERS).read_text()
        _write(self.resolv_conf, source)

    def read(self) -> dict[str, Any]:
        """The contents of hosts.json: `hosts`, `groups`, `wirings`; all of them empty if there is none."""
        found = json.loads(self.hosts_json.read_text()) if self.hosts_json.exists() else {}
        return {"hosts": {}, "groups": {}, "wirings": {}, **found}

    def played(self) -> list[str]:
        """The addresses that the hosts have beside the lab's own."""
        return [line.split()[0] for line in self.addresses.read_text().splitlines()] if self.addresses.exists() else []

    def write_names(self, addresses: Mapping[str, str], wirings: Mapping[str, Wiring]) -> None:
        """Let the hosts know each other: the /etc/hosts that they all share, and who plays which address."""
        lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback"]
        for name, address in addresses.items():
            wiring = wirings.get(name, Wiring())
            lines.append(f"{wiring.address(address)} {' '.join(host_names(name, wiring, addresses))}")
        _write(self.etc_hosts, "\n".join(lines) + "\n")
        played = [f"{address} {name}\n" for name, wiring in wirings.items() for address in wiring.addresses]
        _write(self.addresses, "".join(played))

    def write(
        self,
        addresses: Mapping[str, str],
        groups: Mapping[str, list[str]],
        wirings: Mapping[str, Wiring],
        host_keys: Mapping[str, list[str]],
    ) -> None:
        """Write hosts.json, known_hosts and ssh_config. `host_keys`: for each host, lines `type base64`."""
        wired = {name: asdict(wiring) for name, wiring in wirings.items()}
        listed = {"hosts": dict(addresses), "groups": dict(groups), "wirings": wired}
        _write(self.hosts_json, json.dumps(listed, indent=2) + "\n")
        known = [
            f"{','.join(ssh_targets(name, addresses[name], wirings.get(name, Wiring())))} {key}"
            for name, keys in host_keys.items()
            for key in keys
        ]
        _write(self.known_hosts, "\n".join(known) + "\n")
        blocks = [f"Host {name}\n    HostName {address}\n" for name, address in addresses.items()]
        blocks.append(f"Host *\n    User root\n{self.ssh_options()}")
        _write(self.ssh_config, "\n".join(blocks))

    def ssh_options(self) -> str:
        """The lines of an ssh_config that let our key in, and no other."""
        return (
            f'    IdentityFile "{self.key}"\n'
            "    IdentitiesOnly yes\n"
            f'    UserKnownHostsFile "{self.known_hosts}"\n'
            "    GlobalKnownHostsFile /dev/null\n"
            "    StrictHostKeyChecking yes\n"
            "    ConnectTimeout 10\n"
        )

    def remove(self) -> None:
        """Remove the folder, with what was generated for the hosts that are gone."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _write(path: Path, text: str) -> None:
    # In place, not by renaming: three of these files are mounted into running hosts, which keep the inode.
    path.write_text(text)
