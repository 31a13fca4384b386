"""Commands on a host in the middle of an operation, where the next step depends on what they say."""

import shlex
from dataclasses import dataclass

from paramiko import SSHException
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.host import Host

from sipstack.privileges import privileges

COMMAND_SECONDS = 60
# The host's own limit comes first, for it can tell what was said until then.
_GRACE_SECONDS = 10


@dataclass(frozen=True)
class Answer:
    """What a command said: whether it ended well, and its output, errors among it.

    unreachable: the host could not be asked, or has not told how it ended.
    """

    ok: bool
    text: str
    unreachable: bool = False


def run(host: Host, command: str, *, stdin: str = "", seconds: int = COMMAND_SECONDS) -> Answer:
    """Run a shell command on a host as root.

    stdin is not shown anywhere: secrets go this way. A command that takes longer than `seconds` has failed, and is
    ended there, also if nobody waits for it any more.
    """
    arguments = {**privileges(host), "_timeout": seconds + _GRACE_SECONDS}
    if stdin:
        arguments["_stdin"] = stdin
    try:
        ok, output = host.run_shell_command(bounded(command, seconds), **arguments)
    except (OSError, EOFError, SSHException, PyinfraError) as error:
        # The connection is gone: a host that is there ends the command in time by itself, and says so.
        return Answer(False, str(error) or f"no answer within {seconds + _GRACE_SECONDS} s", unreachable=True)
    return Answer(ok, output.output.strip())


def bounded(command: str, seconds: int) -> str:
    """A shell command that ends after so many seconds by itself, and says so: timeout's exit status is 124."""
    limited = f"timeout -k 5 {seconds} sh -c {shlex.quote(command)}"
    return f'{limited}; status=$?; [ $status != 124 ] || echo "no end within {seconds} s"; exit $status'
