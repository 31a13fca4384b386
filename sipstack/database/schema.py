"""The schema's migrations: which are recorded in a database, and applying the others.

`files/kamailio/bin/schema` does the same with psql alone, for an image that starts without pyinfra; both
take the advisory lock LOCK, so any number of them may start at once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg.rows import TupleRow

from sipstack.errors import OperatorError

Connection = psycopg.Connection[TupleRow]

LOCK = 6_0_2026  # any number, but the same as in that script
LOCK_WAIT = "120s"  # for another node that is applying the schema
TABLE_WAIT = "5s"  # for a table: while we wait for its lock, every query of the proxies waits behind us

# What the modules of Kamailio 6.0 expect in table `version` (its create scripts; usrloc, auth_db, dialog,
# permissions and dispatcher refuse to start on another number).
KAMAILIO_VERSIONS = {
    "version": 1,
    "subscriber": 7,
    "location": 9,
    "location_attrs": 1,
    "acc": 5,
    "missed_calls": 4,
    "acc_cdrs": 2,
    "dialog": 7,
    "dialog_vars": 1,
    "dispatcher": 4,
    "address": 6,
    "htable": 2,
    "topos_d": 2,
    "topos_t": 2,
}

_FILE = re.compile(r"(\d{3})_[a-z0-9_]+")
_MAKES = re.compile(r"^CREATE (?:TABLE IF NOT EXISTS|OR REPLACE VIEW) (\w+)", re.MULTILINE)


@dataclass(frozen=True, order=True)
class Migration:
    """One file of the schema; `name` is its file name without `.sql`."""

    number: int
    name: str
    sql: str

    @property
    def relations(self) -> set[str]:
        """Tables and views that the file makes."""
        return set(_MAKES.findall(self.sql))


def migrations(sql_dir: Path) -> list[Migration]:
    """All files of `sql_dir` in order.

    Raises OperatorError for a name out of pattern, a number given twice, or no file at all.
    """
    found: dict[int, Migration] = {}
    for path in sorted(sql_dir.glob("*.sql")):
        match = _FILE.fullmatch(path.stem)
        if match is None:
            raise OperatorError(f"{path}: not a migration's name; write NNN_name.sql (digits, then a-z, 0-9, _)")
        number = int(match[1])
        if number in found:
            raise OperatorError(f"{path}: number {number} is {found[number].name}.sql's; take the next free one")
        found[number] = Migration(number, path.stem, path.read_text(encoding="utf-8"))
    if not found:
        raise OperatorError(f"{sql_dir}: no NNN_name.sql in it; give the folder that holds the schema")
    return [found[number] for number in sorted(found)]


def current(conn: Connection) -> int:
    """Number of the newest migration that `conn`'s database records, 0 for none."""
    with conn.transaction():
        return max(_recorded(conn), default=0)


def pending(conn: Connection, sql_dir: Path) -> list[Migration]:
    """Migrations that `apply` would apply. Changes nothing.

    Raises OperatorError for a database that `apply` would refuse: one with a newer schema, another Kamailio's
    `version` rows, or tables of our names that we did not make.
    """
    files = migrations(sql_dir)
    with conn.transaction():
        return _pending(conn, files)


def apply(conn: Connection, sql_dir: Path) -> list[Migration]:
    """Apply what is pending, all or nothing, and return it; empty when the schema was up to date.

    `conn` must be the owner's and idle (no transaction open), for this commits. Raises OperatorError as
    `pending` does, when a lock is not to be had in time, and when PostgreSQL refuses a statement.
    """
    files = migrations(sql_dir)
    where = "before the first file"
    try:
        with conn.transaction():
            conn.execute("SELECT set_config('lock_timeout', %s, true)", [LOCK_WAIT])
            conn.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
            todo = _pending(conn, files)
            conn.execute("SELECT set_config('lock_timeout', %s, true)", [TABLE_WAIT])
            conn.execute("SET LOCAL search_path = public")
            conn.execute("SET LOCAL client_min_messages = warning")
            for migration in todo:
                where = f"{migration.name}.sql"
                conn.execute(migration.sql.encode())
                row = (migration.number, migration.name)
                conn.execute("INSERT INTO schema_migration (number, name) VALUES (%s, %s)", row)
            _check_versions(conn, files)
    except psycopg.Error as error:
        reason = str(error).strip().partition("\n")[0]
        raise OperatorError(f"{_database(conn)}: the schema was not changed, {where}: {reason}") from error
    return todo


def _pending(conn: Connection, files: list[Migration]) -> list[Migration]:
    recorded = _recorded(conn)
    newest = files[-1].number
    if max(recorded, default=0) > newest:
        raise OperatorError(
            f"{_database(conn)}: its schema is {max(recorded)}, newer than the {newest} known here; "
            "deploy from the version of this project that made it, or a newer one"
        )
    for file in files:
        if recorded.get(file.number, file.name) != file.name:
            raise OperatorError(
                f"{_database(conn)}: migration {file.number} is {recorded[file.number]} there and "
                f"{file.name} here; a released file keeps its name and number, so give the new one "
                "the next free number"
            )
    todo = [file for file in files if file.number not in recorded]
    ours = {name for file in files if file.number in recorded for name in file.relations}
    foreign = _relations(conn, {name for file in todo for name in file.relations} - ours)
    if foreign:
        raise OperatorError(
            f"{_database(conn)}: holds {', '.join(foreign)}, which this project did not make; "
            "rename them or give a database of its own"
        )
    if not todo:  # else an older layout is what the pending files are there to change
        _check_versions(conn, files)
    return todo


def _recorded(conn: Connection) -> dict[int, str]:
    if not _relations(conn, {"schema_migration"}):
        return {}
    return dict(conn.execute("SELECT number, name FROM public.schema_migration").fetchall())


def _relations(conn: Connection, names: set[str]) -> list[str]:
    """Those of `names` that exist in schema public, sorted."""
    query = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relname = ANY(%s) ORDER BY 1"
    return [row[0] for row in conn.execute(query, [sorted(names)])]


def _check_versions(conn: Connection, files: list[Migration]) -> None:
    """Compare the `version` rows of the tables that `files` make with what Kamailio wants."""
    made = {name for file in files for name in file.relations} & KAMAILIO_VERSIONS.keys()
    rows: dict[str, int] = dict(conn.execute("SELECT table_name, table_version FROM public.version").fetchall())
    for name in sorted(made):
        if rows.get(name) != KAMAILIO_VERSIONS[name]:
            raise OperatorError(
                f"{_database(conn)}: table version says {name} is {rows.get(name, 'absent')}, "
                f"Kamailio 6.0 wants {KAMAILIO_VERSIONS[name]}; "
                "give a database that no other Kamailio release has set up"
            )


def _database(conn: Connection) -> str:
    return f"database {conn.info.dbname} on {conn.info.host or 'the local socket'}"
