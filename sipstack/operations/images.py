"""Container images, built on the host."""

import shlex
from collections.abc import Generator
from pathlib import Path

from pyinfra.api.command import PyinfraCommand, QuoteString, StringCommand
from pyinfra.api.operation import operation
from pyinfra.context import host

from sipstack.facts.engine import ImageTags
from sipstack.images import Image
from sipstack.operations.commands import Upload, replace_folder
from sipstack.paths import HOME, ROOT

# The limit is for a registry that swallows packets instead of refusing.
_PULL = "timeout 120 docker pull -q {image}"
_APT = "DEBIAN_FRONTEND=noninteractive apt-get -o Acquire::Retries=5 -o APT::Update::Error-Mode=any -q"
_BOOTSTRAP = (
    f"{{{{ command -v mmdebstrap >/dev/null || {{{{ {_APT} update && {_APT} install -y --no-install-recommends "
    "mmdebstrap; }}; }} && "
    "set -o pipefail && mmdebstrap --variant=minbase --quiet trixie - | docker import - {image}"
)
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
    attempts = {"pull": [_PULL], "bootstrap": [_BOOTSTRAP], "auto": [_PULL, _BOOTSTRAP]}[source]
    script = " || ".join(f"( {attempt.format(image=quoted)} )" for attempt in attempts)
    yield StringCommand("bash", "-c", QuoteString(script))


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
