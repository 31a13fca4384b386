"""Who asks too much or guesses passwords is not heard any more; phones are, and nobody has them banned."""

import pytest

from tests.lab import attacks
from tests.lab.attacker import bans, datagrams, forget, stranger, there, within
from tests.lab.hostile import phones_are_served
from tests.lab.operate import sipstack
from tests.lab.system import System
from tests.lab.test_calls import phones

# group_data/all.py: limit_requests_a_second, counted over up to two seconds; a burst may fall into two such windows.
HEARD_AT_MOST = 2 * 2 * 50
GUESSES = 10  # limit_failures_a_minute
STRANGERS = 60  # limit_strangers_a_minute
REGISTRATIONS = 1200  # limit_registrations_a_minute
CONNECTIONS = 256  # limit_connections


@pytest.mark.parametrize("method", ["OPTIONS", "REGISTER", "INVITE", "SUBSCRIBE", "ACK"])
def test_a_burst_is_not_heard_to_its_end(system: System, method: str) -> None:
    """And bans nobody: the source of datagrams may be forged."""
    with stranger(system) as place:
        assert there(place, attacks.flood, system.address, 1000, method) <= HEARD_AT_MOST
        phones_are_served(system)
        assert bans(system) == {}
        assert within(5, lambda: there(place, attacks.code_over_udp, system.address) == 200)


def test_a_burst_on_a_connection_bans(system: System) -> None:
    """A connection proves where it comes from."""
    with stranger(system) as place:
        answers, closed = there(place, attacks.flood_over_tcp, system.address, 1000)
        assert answers <= HEARD_AT_MOST
        assert closed
        assert bans(system) == {place.address: "flood"}
        assert there(place, attacks.code_over_udp, system.address) == 0
        assert there(place, attacks.code_over_tcp, system.address) == 0
        phones_are_served(system)


def test_connections_of_one_address_are_bounded(system: System) -> None:
    with stranger(system) as place:
        assert there(place, attacks.connect, system.address, 300) == CONNECTIONS
        phones_are_served(system)


def test_collecting_challenges_ends(system: System) -> None:
    """Thirty phones may come from a new address at the same time; a list of users is tried no further."""
    with stranger(system) as place:
        assert there(place, attacks.flood, system.address, 30, "REGISTER") == 30
        system.kamcmd("htable.flush", "rate")
        assert there(place, attacks.flood, system.address, 60, "REGISTER") == STRANGERS - 30
        phones_are_served(system)


def test_guessing_passwords_bans(system: System) -> None:
    """Also with the right password at last, and over TCP."""
    with stranger(system) as place:
        codes = there(place, attacks.guess, system.address, "slot_6005", [f"wrong{n}" for n in range(GUESSES + 2)])
        assert codes == [401] * GUESSES + [0, 0]
        assert bans(system) == {place.address: "guesses"}
        assert there(place, attacks.guess, system.address, "slot_6005", [system.password(6005)]) == [0]
        assert there(place, attacks.code_over_tcp, system.address) == 0
        phones_are_served(system)


def test_a_slip_is_forgotten_with_the_right_password(system: System) -> None:
    """Who proves the system again and again, with a wrong password each time, is none who guesses."""
    with stranger(system) as place:
        slips = [f"wrong{n}" for n in range(GUESSES)]
        right = system.password(6005)
        codes = there(place, attacks.guess, system.address, "slot_6005", [*slips, right, *slips, right])
        assert codes == ([401] * GUESSES + [200]) * 2
        assert bans(system) == {}


def test_guessing_at_many_users_bans(system: System) -> None:
    """One password for each of them."""
    with stranger(system) as place:
        codes = [
            there(place, attacks.guess, system.address, f"slot_{number}", ["secret"])[0]
            for number in range(6001, 6001 + GUESSES + 1)
        ]
        assert codes == [401] * GUESSES + [0]
        assert bans(system) == {place.address: "guesses"}


def test_guessing_beside_phones_bans_the_user_there_only(system: System) -> None:
    """Many phones may be behind one address."""
    with stranger(system) as place, phones(system, 6001, 6002, exec_prefix=place.exec_prefix) as (anna, bert):
        there(place, attacks.guess, system.address, "slot_6005", [f"wrong{n}" for n in range(GUESSES + 1)])
        assert bans(system) == {f"slot_6005@{place.address}": "guesses"}
        assert there(place, attacks.guess, system.address, "slot_6005", [system.password(6005)]) == [0]
        anna.register(check=True)
        call = bert.call("6001")
        anna.expect_call().answer()
        call.wait_state("confirmed")


def test_a_forged_burst_leaves_the_phones_of_that_address_alone(system: System) -> None:
    with (
        stranger(system) as place,
        stranger(system, "home") as home,
        phones(system, 6001, exec_prefix=home.exec_prefix) as (anna,),
    ):
        before = datagrams(system)
        there(place, attacks.forge, home.address, system.address, [attacks.options().decode()] * 1000)
        there(place, attacks.forge, home.address, system.address, [attacks.options("sipvicious").decode()] * 9)
        assert datagrams(system) - before >= 1000, "what was forged has not arrived"
        assert bans(system) == {}
        anna.register(check=True)
        anna.call("9002").wait_state("confirmed", timeout=5)


def test_forged_guesses_ban_nobody(system: System) -> None:
    """With a challenge that the attacker got for himself: it is none for another address."""
    with stranger(system) as place, stranger(system, "home") as home:
        wrong = attacks.wrong_answers("slot_6005", there(place, attacks.challenge, system.address), 3 * GUESSES)
        before = datagrams(system)
        there(place, attacks.forge, home.address, system.address, wrong)
        assert datagrams(system) - before >= len(wrong), "what was forged has not arrived"
        assert bans(system) == {}
        codes = there(home, attacks.guess, system.address, "slot_6005", [system.password(6005)])
        assert codes == [200]


def test_a_phone_that_registers_all_the_time_is_refused(system: System) -> None:
    """The last of what a slot may do within a minute; others register."""
    with stranger(system) as place:
        system.kamcmd("htable.seti", "registrations", "slot_6005", str(REGISTRATIONS - 2))
        codes = there(place, attacks.guess, system.address, "slot_6005", [system.password(6005)] * 4)
        assert codes == [200] * 2 + [503] * 2
        assert bans(system) == {}
        phones_are_served(system)


def test_who_fails_because_our_database_is_away_is_no_attacker(system: System) -> None:
    """A phone that is not in memory asks again and again."""
    with stranger(system) as place:
        right = [system.password(6005)]
        codes = []
        system.kamcmd("htable.flush", "ha1")
        system.host.exec("docker", "stop", "vss-postgres")
        try:
            for _ in range(2 * STRANGERS // 20):
                system.kamcmd("htable.flush", "rate")
                codes += there(place, attacks.guess, system.address, "slot_6005", right * 20)
        finally:
            system.host.exec("docker", "start", "vss-postgres")
        assert codes == [503] * 2 * STRANGERS
        assert bans(system) == {}
        assert within(30, lambda: there(place, attacks.guess, system.address, "slot_6005", right) == [200])


def test_a_gateway_is_never_banned(system: System) -> None:
    """Whatever the list says: what Asterisk answers comes from this address."""
    with phones(system, 6001) as (anna,):
        system.kamcmd("htable.sets", "ban", "127.0.0.1", "flood:1:9999999999:1")
        try:
            anna.call("9002").wait_state("confirmed", timeout=5)
        finally:
            forget(system)


def test_a_ban_outlives_a_restart_and_is_lifted_by_one_command(system: System) -> None:
    with stranger(system) as place:
        there(place, attacks.flood_over_tcp, system.address, 1000)
        row = f"SELECT reason, until > now() + interval '50 minutes' FROM ban WHERE who = '{place.address}'"
        assert within(10, lambda: system.sql(row) == [["flood", "t"]])
        system.host.exec("docker", "kill", "--signal", "KILL", "vss-kamailio")
        system.host.exec("docker", "start", "vss-kamailio")
        up = "until docker exec vss-kamailio kamcmd core.uptime; do sleep 0.2; done"
        system.host.exec("sh", "-c", up, timeout=60)
        assert bans(system) == {place.address: "flood"}
        assert there(place, attacks.code_over_udp, system.address) == 0

        shown = sipstack(system, "bans").stdout.splitlines()
        assert len(shown) == 2
        assert shown[1].split()[:2] == [place.address, "flood"]
        assert shown[1].split()[-1] == "sip1"

        done = sipstack(system, "bans", "--lift", place.address)
        assert (done.returncode, done.stdout) == (0, f"lifted: {place.address}\n")
        assert sipstack(system, "bans").stdout == "nobody is banned\n"
        assert there(place, attacks.code_over_udp, system.address) == 200
        assert within(10, lambda: system.sql(row) == [])
        again = sipstack(system, "bans", "--lift", place.address)
        assert again.returncode == 1
        assert f"{place.address} is not banned" in again.stderr
