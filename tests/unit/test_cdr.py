"""What a proxy leaves out of a CDR is filled in; against a real PostgreSQL."""

from __future__ import annotations

import pytest

from tests.unit import test_schema
from tests.unit.test_late_record import write
from tests.unit.test_schema import Database

server, bare, empty, ready = test_schema.server, test_schema.bare, test_schema.empty, test_schema.ready

OWN = "here.example"
SLOT = "INSERT INTO subscriber (username, domain, ha1, ha1b) VALUES ('slot_6001', %s, repeat('a', 32), '')"
START, END = "2026-01-01 10:00:00", "2026-01-01 10:01:00"


@pytest.mark.parametrize(
    ("source", "target", "end", "duration", "expected"),
    [
        ("", "", END, 60, (OWN, OWN, END, 60)),
        (None, None, END, 60, (OWN, OWN, END, 60)),
        ("provider.example", "", END, 60, ("provider.example", OWN, END, 60)),
        (OWN, "there.example", END, 60, (OWN, "there.example", END, 60)),
        ("", "", None, None, (OWN, OWN, START, 0)),
    ],
)
def test_domains_of_ours_and_an_end_that_was_not_reached(
    ready: Database,
    source: str | None,
    target: str | None,
    end: str | None,
    duration: int | None,
    expected: tuple[object, ...],
) -> None:
    with ready.as_owner() as conn:
        conn.execute(SLOT, [OWN])
    with ready.as_proxy() as conn:
        conn.execute(
            "INSERT INTO acc_cdrs (start_time, end_time, duration, callid, src_user, src_domain, dst_user, dst_domain)"
            " VALUES (%s, %s, %s, 'call', 'slot_6001', %s, '6002', %s)",
            [START, end, duration, source, target],
        )
    with ready.as_owner() as conn:
        row = conn.execute("SELECT src_domain, dst_domain, end_time::text, duration FROM acc_cdrs").fetchone()
        assert row == expected


def test_those_that_come_late_too(ready: Database) -> None:
    with ready.as_owner() as conn:
        conn.execute(SLOT, [OWN])
    write(ready, "acc_cdrs|1764417540|1764417600|60|call|slot_6001||slot_6002|")
    with ready.as_owner() as conn:
        assert conn.execute("SELECT src_domain, dst_domain FROM acc_cdrs").fetchall() == [(OWN, OWN)]
