"""The firewall on a host: in force as it should be, or gone."""

from collections.abc import Generator
from hashlib import sha256

from pyinfra.api.command import PyinfraCommand, StringCommand
from pyinfra.api.operation import operation
from pyinfra.context import host

from sipstack.facts.firewall import Firewall, FirewallState
from sipstack.firewall import FOLDER, FORGETTER, FORGETTER_UNIT, MEDIA_TABLE, RULES, SERVICE, TABLE, UNIT, files
from sipstack.images import tar
from sipstack.operations.commands import add_files


@operation()
def rules_in_force(rules: str) -> Generator[PyinfraCommand, None, None]:
    """The kernel has these rules now, and after a reboot before anything opens a port.

    + rules: what nft has to load
    """
    state = host.get_fact(Firewall)
    if is_in_force(state, rules):
        host.noop("the firewall is as it should be")
        return
    entries = ((path.lstrip("/"), text.encode(), mode, 0) for path, (text, mode) in files(rules).items())
    yield add_files(tar(entries), "/")
    # Checked first: what nft does not like is said here, and not in the journal only. Loading replaces the old rules
    # in one step, and cuts nothing that is allowed before and after.
    yield StringCommand(
        f"/usr/sbin/nft -c -f {RULES} && systemctl daemon-reload && systemctl enable -q {SERVICE} {FORGETTER}"
        f" && systemctl reload-or-restart {SERVICE} && systemctl restart {FORGETTER}"
    )


def is_in_force(state: FirewallState, rules: str) -> bool:
    """Whether a host has these rules now and after a reboot."""
    wanted = {path: sha256(text.encode()).hexdigest() for path, (text, _) in files(rules).items()}
    return state.files == wanted and state.enabled and state.loaded


@operation()
def rules_gone() -> Generator[PyinfraCommand, None, None]:
    """Nothing of the firewall is left: there is nobody to keep out any more."""
    state = host.get_fact(Firewall)
    if not (state.files or state.enabled or state.loaded):
        host.noop("there is no firewall of ours")
        return
    yield StringCommand(
        f"systemctl disable -q --now {SERVICE} {FORGETTER};"
        f" for t in '{TABLE}' '{MEDIA_TABLE}'; do nft delete table $t 2>/dev/null; done;"
        f" rm -rf {FOLDER} {UNIT} {FORGETTER_UNIT} && systemctl daemon-reload"
    )
