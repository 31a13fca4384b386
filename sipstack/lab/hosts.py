"""A lab: hosts that behave like freshly installed Debian machines with SSH, brought up and down together."""

import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sipstack.errors import OperatorError
from sipstack.lab.admission import admit
from sipstack.lab.engine import engine_answers, ensure_engine
from sipstack.lab.image import ensure_host_image
from sipstack.lab.machine import LabHost
from sipstack.lab.namespaces import remove_namespaces
from sipstack.lab.network import (
    FIRST_HOST,
    FIRST_OUTSIDE,
    LabNetwork,
    ensure_network,
    find_network,
    give_sources_up,
    leave_sources_alone,
)
from sipstack.lab.shell import ensure_command, run
from sipstack.lab.state import LabState
from sipstack.lab.wiring import Wiring, as_wirings, played_addresses

__all__ = ["GROUPS", "Lab", "LabHost"]

GROUPS = ("databases", "media", "pbx", "proxies")
# What systemd and an engine need inside a container. --privileged would ask for all capabilities, which
# machines that are containers themselves cannot give.
CAPABILITIES = [
    "chown", "dac_override", "dac_read_search", "fowner", "fsetid", "kill", "setgid", "setuid", "setpcap",
    "linux_immutable", "net_bind_service", "net_broadcast", "net_admin", "net_raw", "ipc_lock", "ipc_owner",
    "sys_chroot", "sys_ptrace", "sys_admin", "sys_boot", "sys_nice", "mknod", "lease", "audit_write",
    "audit_control", "setfcap", "syslog",
]  # fmt: skip
RUN_OPTIONS = [
    *(f"--cap-add={capability}" for capability in CAPABILITIES),
    "--security-opt=seccomp=unconfined",
    "--security-opt=apparmor=unconfined",
    "--security-opt=systempaths=unconfined",
    "--device-cgroup-rule=a *:* rwm",
    "--cgroupns=private",
    "--tmpfs=/run:mode=0755,exec",
    "--tmpfs=/run/lock:mode=1777",
    "--tmpfs=/tmp:mode=1777,exec",
]
# One or several labels of RFC 1123: a host may be called by its full name.
HOST_NAME_MAX = 63  # bytes; Linux takes 64 (sethostname(2)), the engine one less
LABEL = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
# Bringing up is waiting more than working.
AT_A_TIME = 8


class Lab:
    """The hosts of one lab, its network and its folder `.state/<name>/`. Several labs can be up at once."""

    def __init__(self, name: str = "lab") -> None:
        # The name becomes part of interface names, which have 15 characters at most.
        if not re.fullmatch(r"[a-z][a-z0-9]{0,9}", name):
            raise OperatorError(f"lab name {name!r}: use a small letter and up to 9 more or digits")
        self.name = name
        self.label = f"sipstack.lab={name}"
        self.state = LabState(name)

    @property
    def network(self) -> LabNetwork:
        """OperatorError if this lab is not up."""
        if found := find_network(f"sipstack-{self.name}"):
            return found
        raise OperatorError(f"lab {self.name!r} is not up; run `sipstack lab up --name {self.name}`")

    def up(
        self,
        names: list[str],
        groups: dict[str, list[str]] | None = None,
        wirings: Mapping[str, Wiring] | None = None,
    ) -> list[LabHost]:
        """Bring up the hosts `names` beside those that run already; return all of the lab once SSH answers.

        groups: for each group of the inventory the names of its hosts; replaces what was said before. Without
        it, new hosts are put into every group. wirings: what hosts have of the real ones that they play; kept for
        hosts that are not in it. OperatorError for bad names and whatever the engine refuses.
        """
        for name in names:
            if not re.fullmatch(rf"{LABEL}(\.{LABEL})*", name) or len(name) > HOST_NAME_MAX:
                raise OperatorError(f"host name {name!r}: use small letters, digits and hyphens (RFC 1123)")
        ensure_command("ip", "iproute2")
        ensure_command("ssh", "openssh-client")
        ensure_engine()
        known = self._known()
        addresses = self._addresses(known["hosts"], names)
        chosen = self._groups(known, addresses, groups)
        wired = {**as_wirings(known["wirings"]), **(wirings or {})}
        image = ensure_host_image()
        played = played_addresses(wired.values())
        network = ensure_network(f"sipstack-{self.name}", f"sl-{self.name}", self.label, played)
        leave_sources_alone(network.bridge)
        self.state.prepare()
        plan = {name: network.address(last) for name, last in addresses.items()}
        self.state.write_names(plan, wired)
        self.state.write(plan, chosen, wired, {})  # so that a start that is interrupted can be taken up again
        hosts = [self._host(name, address) for name, address in plan.items()]
        key = self.state.key.with_suffix(".pub").read_text().strip()

        def bring_up(host: LabHost) -> list[str]:
            self._ensure_running(host, network, image)
            if wired:
                host.exec("sh", "/usr/local/sbin/lab-network")
            return admit(host, key, wired.get(host.name, Wiring()))

        with ThreadPoolExecutor(AT_A_TIME) as pool:
            keys = list(pool.map(bring_up, hosts))
            self.state.write(plan, chosen, wired, dict(zip(plan, keys, strict=True)))
            list(pool.map(LabHost.await_ssh, hosts))
        return hosts

    def hosts(self) -> list[LabHost]:
        """The hosts of this lab as hosts.json lists them; none if it is not up."""
        return [self._host(name, address) for name, address in self.state.read()["hosts"].items()]

    def down(self) -> None:
        """Remove all that carries this lab's label or name: hosts, volumes, network, namespaces, files."""
        remove_namespaces(self.name)
        if engine_answers():
            mine = ["--quiet", "--filter", f"label={self.label}"]
            if containers := run(["docker", "ps", "--all", *mine]).stdout.split():
                run(["docker", "rm", "--force", "--volumes", *containers])
            if volumes := run(["docker", "volume", "ls", *mine]).stdout.split():
                run(["docker", "volume", "rm", *volumes])
            if networks := run(["docker", "network", "ls", *mine]).stdout.split():
                run(["docker", "network", "rm", *networks])
            give_sources_up(f"sl-{self.name}")
        self.state.remove()

    def _host(self, name: str, address: str) -> LabHost:
        return LabHost(self.name, name, address, f"sipstack-{self.name}-{name}")

    def _known(self) -> dict[str, Any]:
        """What hosts.json says of hosts that exist. OperatorError if it is gone and they are not."""
        if not run(["docker", "ps", "--all", "--quiet", "--filter", f"label={self.label}"]).stdout:
            return {"hosts": {}, "groups": {}, "wirings": {}}
        if not self.state.hosts_json.exists():
            raise OperatorError(
                f"lab {self.name!r} runs, but its folder {self.state.folder} is gone; "
                f"run `sipstack lab down --name {self.name}` first"
            )
        return self.state.read()

    def _addresses(self, known: dict[str, str], names: list[str]) -> dict[str, int]:
        """The last byte of each host's address: kept for known hosts, the first free ones for new hosts."""
        last = {name: int(address.rsplit(".", 1)[1]) for name, address in known.items()}
        free = (number for number in range(FIRST_HOST, FIRST_OUTSIDE) if number not in set(last.values()))
        for name in names:
            if name not in last:
                last[name] = next(free)
        return last

    def _groups(
        self, known: dict[str, Any], hosts: dict[str, int], groups: dict[str, list[str]] | None
    ) -> dict[str, list[str]]:
        """The hosts of each group. OperatorError for unknown groups and hosts."""
        if groups is None:
            new = [name for name in hosts if name not in known["hosts"]]
            return {group: [*known["groups"].get(group, []), *new] for group in GROUPS}
        for group, members in groups.items():
            if group not in GROUPS:
                raise OperatorError(f"lab group {group!r} is unknown; the groups are {', '.join(GROUPS)}")
            if missing := [name for name in members if name not in hosts]:
                raise OperatorError(f"lab group {group!r} names {missing[0]!r}, which the lab does not have")
        return {group: list(groups.get(group, [])) for group in GROUPS}

    def _ensure_running(self, host: LabHost, network: LabNetwork, image: str) -> None:
        found = run(["docker", "inspect", "--format", "{{.State.Status}}", host.container], check=False)
        status = found.stdout.strip()
        if found.returncode == 0 and status == "running":
            return
        if status == "paused":
            host.unpause()
        elif found.returncode == 0:
            run(["docker", "start", host.container])
        else:
            print(f"starting {host.name} at {host.address}", flush=True)
            self._create(host, network, image)

    def _create(self, host: LabHost, network: LabNetwork, image: str) -> None:
        volume = f"{host.container}-docker"
        run(["docker", "volume", "create", "--label", self.label, volume])
        run([
            "docker", "run", "--detach", "--name", host.container, "--hostname", host.name,
            "--label", self.label, "--network", network.name, "--ip", host.address, *RUN_OPTIONS,
            # An engine inside cannot put its overlay file system on top of another one.
            "--volume", f"{volume}:/var/lib/docker",
            "--env", f"LAB_HOST={host.name}",
            "--volume", f"{self.state.etc_hosts}:/etc/hosts",
            "--volume", f"{self.state.addresses}:/etc/lab-addresses:ro",
            "--volume", f"{self.state.resolv_conf}:/etc/resolv.conf:ro",
            image,
        ])  # fmt: skip
