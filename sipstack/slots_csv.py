"""Many slots from a CSV file; what is wrong in it is named by line."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from sipstack.errors import OperatorError
from sipstack.numbering import NumberingPlan, Slot, number_fault
from sipstack.secrets import secret_fault

SHORTEST_PASSWORD = 8
SHOWN_ERRORS = 3


def load_csv(path: Path, plan: NumberingPlan, taken: Mapping[int, str] | None = None) -> list[Slot]:
    """The slots of a file with the header `number,password`, in its order.

    The columns `password` (empty: to be generated) and `kind` (checked against the plan) are optional and
    the order is free. UTF-8, with or without a byte order mark; fields are quoted as in RFC 4180, except that
    a row is one line.

    taken: numbers that are slots already -> where they are written.
    Raises OperatorError: one line with the first few mistakes of the file, by line number. Passwords are
    never shown.
    """
    lines = _read_lines(path)
    header = _header(path, lines[0])
    places = dict(taken or {})
    slots: list[Slot] = []
    faults: list[str] = []
    for line_number, line in enumerate(lines[1:], start=2):
        if not line:
            continue
        slot, fault = _read_row(line, header, plan)
        if slot and slot.number in places:
            fault = f"{slot.number} is already in {places[slot.number]}"
        if fault or slot is None:
            faults.append(f"line {line_number}: {fault}")
            continue
        places[slot.number] = f"line {line_number}"
        slots.append(slot)
    if faults:
        more = f"; and {len(faults) - SHOWN_ERRORS} more" if len(faults) > SHOWN_ERRORS else ""
        raise OperatorError(f"{path}: {'; '.join(faults[:SHOWN_ERRORS])}{more}")
    return slots


def _read_lines(path: Path) -> list[str]:
    """The lines of a text file; at least one. Split at line feeds only: a password may hold what
    str.splitlines takes for a line end, and is refused for it with its line number."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise OperatorError(f"{path}: cannot read the slots: {error.strerror}") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line_number = content.count(b"\n", 0, error.start) + 1
        raise OperatorError(f"{path}: line {line_number} is not UTF-8: save it as CSV in UTF-8") from None
    return [line.removesuffix("\r") for line in text.split("\n")]


def _header(path: Path, line: str) -> list[str]:
    header = [name.strip().lower() for name in _fields(line) or []]
    known = {"number", "password", "kind"}
    if "number" not in header or len(set(header)) < len(header) or not known.issuperset(header):
        # The line is not shown: without a header it is a slot with its password.
        raise OperatorError(
            f"{path}: line 1 is not a header: write number,password or number,kind,password, with commas"
        )
    return header


def _fields(line: str) -> list[str] | None:
    """The fields of one row, or None if its quotes do not match."""
    try:
        return next(csv.reader([line], strict=True), [])
    except csv.Error:
        return None


def _read_row(line: str, header: Sequence[str], plan: NumberingPlan) -> tuple[Slot | None, str | None]:
    """The slot of a row, or what is wrong with the row."""
    fields = _fields(line)
    if fields is None:
        return None, 'a quote is not closed: write "..." around the field and "" for a quote in it'
    if len(fields) != len(header):
        return None, f"{len(fields)} columns instead of {len(header)}: quote a field that contains a comma"
    row = dict(zip(header, fields, strict=True))
    if fault := number_fault(row["number"]):
        return None, fault
    number = int(row["number"])
    fault = plan.fault(number, row.get("kind") or None) or _password_fault(row.get("password", ""))
    if fault:
        return None, fault
    return Slot(number, plan.kind_of(number) or "", row.get("password") or None), None


def _password_fault(password: str) -> str | None:
    if not password:
        return None
    if fault := secret_fault(password):
        return f"the password {fault}"
    if not password.strip():
        return "the password is only spaces: leave it empty to have one generated"
    if len(password) < SHORTEST_PASSWORD:
        return f"the password is shorter than {SHORTEST_PASSWORD} characters"
    return None
