"""Prepare: what is left over, engine, images, files. Touches nothing that serves calls."""

from pyinfra.api.deploy import deploy
from pyinfra.context import host
from pyinfra.operations import systemd

from sipstack.facts.engine import DeployedFiles
from sipstack.facts.system import MachineFact
from sipstack.node import Node
from sipstack.operations.engine import containers_live_on
from sipstack.operations.fleet import belongs
from sipstack.operations.images import base_image, image_built
from sipstack.operations.packages import packages_installed
from sipstack.operations.release import edited, files_present
from sipstack.operations.tidy import leftovers_removed
from sipstack.services import Release


@deploy("Fleet")
def fleet(node: Node) -> None:
    """Before any host has a secret, it is kept where the operator finds it again."""
    belongs(name=f"This host belongs to {node.secrets.name}", node=node)


@deploy("Left over")
def left_over() -> None:
    """What a run that was killed has left on trial is removed; nothing of it serves."""
    leftovers_removed(name="Nothing is left of a run that was killed")


@deploy("Engine")
def engine(node: Node) -> None:
    """Debian's Docker with the compose plugin, unless the host has an engine already."""
    machine = host.get_fact(MachineFact)
    if not (machine.docker and machine.compose):
        packages_installed(
            name="Docker and its compose plugin are installed",
            packages=["ca-certificates", "docker.io", "docker-cli", "docker-compose"],
        )
        systemd.service(name="Docker runs, also after a reboot", service="docker", running=True, enabled=True)
    containers_live_on(name="Containers live on while Docker restarts")


@deploy("Images")
def images(node: Node, release: Release) -> None:
    """The images of this host's services, each under a tag that names what it is made of."""
    settings = node.settings
    base_image(
        name=f"Base image {settings.base_image}",
        image=settings.base_image,
        source=settings.base_image_source,
        archive=settings.base_image_archive,
    )
    for image in host.loop(release.images):  # type: ignore[no-untyped-call]
        image_built(name=f"Image {image.tag}", image=image)


@deploy("Files")
def files(release: Release) -> None:
    """Configuration and secrets of every service, and the compose file."""
    present = host.get_fact(DeployedFiles)
    for file in edited(release.files, present):
        host.log_styled(f"{file.path} was changed by hand and is put right", fg="yellow")
    files_present(name="Files of the release are as they should be", files=release.files)
