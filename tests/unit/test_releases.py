"""Releases on a host: read from what lies there, and which of them go."""

from sipstack.facts.releases import Releases, ReleasesOnHost
from sipstack.images import Image
from sipstack.operations.tidy import surplus
from sipstack.services import HostFile, Release, Service

COMPOSE = """name: vss

services:
  kamailio:
    image: vss/kamailio:{n}
    container_name: vss-kamailio

    labels:
      vss.digest: "digest{n}"
    volumes:
      - /opt/vss/config/kamailio/{n}/etc:/etc/kamailio:ro
  kamailio-trial:
    extends:
      service: kamailio
"""


def on_host(*names: str, history: str, in_force: str) -> Releases:
    """history: names; one that was gone back to begins with a minus."""
    turns = [(name.lstrip("-"), "rollback" if name[0] == "-" else "deploy") for name in history.split()]
    noted = [f"= history {name}\t2026-11-30T10:00:00Z\t{verb}\troot@ops1\tabc1234 Why" for name, verb in turns]
    lines = [f"= in_force {in_force}", *noted]
    lines += [f"= config config/kamailio/{name}" for name in names]
    for name in names:
        lines += [f"= release {name}", *COMPOSE.format(n=name).splitlines()]
    return ReleasesOnHost().process(lines)


def wanted(name: str) -> Release:
    image = Image("kamailio", ".", "files/Dockerfile", (), ())
    file = HostFile(f"/opt/vss/releases/{name}/compose.yml", COMPOSE.format(n=name).encode())
    read = HostFile(f"/opt/vss/config/kamailio/{name}/etc/kamailio.cfg", b"")
    return Release(name, (Service("kamailio", image, (read,), "", "", ()),), file, (image,))


def test_a_release_says_what_it_uses() -> None:
    release = on_host("aa", history="aa", in_force="aa").kept["aa"]
    assert release.images == {"vss/kamailio:aa"}
    assert release.configurations == {"config/kamailio/aa"}
    assert release.digest("kamailio") == "digestaa"
    assert release.digest("postgres") == ""


def test_the_ways_back_are_those_that_served_the_latest_first() -> None:
    # dd was refused: it never served. ee is gone.
    found = on_host("aa", "bb", "cc", "dd", history="ee aa bb aa bb cc", in_force="cc")
    assert found.ways_back == ["bb", "aa"]


def test_each_rollback_goes_one_step_further() -> None:
    assert on_host("aa", "bb", "cc", history="aa bb cc", in_force="cc").ways_back == ["bb", "aa"]
    assert on_host("aa", "bb", "cc", history="aa bb cc -bb", in_force="bb").ways_back == ["aa"]
    assert on_host("aa", "bb", "cc", history="aa bb cc -bb -aa", in_force="aa").ways_back == []
    # What comes after that is a step of its own.
    assert on_host("aa", "bb", "cc", "dd", history="aa bb cc -bb dd", in_force="dd").ways_back == ["bb", "aa"]
    # Forward again, by name.
    assert on_host("aa", "bb", "cc", history="aa bb cc -bb -cc", in_force="cc").ways_back == ["bb", "aa"]


def test_a_history_of_before_it_told_more_is_read() -> None:
    lines = ["= history aa", "= history bb", "= in_force bb"]
    found = ReleasesOnHost().process([*lines, "= release aa", "= release bb"])
    assert found.ways_back == ["aa"]
    assert found.history[0].who == ""


def test_the_latest_are_kept_with_what_they_use() -> None:
    found = on_host("cc", "dd", "bb", "aa", history="aa bb cc", in_force="cc")
    tags = {"vss/kamailio:aa", "vss/kamailio:bb", "vss/kamailio:cc", "debian:trixie-slim", "other/thing:1"}
    folders, images = surplus(found, tags, wanted("cc"), keep=2)
    assert folders == {"releases/aa", "releases/dd", "config/kamailio/aa", "config/kamailio/dd"}
    assert images == {"vss/kamailio:aa"}


def test_what_a_refusal_left_stays_until_another_release_comes() -> None:
    found = on_host("fe", "aa", history="aa", in_force="aa")
    assert surplus(found, {"vss/kamailio:aa", "vss/kamailio:fe"}, wanted("aa"), keep=2) == (set(), set())


def test_nothing_goes_while_there_are_few() -> None:
    found = on_host("aa", "bb", history="aa bb", in_force="bb")
    folders, images = surplus(found, {"vss/kamailio:aa", "vss/kamailio:bb"}, wanted("bb"), keep=2)
    assert (folders, images) == (set(), set())
