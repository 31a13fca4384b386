"""What looks after the containers of a host: it runs as it should, or is gone."""

import shlex
from collections.abc import Generator, Mapping, Sequence
from hashlib import sha256

from pyinfra.api.command import PyinfraCommand, StringCommand
from pyinfra.api.operation import operation
from pyinfra.context import host

from sipstack.facts.watch import Watch, WatchState
from sipstack.images import tar
from sipstack.operations.commands import add_files


@operation()
def watching(files: Mapping[str, tuple[bytes, int]], services: Sequence[str]) -> Generator[PyinfraCommand, None, None]:
    """It runs, now and after a reboot, and nothing else of it is there. A restart of it ends and cuts nothing off.

    + files: path -> content and mode
    + services: the units that run
    """
    state = host.get_fact(Watch)
    if is_watching(state, files, services):
        host.noop("it runs")
        return
    entries = ((path.lstrip("/"), content, mode, 0) for path, (content, mode) in files.items())
    yield add_files(tar(entries), "/")
    strangers, left = sorted((state.enabled | state.active).difference(services)), sorted(state.files.keys() - files)
    gone = [f"systemctl disable -q --now {' '.join(strangers)}"] if strangers else []
    gone += [f"rm -f {' '.join(map(shlex.quote, left))}"] if left else []
    names = " ".join(services)
    start = ["systemctl daemon-reload", f"systemctl enable -q {names}", f"systemctl restart {names}"]
    yield StringCommand(" && ".join([*gone, *start]))


def is_watching(state: WatchState, files: Mapping[str, tuple[bytes, int]], services: Sequence[str]) -> bool:
    """Whether a host has these files and no other, and these units run now and after a reboot."""
    wanted = {path: sha256(content).hexdigest() for path, (content, _) in files.items()}
    return state.files == wanted and state.enabled == state.active == set(services)
