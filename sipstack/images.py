"""The container images: what goes into each, and the tag that follows from it. No host is touched here."""

import hashlib
import io
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from sipstack.paths import ROOT
from sipstack.settings import Settings

# The version that files/postgres/Dockerfile installs.
POSTGRES_MAJOR = "17"


@dataclass(frozen=True)
class Image:
    """An image that is built on the host.

    context: folder of the repository that is the build's context, and the only files of it that are sent.
    """

    name: str
    context: str
    dockerfile: str
    paths: tuple[str, ...]
    args: tuple[tuple[str, str], ...]

    @cached_property
    def files(self) -> dict[str, Path]:
        """Every file of the build by its name in the context."""
        base = ROOT / self.context
        found: dict[str, Path] = {}
        for path in (self.dockerfile, *self.paths):
            start = base / path
            for file in sorted(start.rglob("*")) if start.is_dir() else [start]:
                if file.is_file() and "__pycache__" not in file.parts:
                    found[file.relative_to(base).as_posix()] = file
        return found

    @cached_property
    def digest(self) -> str:
        """Of everything that the build reads: files, their modes and the arguments."""
        total = hashlib.sha256(repr(self.args).encode())
        for name, file in sorted(self.files.items()):
            total.update(repr((name, file.stat().st_mode & 0o100, file.read_bytes())).encode())
        return total.hexdigest()[:12]

    @property
    def tag(self) -> str:
        return f"vss/{self.name}:{self.digest}"

    def archive(self) -> bytes:
        """The build context as a tar."""
        return tar(
            (name, file.read_bytes(), 0o755 if file.stat().st_mode & 0o100 else 0o644, 0)
            for name, file in self.files.items()
        )


def tar(entries: Iterable[tuple[str, bytes, int, int]]) -> bytes:
    """A gzipped tar of (name, content, mode, owner); the owner is a numeric user and group."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content, mode, owner in entries:
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, entry.uid, entry.gid = len(content), mode, owner, owner
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def all_images(settings: Settings) -> dict[str, Image]:
    """The image of each service, and of the probe."""
    args = (("BASE_IMAGE", settings.base_image), ("PACKAGES_AS_OF", settings.packages_as_of))

    def beside(service: str, *paths: str) -> Image:
        return Image(service, f"files/{service}", "Dockerfile", paths, args)

    return {
        "kamailio": Image(
            "kamailio",
            ".",
            "files/Dockerfile",
            ("files/kamailio/bin", "files/kamailio/etc/modules.cfg", "sql"),
            args,
        ),
        # The phones that prove a proxy from where it runs.
        "probe": Image("probe", ".", "files/probe/Dockerfile", ("sipstack/agent",), args),
        "postgres": beside("postgres", "entrypoint"),
        "rtpengine": beside("rtpengine", "healthcheck"),
        "asterisk": beside("asterisk", "unstable-source"),
    }
