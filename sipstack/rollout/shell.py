"""Commands on a host in the middle of an operation, where the next step depends on what they say."""

from dataclasses import dataclass

from paramiko import SSHException
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.host import Host

from sipstack.privileges import privileges

COMMAND_SECONDS = 60


@dataclass(frozen=True)
class Answer:
    """What a command said: whether it ended well, and its output, errors among it. unreachable: it never began."""

    ok: bool
    text: str
    unreachable: bool = False


def run(host: Host, command: str, *, stdin: str = "", seconds: int = COMMAND_SECONDS) -> Answer:
    """Run a shell command on a host as root.

    stdin is not shown anywhere: secrets go this way. A command that takes longer than `seconds` has failed.
    """
    arguments = {**privileges(host), "_timeout": seconds}
    if stdin:
        arguments["_stdin"] = stdin
    try:
        ok, output = host.run_shell_command(command, **arguments)
    except (OSError, EOFError, SSHException, PyinfraError) as error:  # the connection is gone, or the time is up
        return Answer(False, str(error) or f"no end within {seconds} s")
    return Answer(ok, output.output.strip())
