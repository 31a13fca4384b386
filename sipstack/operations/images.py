"""Container images, built on the host."""

import shlex
from collections.abc import Generator
from pathlib import Path

from pyinfra.api.command import PyinfraCommand, QuoteString, StringCommand
from pyinfra.api.host import Host
from pyinfra.api.operation import operation
from pyinfra.context import host

from sipstack.errors import OperatorError
from sipstack.facts.engine import ImageTags
from sipstack.images import Image
from sipstack.operations.commands import Call, Upload, replace_folder
from sipstack.operations.packages import install
from sipstack.paths import HOME, ROOT
from sipstack.rollout.shell import run

# The limit is for a registry that swallows packets instead of refusing.
PULL_SECONDS = 120
BOOTSTRAP_SECONDS = 900
# What `docker save` made is loaded; a plain root file system is imported.
_ARCHIVE = (
    'if tar -tf "$1" manifest.json >/dev/null 2>&1; then docker load -q -i "$1"; else docker import "$1" {image}; fi; '
    "docker image inspect {image} >/dev/null"
)


@operation()
def base_image(image: str, source: str, archive: str) -> Generator[PyinfraCommand, None, None]:
    """The Debian image that every other image starts from.

    + image: its name, such as debian:trixie-slim
    + source: pull, bootstrap (mmdebstrap from the mirror that the host uses), archive, or auto (pull, else bootstrap)
    + archive: for source archive: tar of the image, on the operator's machine
    """
    if image in host.get_fact(ImageTags):
        host.noop(f"base image {image} is there")
        return
    quoted = shlex.quote(image)
    if source == "archive":
        yield Upload(ROOT / Path(archive), _ARCHIVE.format(image=quoted))
        return
    yield Call(_make_base_image, quoted, source)


def _make_base_image(host: Host, image: str, source: str) -> None:
    """Pull or bootstrap an image. image: its name, quoted for a shell. Raises OperatorError."""
    if source != "bootstrap":
        pulled = run(host, f"docker pull -q {image}", seconds=PULL_SECONDS)
        if pulled.ok:
            return
        if source == "pull":
            raise OperatorError(
                f"{image} cannot be pulled: {pulled.text}: set base_image_source to bootstrap or archive"
            )
        host.log_styled(
            f"no registry has {image}: it is made of packages of this host's mirror (a minute)", fg="yellow"
        )
    if not run(host, "command -v mmdebstrap").ok:
        install(host, ["mmdebstrap"])
    script = f"set -o pipefail; umask 022; mmdebstrap --variant=minbase --quiet trixie - | docker import - {image}"
    made = run(host, f"bash -c {shlex.quote(script)}", seconds=BOOTSTRAP_SECONDS)
    if not made.ok:
        raise OperatorError(f"{image} cannot be made: {made.text}")


@operation()
def image_built(image: Image) -> Generator[PyinfraCommand, None, None]:
    """An image is there, under a tag that names what it is made of.

    + image: what to build
    """
    if image.tag in host.get_fact(ImageTags):
        host.noop(f"image {image.tag} is there")
        return
    folder = f"{HOME}/build/{image.name}"
    yield replace_folder(image.archive(), folder)
    arguments = [bit for name, value in image.args for bit in ("--build-arg", QuoteString(f"{name}={value}"))]
    yield StringCommand(
        "docker", "build", "-q", "-t", image.tag, "-f", f"{folder}/{image.dockerfile}", *arguments, folder
    )
