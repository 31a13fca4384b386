"""What the table of `sipstack status` says of a host, from what the host says."""

import pytest

from sipstack.facts.releases import KeptRelease, Releases, Turn
from sipstack.images import Image
from sipstack.services import HostFile, Release, Service
from sipstack.status import draining, strangers

NOW = 1_790_000_000


def said(pause: int = 0, hold: int = 0, refuse: int = 0) -> str:
    """What a proxy prints; seconds from now, 0: never set."""
    until = {"pause": pause, "hold": hold, "refuse": refuse}
    lines = [f"{key}_until:{NOW + seconds if seconds else 0}" for key, seconds in until.items()]
    return "\n".join(["location_contacts: 3", *lines, f"now:{NOW}", ""])


@pytest.mark.parametrize(
    ("proxy", "cell"),
    [
        (said(), ""),
        (said(hold=-3, refuse=-1), ""),
        (said(refuse=43), "DRAINING (new calls are refused, for 43 s)"),
        (said(hold=5, refuse=43), "DRAINING (new calls wait, for 5 s)"),
        (said(pause=2, hold=8), "DRAINING (nothing is heard, for 2 s)"),
        # One of a release that has no such setting, and none at all.
        (f"pause_until:\nrefuse_until:{NOW + 4}\nnow:{NOW}\n", "DRAINING (new calls are refused, for 4 s)"),
        ("", ""),
    ],
)
def test_a_proxy_that_takes_no_new_calls_says_so(proxy: str, cell: str) -> None:
    assert draining(proxy) == cell


def test_containers_that_no_release_knows_are_named() -> None:
    service = Service("kamailio", Image("kamailio", ".", "files/Dockerfile", (), ()), (), "", "", ())
    wanted = Release("bb", (service,), HostFile("/opt/vss/releases/bb/compose.yml", b""), ())
    compose = "services:\n  rtpengine:\n    container_name: vss-rtpengine\n"
    releases = Releases("aa", [Turn("aa")], {"aa": KeptRelease("aa", compose)})
    names = {"vss-kamailio", "vss-rtpengine", "vss-watch", "vss-test"}
    assert strangers(names, wanted, releases) == [
        "vss-watch is a deploy's: it runs or was killed",
        "vss-test belongs to no release",
    ]
    assert strangers({"vss-kamailio"}, wanted, Releases()) == []
