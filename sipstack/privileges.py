"""How a command that no operation runs becomes root on a host."""

from typing import Any

from pyinfra.api.arguments import CONNECTOR_ARGUMENT_KEYS, pop_global_arguments
from pyinfra.api.host import Host


def privileges(host: Host) -> dict[str, Any]:
    """Arguments for `host.run_shell_command`: what the host's data and the command line say of sudo and the like."""
    arguments: dict[str, Any] = dict(pop_global_arguments(host.state, host, {})[0])
    return {key: value for key, value in arguments.items() if key in CONNECTOR_ARGUMENT_KEYS}
