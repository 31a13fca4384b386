"""The image of a lab host: a fresh Debian machine, named by a digest of what it is made of."""

import hashlib
from pathlib import Path

from sipstack.lab.base import ensure_base_image, has_image
from sipstack.lab.shell import run

FOLDER = Path(__file__).parent / "host"
BUILD_SECONDS = 900


def ensure_host_image() -> str:
    """Return the tag `sipstack-lab/host:<12 hex>`, building the image if its inputs have changed."""
    base = ensure_base_image()
    inputs = [run(["docker", "image", "inspect", "--format", "{{.Id}}", base]).stdout.encode()]
    inputs += [path.name.encode() + b"\0" + path.read_bytes() for path in sorted(FOLDER.iterdir())]
    tag = f"sipstack-lab/host:{hashlib.sha256(b''.join(inputs)).hexdigest()[:12]}"
    if not has_image(tag):
        print(f"building {tag} (half a minute)", flush=True)
        build = ["docker", "build", "--build-arg", f"BASE={base}", "--tag", tag, str(FOLDER)]
        run(build, timeout=BUILD_SECONDS)
    return tag


def remove_images() -> None:
    """Remove every image that labs were made from."""
    # By tag, not by id: an image that something else uses too only loses our name.
    if ours := run(["docker", "image", "ls", "--format", "{{.Repository}}:{{.Tag}}", "sipstack-lab/*"]).stdout.split():
        run(["docker", "image", "rm", *ours])
