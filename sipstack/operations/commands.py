"""Two kinds of commands that pyinfra does not have: a private upload, and a function whose errors are one line."""

import shlex
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

from pyinfra.api.command import PyinfraCommand
from pyinfra.api.host import Host

from sipstack.errors import OperatorError


class Call(PyinfraCommand):
    """Call a function with the host and the given arguments; an OperatorError fails the operation in one line."""

    def __init__(self, function: Callable[..., None], *arguments: object) -> None:
        super().__init__()
        self.function = function
        self.arguments = arguments

    def __repr__(self) -> str:
        return f"Call({self.function.__name__})"

    def execute(self, state: Any, host: Host, connector_arguments: Any) -> bool:
        try:
            self.function(host, *self.arguments)
        except OperatorError as error:
            host.log_styled(str(error), fg="red")
            return False
        return True


class Upload(PyinfraCommand):
    """Upload a file and run a shell script with its place on the host as $1.

    The file lies in a folder that only the SSH user and root can read, and is removed afterwards.

    + content: bytes, or a file of the operator's machine
    + script: what to do with it (sh -eu)
    """

    def __init__(self, content: bytes | Path, script: str) -> None:
        super().__init__()
        self.content = content
        self.script = script

    def __repr__(self) -> str:
        return "Upload()"

    def execute(self, state: Any, host: Host, connector_arguments: Any) -> bool:
        # As the SSH user, whatever sudo says: SFTP knows no sudo, and the folder has to be that user's.
        made, output = host.run_shell_command("mktemp -d")
        if not made:
            host.log_styled(f"cannot make a temporary folder: {output.stderr}", fg="red")
            return False
        folder = output.stdout_lines[-1].strip()
        try:
            source = BytesIO(self.content) if isinstance(self.content, bytes) else str(self.content)
            host.put_file(source, f"{folder}/upload")
            # Whatever umask root has there: a container's account reads what lies in these folders.
            script = f"umask 022; {self.script}"
            command = f"sh -euc {shlex.quote(script)} upload {folder}/upload"
            done, output = host.run_shell_command(command, **connector_arguments)
            if not done:
                host.log_styled(output.stderr.strip() or "the upload could not be unpacked", fg="red")
            return done
        finally:
            host.run_shell_command(f"rm -rf {folder}")


def replace_folder(content: bytes, folder: str) -> Upload:
    """Make `folder` what a gzipped tar holds; it is never seen half filled."""
    quoted = shlex.quote(folder)
    return Upload(
        content,
        f'new={quoted}.new; rm -rf "$new"; mkdir -p "$new"; tar -xzf "$1" -C "$new"; '
        f'rm -rf {quoted}; mv "$new" {quoted}',
    )


def add_files(content: bytes, folder: str) -> Upload:
    """Unpack a gzipped tar over `folder`, with owners and modes. A file in use keeps its old content for its users.

    Each file's time is that of the unpacking: a container that started before has not read it.
    """
    quoted = shlex.quote(folder)
    return Upload(content, f'mkdir -p {quoted}; tar -xzpmf "$1" -C {quoted} --unlink-first')
