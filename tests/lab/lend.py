"""Images that one lab host has built, lent to others that would build the same: to bring a fleet up in half the time.

Tags name what an image is made of, so a deploy takes a lent one for its own, or does not look at it.
"""

import subprocess
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

from sipstack.lab.machine import LabHost

# As sipstack/deploys/prepare.py has it.
ENGINE = (
    "apt-get -o Acquire::Retries=5 -o APT::Update::Error-Mode=any -q update && "
    "apt-get -o Acquire::Retries=5 -qy --no-install-recommends install "
    "ca-certificates docker.io docker-cli docker-compose && systemctl start docker"
)
BUILT_FOR = {
    "proxies": ("vss/kamailio", "vss/probe"),
    "databases": ("vss/postgres",),
    "media": ("vss/rtpengine",),
    "pbx": ("vss/asterisk",),
}
BASE = "debian"


def lend(source: LabHost, hosts: Iterable[LabHost], groups: Mapping[str, Iterable[str]]) -> None:
    """Give each host what its groups need; one that has an engine already is left alone."""

    def give(host: LabHost) -> None:
        if host.exec("docker", "info", check=False).returncode == 0:
            return
        host.exec("sh", "-c", ENGINE, timeout=600)
        names = [BASE, *(name for group, named in groups.items() if host.name in named for name in BUILT_FOR[group])]
        _copy(source, host, [tag for tag in tags if tag.partition(":")[0] in names])

    listed = source.exec("docker", "images", "--format", "{{.Repository}}:{{.Tag}}").stdout.split()
    tags = [tag for tag in listed if "<none>" not in tag]
    with ThreadPoolExecutor() as pool:
        list(pool.map(give, hosts))


def _copy(source: LabHost, target: LabHost, tags: list[str]) -> None:
    save = ["docker", "exec", source.container, "docker", "save", *tags]
    load = ["docker", "exec", "--interactive", target.container, "docker", "load", "--quiet"]
    with subprocess.Popen(save, stdout=subprocess.PIPE) as saving:
        subprocess.run(load, stdin=saving.stdout, stdout=subprocess.DEVNULL, check=True, timeout=600)
    assert saving.returncode == 0
