"""What a proxy reads at start of who is banned and whom it knows, against a real PostgreSQL."""

from tests.unit.test_own_tables import VALID, database
from tests.unit.test_schema import Database

__all__ = ["database"]

BAN = "INSERT INTO ban VALUES (%s, 'guesses', to_timestamp(1000), {}, 4711)"
BINDING = "INSERT INTO location (ruid, username, contact, received, expires) VALUES (%s, 'slot_6001', %s, %s, {})"
UTC = "now() AT TIME ZONE 'UTC' + interval '1 hour'"


def test_bans_are_read_until_they_run_out(database: Database) -> None:
    with database.as_proxy() as conn:
        conn.execute(BAN.format(VALID).encode(), ["192.0.2.1"])
        conn.execute(BAN.format("now()").encode(), ["192.0.2.2"])
        row = conn.execute("SELECT key_name, key_type, value_type, key_value, expires FROM ban_loaded").fetchall()
        until = conn.execute("SELECT extract(epoch FROM until)::integer FROM ban WHERE who = '192.0.2.1'").fetchone()
        assert until is not None
        assert row == [("192.0.2.1", 0, 0, f"guesses:1000:{until[0]}:4711", until[0])]


def test_the_addresses_of_bindings_are_known(database: Database) -> None:
    """Where the phone was seen, if it is behind NAT; not a name, and not what has run out."""
    bindings = [
        ("sip:slot_6001@192.0.2.1:5060;ob", None),
        ("sip:192.0.2.2", ""),
        ("sip:slot_6001@10.0.0.1:5060", "sip:192.0.2.3:40000;transport=tcp"),
        ("sip:slot_6001@10.0.0.1:5061", "sip:192.0.2.3:40001"),
        ("sip:slot_6001@phone.invalid", None),
    ]
    with database.as_proxy() as conn:
        for number, (contact, received) in enumerate(bindings):
            conn.execute(BINDING.format(UTC).encode(), [f"ruid{number}", contact, received])
        old = "now() AT TIME ZONE 'UTC' - interval '1 second'"
        conn.execute(BINDING.format(old).encode(), ["gone", "sip:192.0.2.9", None])
        found = conn.execute(
            "SELECT key_name, key_value, expires - extract(epoch FROM now()) FROM known_loaded"
        ).fetchall()
        assert {(name, value) for name, value, _ in found} == {(f"192.0.2.{last}", "0") for last in (1, 2, 3)}
        assert all(3595 < left < 3601 for *_, left in found)
