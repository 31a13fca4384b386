"""What a lab leaves on the operator's disk: key, known hosts, SSH configuration, list of hosts."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sipstack.lab.shell import run
from sipstack.paths import STATE

FALLBACK_RESOLVERS = "/run/systemd/resolve/resolv.conf"


def state_name(lab: str) -> str:
    """The folder below `.state/` of a lab; never that of an inventory such as prod, whose secrets outlive every lab."""
    return lab if lab == "lab" else f"lab-{lab}"


class LabState:
    """The folder `.state/lab/`, or `.state/lab-<name>/` of another lab, readable by its owner only."""

    def __init__(self, lab: str) -> None:
        self.folder = STATE / state_name(lab)
        self.key = self.folder / "id_ed25519"
        self.known_hosts = self.folder / "known_hosts"
        self.ssh_config = self.folder / "ssh_config"
        self.hosts_json = self.folder / "hosts.json"
        self.etc_hosts = self.folder / "hosts"
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

    def _write_resolvers(self) -> None:
        # The engine's own name server sits on 127.0.0.11, which the engine inside a host cannot hand on to
        # its containers. So hosts get this machine's real resolvers, as a machine in its rack would.
        source = Path("/etc/resolv.conf").read_text()
        if "nameserver 127." in source and os.path.exists(FALLBACK_RESOLVERS):
            source = Path(FALLBACK_RESOLVERS).read_text()
        _write(self.resolv_conf, source)

    def read(self) -> dict[str, Any]:
        """The contents of hosts.json; no hosts and no groups if there is none."""
        if not self.hosts_json.exists():
            return {"hosts": {}, "groups": {}}
        loaded: dict[str, Any] = json.loads(self.hosts_json.read_text())
        return loaded

    def write_names(self, addresses: Mapping[str, str]) -> None:
        """Let the hosts know each other: the /etc/hosts that they all share."""
        lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback"]
        lines += [f"{address} {name}" for name, address in addresses.items()]
        _write(self.etc_hosts, "\n".join(lines) + "\n")

    def write(
        self,
        addresses: Mapping[str, str],
        groups: Mapping[str, list[str]],
        host_keys: Mapping[str, list[str]],
    ) -> None:
        """Write hosts.json, known_hosts and ssh_config. `host_keys`: for each host, lines `type base64`."""
        listed = {"hosts": dict(addresses), "groups": dict(groups)}
        _write(self.hosts_json, json.dumps(listed, indent=2) + "\n")
        known = [f"{name},{addresses[name]} {key}" for name, keys in host_keys.items() for key in keys]
        _write(self.known_hosts, "\n".join(known) + "\n")
        blocks = [f"Host {name}\n    HostName {address}\n" for name, address in addresses.items()]
        blocks.append(
            "Host *\n"
            "    User root\n"
            f'    IdentityFile "{self.key}"\n'
            "    IdentitiesOnly yes\n"
            f'    UserKnownHostsFile "{self.known_hosts}"\n'
            "    GlobalKnownHostsFile /dev/null\n"
            "    StrictHostKeyChecking yes\n"
            "    ConnectTimeout 10\n"
        )
        _write(self.ssh_config, "\n".join(blocks))

    def remove(self) -> None:
        """Remove the folder, with what was generated for the hosts that are gone."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _write(path: Path, text: str) -> None:
    # In place, not by renaming: two of these files are mounted into running hosts, which keep the inode.
    path.write_text(text)
