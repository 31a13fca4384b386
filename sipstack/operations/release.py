"""Releases: the files of a host, which of them is in force, and the containers that run it."""

from collections.abc import Generator
from hashlib import sha256

from pyinfra import host
from pyinfra.api.command import PyinfraCommand, StringCommand
from pyinfra.api.operation import operation

from sipstack.facts.engine import Containers, DeployedFiles, FileState
from sipstack.images import tar
from sipstack.operations.commands import add_files
from sipstack.paths import COMPOSE_FILE, HOME
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


@operation()
def in_force(release: Release) -> Generator[PyinfraCommand, None, None]:
    """The compose file under its well-known name is the one of this release.

    + release: what this host is to run
    """
    link = f"{HOME}/{COMPOSE_FILE}"
    target = release.compose.path.removeprefix(f"{HOME}/")
    present = host.get_fact(DeployedFiles).get(link)
    if present and present.sha256 == target:
        host.noop(f"release {release.name} is in force")
        return
    # A rename replaces the old link in one step.
    yield StringCommand(f"ln -sfn {target} {link}.new && mv -T {link}.new {link}")


@operation()
def service_up(service: Service, seconds: int) -> Generator[PyinfraCommand, None, None]:
    """A service runs as the release has it and is healthy. It restarts only when something that it reads has changed.

    + service: what should run
    + seconds: how long it may take to become healthy
    """
    running = host.get_fact(Containers).get(service.container)
    if running and running.digest == service.digest and running.serves:
        host.noop(f"{service.name} runs as it should")
        return
    compose = f"docker compose -f {HOME}/{COMPOSE_FILE}"
    # What keeps it from becoming healthy is in its log: the operator reads it here.
    yield StringCommand(
        f"{compose} up -d --no-deps --wait --wait-timeout {seconds} {service.name} 2>&1 || "
        f"{{ echo '--- the last log lines of {service.container}:'; docker logs --tail 15 {service.container} 2>&1; exit 1; }}"
    )


def _state(file: HostFile) -> FileState:
    return FileState(sha256(file.content).hexdigest(), file.mode, file.owner)
