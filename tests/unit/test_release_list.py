"""What `sipstack releases` tells of the releases on several hosts."""

from sipstack.facts.engine import FileState
from sipstack.releases import OnHost, rows
from tests.unit.test_releases import on_host


def host(name: str, *releases: str, history: str, in_force: str, passwords: str = "") -> OnHost:
    """passwords: what the proxy's file holds in each release, a letter each."""
    found = on_host(*releases, history=history, in_force=in_force)
    secrets = dict(zip(releases, passwords or "x" * len(releases), strict=True))
    files = {
        f"/opt/vss/config/kamailio/{release}/postgres_password": FileState(secret, 0o400, 0)
        for release, secret in secrets.items()
    }
    return OnHost(name, found, {f"vss/kamailio:{release}" for release in releases}, files)


def states(*hosts: OnHost) -> dict[str, str]:
    return {row[0]: row[-1] for row in rows(hosts)}


def test_a_release_says_since_when_by_whom_and_what_restarted() -> None:
    one = host("sip1", "aa", "bb", history="aa bb", in_force="bb")
    row = next(row for row in rows([one]) if row[0] == "bb")
    assert row == ("bb", "2026-11-30 10:00:00", "root@ops1", "abc1234 Why", "kamailio", "all", "in force")


def test_what_can_come_back_and_what_cannot() -> None:
    one = host("sip1", "aa", "bb", "cc", "dd", history="aa bb cc", in_force="cc", passwords="oxxx")
    assert states(one) == {
        "aa": "cannot come back: postgres_password has changed since (sip1)",
        "bb": "can come back",
        "cc": "in force",
        "dd": "never served",
    }
    gone = OnHost("sip1", one.releases, one.tags - {"vss/kamailio:bb"}, one.files)
    assert states(gone)["bb"] == "cannot come back: vss/kamailio:bb is gone (sip1)"


def test_hosts_that_differ_are_named() -> None:
    one = host("sip1", "aa", "bb", history="aa bb", in_force="bb")
    other = host("sip2", "aa", history="aa", in_force="aa")
    found = {row[0]: row for row in rows([one, other])}
    assert found["bb"][5:] == ("sip1", "in force")
    assert found["aa"][5:] == ("all", "in force on sip2")
