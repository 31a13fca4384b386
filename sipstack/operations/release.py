"""Releases: the files of a host, which of them is in force, and the containers that run it."""

import re
import shlex
from collections.abc import Generator, Iterable, Mapping
from hashlib import sha256

from pyinfra.api.command import PyinfraCommand, StringCommand
from pyinfra.api.operation import operation
from pyinfra.context import host

from sipstack.facts.engine import Container, Containers, DeployedFiles, FileState
from sipstack.facts.releases import block
from sipstack.images import tar
from sipstack.node import Node
from sipstack.operations.commands import Call, add_files
from sipstack.paths import HOME
from sipstack.provenance import about
from sipstack.rollout.report import REPORT
from sipstack.rollout.scripts import LINK, into_force
from sipstack.rollout.service import Change, await_health, change
from sipstack.services import HostFile, Release, Service


@operation()
def files_present(files: list[HostFile]) -> Generator[PyinfraCommand, None, None]:
    """Files are on the host, with the content, owner and mode that they should have.

    Each lies in a folder named by its content, so writing them touches nothing that serves.

    + files: all files of a release
    """
    present = host.get_fact(DeployedFiles)
    wrong = [file for file in files if present.get(file.path) != _state(file)]
    if not wrong:
        host.noop("all files are as they should be")
        return
    prefix = f"{HOME}/"
    yield add_files(tar((f.path.removeprefix(prefix), f.content, f.mode, f.owner) for f in wrong), HOME)
    # Folders that a run with another umask has made.
    yield StringCommand(f"find {HOME}/config {HOME}/releases -type d ! -perm -005 -exec chmod a+rx {{}} +")


@operation()
def in_force(release: Release) -> Generator[PyinfraCommand, None, None]:
    """The compose file under its well-known name is the one of this release.

    + release: what this host is to run
    """
    present = host.get_fact(DeployedFiles).get(LINK)
    if present and present.sha256 == release.compose.path.removeprefix(f"{HOME}/"):
        host.noop(f"release {release.name} is in force")
        return
    if REPORT.halted:
        host.noop(f"not put in force: the run stopped at {REPORT.halted}")
        return
    yield StringCommand(into_force(release.name, shlex.quote(about("deploy"))))


@operation()
def service_up(
    node: Node, release: Release, service: Service | None, seconds: int
) -> Generator[PyinfraCommand, None, None]:
    """A service runs as the release has it and is healthy. It restarts only when something that it reads has changed.

    + node: this host
    + release: what this host is to run
    + service: what should run; None where this host does not have it
    + seconds: how long it may take to become healthy
    """
    if service is None:
        host.noop("this host does not have it")
        return
    running = host.get_fact(Containers).get(service.container)
    present = host.get_fact(DeployedFiles)
    replaced = reads_other(service, running, present)
    if running and running.serves and not replaced:
        if running.healthy:
            host.noop(f"{service.name} runs as it should")
        else:
            yield Call(await_health, service.name, release.compose.path, seconds)
        return
    # Not by the well-known name: that one changes when all of the release runs, and the proxy with it.
    replace = removed_first(service, running, present)
    serves = running is not None and running.serves
    yield Call(change, node, Change(service.name, release.compose.path, seconds, replace, serves))


def reads_other(service: Service, running: Container | None, present: Mapping[str, FileState]) -> bool:
    """Whether a container runs with something else than the release says: it has to be made anew."""
    if running is None or running.digest != service.digest or edited(service.files, present):
        return True
    # A file that was put right after the container started is not what the container has read.
    return any(present[file.path].modified > running.started for file in service.files if file.path in present)


def removed_first(service: Service, running: Container | None, present: Mapping[str, FileState]) -> bool:
    """Whether a container has to be removed before Compose starts the service anew.

    Compose does not see a file that was edited in its place, and leaves an unhealthy container as it is.
    """
    if running is None or running.digest != service.digest:
        return False
    return reads_other(service, running, present) or running.health == "unhealthy"


def edited(files: Iterable[HostFile], present: Mapping[str, FileState]) -> list[HostFile]:
    """Files that somebody has changed by hand: they are there, and not as their folder's name says."""
    return [file for file in files if file.path in present and present[file.path] != _state(file)]


def why_restart(
    service: Service, running: Container | None, present: Mapping[str, FileState], compose: str
) -> list[str]:
    """What a service restarts for, in words; empty when it does not.

    compose: the compose file that is in force now.
    """
    if running is None:
        return ["not there yet"]
    if running.digest != service.digest:
        old = block(compose, service.name)
        changed = [*_changed_files(service, old, present), *_changed_lines(old, service.compose)]
        return changed or ["what it reads was changed by a run that did not end"]
    if by_hand := edited(service.files, present):
        return [f"{_short(service, file.path)} was changed by hand" for file in by_hand]
    if reads_other(service, running, present):
        return ["its files were put right after it started"]
    if running.status != "running":
        return [f"it is {running.status}"]
    return [] if running.serves else [f"it is {running.health}"]


def _short(service: Service, path: str) -> str:
    """A file's path as the service sees it: without our folder and the folder named by content."""
    return path.removeprefix(f"{HOME}/config/{service.name}/").partition("/")[2]


def _changed_files(service: Service, old_block: str, present: Mapping[str, FileState]) -> list[str]:
    folder = re.search(rf"{HOME}/config/{service.name}/[0-9a-f]+/", old_block)
    if not folder:
        return []
    wanted = {_short(service, file.path): _state(file) for file in service.files}
    found = {path.removeprefix(folder[0]): state for path, state in present.items() if path.startswith(folder[0])}
    return sorted(
        f"{path} {'is new' if path not in found else 'is gone' if path not in wanted else 'changed'}"
        for path in wanted.keys() | found.keys()
        if wanted.get(path) != found.get(path)
    )


def _changed_lines(old: str, new: str) -> list[str]:
    """`key: old -> new` for each line that differs; where files lie and the digest follow from the rest."""
    was, now = _lines(old), _lines(new)
    return [
        f"{key} {was.get(key, 'unset')} -> {now.get(key, 'unset')}"
        for key in [*now, *(key for key in was if key not in now)]
        if was.get(key) != now.get(key)
    ]


def _lines(block: str) -> dict[str, str]:
    lines = (line.strip() for line in block.split("\n"))
    pairs = (line.partition(": ")[::2] for line in lines if line and line[0] != "#" and f"{HOME}/config/" not in line)
    return {key: value.strip('"') or "set" for key, value in pairs if key != "vss.digest" and key[-1] != ":"}


def _state(file: HostFile) -> FileState:
    return FileState(sha256(file.content).hexdigest(), file.mode, file.owner)
