"""The watch over the database: it cuts off the proxy and nobody else, while it has to, and leaves nothing behind."""

import time

from tests.lab.outage import await_that, frozen, serves, stopped
from tests.lab.system import System

SERVICE = "vss-database-watch"
TABLE = "nft list table inet vss_database"
# What comes of a connection to PostgreSQL as a user: 0 it is up, 1 it was refused.
CONNECT = "setpriv --reuid {0} --clear-groups timeout 5 bash -c '</dev/tcp/127.0.0.1/5432'"


def cut(system: System) -> bool:
    return system.host.exec("sh", "-c", TABLE, check=False).returncode == 0


def connects(system: System, uid: int) -> bool:
    return system.host.exec("sh", "-c", CONNECT.format(uid), check=False).returncode == 0


def test_only_the_proxy_is_cut_off(system: System) -> None:
    with frozen(system, "vss-postgres"):
        await_that(lambda: cut(system), 5, "nothing is cut off")
        assert (connects(system, 5060), connects(system, 0)) == (False, True)
        held = system.host.exec("ss", "-Htne", "state", "established", "dport = :5432").stdout
        assert "uid:5060 " not in held
    await_that(lambda: not cut(system), 5, "it is still cut off")
    assert connects(system, 5060)


def test_a_database_that_is_down_needs_no_cut(system: System) -> None:
    with stopped(system, "vss-postgres"):
        assert not connects(system, 0)
        assert not cut(system)


def test_rules_that_somebody_has_flushed_come_back(system: System) -> None:
    """And they are in nobody's way: a reload of nftables.service flushes all that there are."""
    system.host.exec("nft", "delete", "table", "inet", "vss_questions")
    with frozen(system, "vss-postgres"):
        await_that(lambda: cut(system), 5, "nothing is cut off")
    await_that(lambda: not cut(system), 5, "it is still cut off")
    assert "vss_questions" in system.host.exec("nft", "list", "tables").stdout


def test_a_watch_that_ends_lets_the_proxy_ask(system: System) -> None:
    """However it ends; and one that comes back looks for itself."""
    with frozen(system, "vss-postgres"):
        await_that(lambda: cut(system), 5, "nothing is cut off")
        system.host.exec("systemctl", "stop", SERVICE)
        assert not cut(system)
        assert "vss_questions" not in system.host.exec("nft", "list", "tables").stdout
        system.host.exec("systemctl", "start", SERVICE)
        await_that(lambda: cut(system), 5, "nothing is cut off")
        before = restarts(system)
        system.host.exec("systemctl", "kill", "--signal=KILL", SERVICE)
        await_that(lambda: restarts(system) > before and cut(system), 10, "the watch does not come back")
    await_that(lambda: not cut(system), 5, "it is still cut off")


def test_postgresql_hears_that_it_was_cut_off(system: System) -> None:
    """It would keep connections of nobody, until no new one is left."""

    def connections(end: str, of: str = "") -> set[str]:
        """The ports of clients, as seen at one end."""
        lines = system.host.exec("ss", "-Htne", "state", "established", f"{end} = :5432").stdout.splitlines()
        column = 2 if end == "dport" else 3
        return {line.split()[column].rsplit(":", 1)[1] for line in lines if of in line}

    await_that(lambda: serves(system), 20, "the database is not used")
    proxy = connections("dport", "uid:5060 ")
    assert proxy <= connections("sport") and proxy
    with frozen(system, "vss-postgres"):
        await_that(lambda: cut(system), 5, "nothing is cut off")
        await_that(lambda: not proxy & connections("sport"), 5, "its connections are still up there")


def restarts(system: System) -> int:
    return int(system.host.exec("systemctl", "show", "-p", "NRestarts", "--value", SERVICE).stdout)


def test_watching_leaves_no_trace_in_the_log_of_the_database(system: System) -> None:
    asked = "ss -Htn state time-wait 'dport = :5432 or sport = :5432' | wc -l"
    assert int(system.host.exec("sh", "-c", asked).stdout) > 10, "it does not ask"
    time.sleep(3)  # it has asked some more
    log = system.host.exec("docker", "logs", "--since", "2s", "vss-postgres")
    assert log.stdout + log.stderr == ""
