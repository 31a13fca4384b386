"""The peer firewall on a host: in force as it should be, or gone."""

from collections.abc import Generator
from hashlib import sha256

from pyinfra.api.command import PyinfraCommand, StringCommand
from pyinfra.api.operation import operation
from pyinfra.context import host

from sipstack.facts.firewall import Firewall, FirewallState
from sipstack.firewall import FOLDER, RULES, SERVICE, TABLE, UNIT
from sipstack.images import tar
from sipstack.operations.commands import add_files


@operation()
def rules_in_force(rules: str, unit: str) -> Generator[PyinfraCommand, None, None]:
    """The kernel has these rules now, and after a reboot before anything opens a port.

    + rules: what nft has to load
    + unit: the systemd unit that loads it
    """
    state = host.get_fact(Firewall)
    if is_in_force(state, rules, unit):
        host.noop("the firewall is as it should be")
        return
    files = {RULES: rules, UNIT: unit}
    yield add_files(tar((path.lstrip("/"), text.encode(), 0o444, 0) for path, text in files.items()), "/")
    # Checked first: what nft does not like is said here, and not in the journal only. Loading replaces the old rules
    # in one step, and cuts nothing that is allowed before and after.
    yield StringCommand(
        f"/usr/sbin/nft -c -f {RULES} && systemctl daemon-reload && systemctl enable -q {SERVICE}"
        f" && systemctl reload-or-restart {SERVICE}"
    )


def is_in_force(state: FirewallState, rules: str, unit: str) -> bool:
    """Whether a host has these rules now and after a reboot."""
    files = {RULES: sha256(rules.encode()).hexdigest(), UNIT: sha256(unit.encode()).hexdigest()}
    return state.files == files and state.enabled and state.loaded


@operation()
def rules_gone() -> Generator[PyinfraCommand, None, None]:
    """Nothing of the peer firewall is left: none of this host's ports are for peers any more."""
    state = host.get_fact(Firewall)
    if not (state.files or state.enabled or state.loaded):
        host.noop("there is no firewall of ours")
        return
    yield StringCommand(
        f"systemctl disable -q --now {SERVICE}; nft delete table {TABLE} 2>/dev/null;"
        f" rm -rf {FOLDER} {UNIT} && systemctl daemon-reload"
    )
