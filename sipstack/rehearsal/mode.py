"""What a command does differently in a rehearsal: the lab's key opens the hosts, the lab's folder has the secrets."""

import os
from pathlib import Path

from sipstack.errors import OperatorError
from sipstack.lab.state import LabState

# The lab of the rehearsal in which a command runs; `sipstack rehearse` sets it.
VARIABLE = "SIPSTACK_REHEARSAL"
DESK = "desk"
SSH_CONFIG = "rehearsal_ssh_config"


def desk_name(lab: str) -> str:
    """The network namespace in which the commands of a rehearsal run: the operator's desk, moved into the lab."""
    return f"sl-{lab}-{DESK}"


def overrides() -> dict[str, object]:
    """Data that take the place of every host's own, in pyinfra's terms; none if this is no rehearsal.

    Users, ports, names and addresses stay the inventory's. Raises OperatorError outside of the lab's network, from
    where the inventory's names and addresses would lead to the real hosts.
    """
    lab = os.environ.get(VARIABLE)
    if not lab:
        return {}
    desk = Path("/run/netns", desk_name(lab))
    if not desk.exists() or desk.stat().st_ino != Path("/proc/self/ns/net").stat().st_ino:
        raise OperatorError(
            f"{VARIABLE}={lab} is set, but this is not its network: use `sipstack rehearse`, or unset it"
        )
    state = LabState(lab)
    return {
        "state": state.folder.name,
        "secrets_file": "",
        "ssh_config_file": str(state.folder / SSH_CONFIG),
        "ssh_known_hosts_file": str(state.known_hosts),
        "ssh_strict_host_key_checking": "yes",
        "ssh_key": str(state.key),
        "ssh_key_password": "",
        "ssh_password": "",
        "ssh_allow_agent": False,
        "ssh_look_for_keys": False,
        "ssh_forward_agent": False,
        "ssh_paramiko_connect_kwargs": {},
    }
