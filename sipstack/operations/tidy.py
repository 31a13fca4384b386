"""What no release that is kept uses is removed."""

import shlex
from collections.abc import Generator, Iterable
from itertools import takewhile

from pyinfra.api.command import PyinfraCommand, StringCommand
from pyinfra.api.operation import operation
from pyinfra.context import host

from sipstack.facts.engine import ContainerNames, ImageTags
from sipstack.facts.releases import KeptRelease, Releases, ReleasesOnHost
from sipstack.paths import HOME
from sipstack.rollout.proof import WATCH
from sipstack.rollout.trial import CONTAINER as TRIAL
from sipstack.services import Release


@operation()
def tidied(release: Release, keep: int) -> Generator[PyinfraCommand, None, None]:
    """A bounded number of releases stays on the host, the latest, with their images and configurations.

    + release: what this host is to run
    + keep: how many there may be, that one among them
    """
    tags: set[str] = host.get_fact(ImageTags)
    folders, images = surplus(host.get_fact(ReleasesOnHost), tags, release, keep)
    if folders:
        yield StringCommand(f"cd {HOME} && rm -rf {' '.join(map(shlex.quote, sorted(folders)))}")
    if images:
        # One that a container of somebody else's still uses stays.
        yield StringCommand(f"docker image rm {' '.join(map(shlex.quote, sorted(images)))} >/dev/null 2>&1 || true")
    if not folders and not images:
        host.noop("there is nothing to remove")


@operation()
def leftovers_removed() -> Generator[PyinfraCommand, None, None]:
    """Nothing is left of a run that was killed: no release on trial, no watch over a switch."""
    names: set[str] = host.get_fact(ContainerNames)
    left = leftovers(names)
    if not left:
        host.noop("nothing is left of an earlier run")
        return
    # One that ends by itself in this moment is no failure.
    yield StringCommand(f"docker rm -f -v {' '.join(map(shlex.quote, left))} >/dev/null 2>&1 || true")


def leftovers(names: Iterable[str]) -> list[str]:
    """Containers that only a run in progress has: Compose adds to the trial's name when it checks a configuration."""
    return sorted(name for name in names if name in (WATCH, TRIAL) or name.startswith(f"{TRIAL}-run-"))


def surplus(present: Releases, tags: Iterable[str], release: Release, keep: int) -> tuple[set[str], set[str]]:
    """Folders below /opt/vss and images that nothing kept uses."""
    others = [name for name in (present.in_force, *present.served) if name in present.kept and name != release.name]
    kept = [present.kept[name] for name in dict.fromkeys(others)][: keep - 1]
    # What a refused release has left goes when another one has come: the run after a refusal has nothing to do.
    newer = takewhile(lambda one: one.name != release.name, present.kept.values())
    kept = list({one.name: one for one in (*kept, *newer)}.values())
    names = {release.name, *(one.name for one in kept)}
    configurations = KeptRelease(release.name, release.compose.content.decode()).configurations
    images = {image.tag for image in release.images}
    for one in (*kept, *(present.kept[name] for name in {release.name} & present.kept.keys())):
        configurations |= one.configurations
        images |= one.images
    folders = {f"releases/{name}" for name in present.kept.keys() - names} | present.configurations - configurations
    return folders, {tag for tag in tags if tag.startswith("vss/")} - images
