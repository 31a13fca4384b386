"""The watch over the database on a host: running as it should, or gone."""

from collections.abc import Generator, Mapping
from hashlib import sha256

from pyinfra.api.command import PyinfraCommand, StringCommand
from pyinfra.api.operation import operation
from pyinfra.context import host

from sipstack.facts.watch import Watch, WatchState
from sipstack.images import tar
from sipstack.operations.commands import add_files
from sipstack.watch import FOLDER, SERVICE, UNIT


@operation()
def watching(files: Mapping[str, tuple[bytes, int]]) -> Generator[PyinfraCommand, None, None]:
    """The watch runs, now and after a reboot. A restart of it cuts nothing off.

    + files: path -> content and mode
    """
    if is_watching(host.get_fact(Watch), files):
        host.noop("the database is watched")
        return
    entries = ((path.lstrip("/"), content, mode, 0) for path, (content, mode) in files.items())
    yield add_files(tar(entries), "/")
    yield StringCommand(f"systemctl daemon-reload && systemctl enable -q {SERVICE} && systemctl restart {SERVICE}")


def is_watching(state: WatchState, files: Mapping[str, tuple[bytes, int]]) -> bool:
    """Whether a host has these files, and the watch runs now and after a reboot."""
    wanted = {path: sha256(content).hexdigest() for path, (content, _) in files.items()}
    return state.files == wanted and state.enabled and state.active


@operation()
def watch_gone() -> Generator[PyinfraCommand, None, None]:
    """Nothing of the watch is left."""
    state = host.get_fact(Watch)
    if not (state.files or state.enabled or state.active):
        host.noop("nothing watches the database")
        return
    yield StringCommand(f"systemctl disable -q --now {SERVICE}; rm -rf {FOLDER} {UNIT} && systemctl daemon-reload")
