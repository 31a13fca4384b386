"""Accounting that comes late is put where it belongs, once; against a real PostgreSQL."""

from __future__ import annotations

import pytest
from psycopg import errors

from tests.unit import test_schema
from tests.unit.test_schema import Database, one

server, bare, empty, ready = test_schema.server, test_schema.bare, test_schema.empty, test_schema.ready

TIME = 1_764_417_600  # 2025-11-29 12:00 UTC
CALL = f"acc|INVITE|from|to|call|200|OK|{TIME}|slot_6001|vss.internal|6002|vss.internal|192.0.2.1"
MISSED = f"missed_calls|INVITE|from||missed|480|a%7Cb|{TIME}|slot_6001|vss.internal|||"
CDR = f"acc_cdrs|{TIME - 60}|{TIME}|60.25|call|slot_6001|vss.internal|slot_6002|vss.internal"


def write(database: Database, *lines: str) -> None:
    """As a proxy does it."""
    with database.as_proxy() as conn, conn.cursor().copy("COPY late_record (line) FROM STDIN") as copy:
        for line in lines:
            copy.write_row([line])


def test_each_line_goes_to_its_table(ready: Database) -> None:
    write(ready, CALL, MISSED, CDR)
    with ready.as_owner() as conn:
        columns = "method, from_tag, to_tag, callid, sip_code, sip_reason, extract(epoch FROM time)::int"
        who = "src_user, src_domain, dst_user, dst_domain, src_ip"
        assert conn.execute(f"SELECT {columns}, {who} FROM acc".encode()).fetchall() == [
            ("INVITE", "from", "to", "call", "200", "OK", TIME, "slot_6001", "vss.internal", "6002", "vss.internal",
             "192.0.2.1")
        ]  # fmt: skip
        assert conn.execute(f"SELECT {columns}, {who} FROM missed_calls".encode()).fetchall() == [
            ("INVITE", "from", "", "missed", "480", "a|b", TIME, "slot_6001", "vss.internal", "", "", "")
        ]
        assert conn.execute(
            "SELECT extract(epoch FROM start_time)::int, extract(epoch FROM end_time)::int, duration, callid, src_user,"
            " dst_user FROM acc_cdrs"
        ).fetchall() == [(TIME - 60, TIME, 60.25, "call", "slot_6001", "slot_6002")]
        assert one(conn, "SELECT count(*) FROM late_record") == 0


ENDS = "ended_by, end_reason, packets_from_caller, packets_from_called, lost_from_caller, lost_from_called"


@pytest.mark.parametrize(
    ("end", "kept"),
    [
        ("|caller - 661 662 0 3|", ("caller", None, 661, 662, 0, 3)),
        ("|called unacknowledged 0 - - -|", ("called", "unacknowledged", 0, None, None, None)),
        ("|caller - many 99999999999 -3|", ("caller", None, None, None, None, None)),
        ("||proxy silence - - - -", ("proxy", "silence", None, None, None, None)),
        ("||", (None,) * 6),
        ("", (None,) * 6),  # of a release that did not say it
    ],
)
def test_how_a_call_has_ended_is_not_lost(ready: Database, end: str, kept: tuple[str | int | None, ...]) -> None:
    write(ready, CDR + end)
    with ready.as_owner() as conn:
        assert conn.execute(f"SELECT {ENDS} FROM acc_cdrs").fetchall() == [kept]
        assert one(conn, "SELECT count(*) FROM late_record") == 0


def test_what_is_there_is_not_written_again(ready: Database) -> None:
    """Nobody knows of a question that was cut off whether it has been answered."""
    for _ in range(2):
        write(ready, CALL, MISSED, CDR)
    with ready.as_owner() as conn:
        for table in ("acc", "missed_calls", "acc_cdrs"):
            assert one(conn, f"SELECT count(*) FROM {table}") == 1


@pytest.mark.parametrize(
    "line",
    [CALL + "|more", "acc|INVITE", "subscriber|x", "", CALL.replace(str(TIME), "noon"), CDR.replace("60.25", "x")],
)
def test_what_cannot_be_read_is_kept_where_it_can_be_seen(ready: Database, line: str) -> None:
    write(ready, line, CDR)
    with ready.as_owner() as conn:
        assert conn.execute("SELECT line FROM late_record").fetchall() == [(line,)]
        assert one(conn, "SELECT count(*) FROM acc") == 0
        assert one(conn, "SELECT count(*) FROM acc_cdrs") == 1


def test_a_proxy_reads_nothing_of_it(ready: Database) -> None:
    with ready.as_proxy() as conn, pytest.raises(errors.InsufficientPrivilege):
        conn.execute("SELECT * FROM late_record")
