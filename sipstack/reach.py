"""Hosts of the inventory that --limit leaves out, and that a run needs all the same."""

from paramiko import SSHException
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.host import Host

from sipstack.errors import OperatorError


def reach(host: Host, reason: str) -> None:
    """Connect to a host, unless it is connected.

    reason: what it is needed for, such as "for the deploy lock". Raises OperatorError when it cannot be reached.
    """
    if host.connected:
        return
    try:
        host.connect(reason=reason, show_errors=False, raise_exceptions=True)
    except (PyinfraError, OSError, SSHException) as error:
        raise OperatorError(f"{host.name} cannot be reached {reason}: {error}") from None
