"""Slots: the SIP users of the platform, their numbers and kinds. Pure domain code, no host, no database.

A slot is the SIP user `slot_<number>`; its kind (AUTO, MF or LS) follows from its number by the numbering
plan.
"""

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Self

from sipstack.errors import OperatorError
from sipstack.secrets import secret_fault

KINDS = ("AUTO", "MF", "LS")
# E.164 section 6: an international number has at most 15 digits. It also keeps `slot_<number>` far below
# the 64 characters of subscriber.username.
MAX_DIGITS = 15
# A range is expanded into one object per number; a typing mistake must not fill the memory.
MAX_SLOTS = 1_000_000

SHORTEST_PASSWORD = 8
SHOWN_ERRORS = 3

# What group_data may hold for one kind: ["6001-6010", 6050], or just one of these.
Items = Sequence[str | int] | str | int
_NUMBER = re.compile(rf"[1-9][0-9]{{0,{MAX_DIGITS - 1}}}")


@dataclass(frozen=True, slots=True)
class Slot:
    """One SIP user. `password` is the operator's own, or None where one is to be generated."""

    number: int
    kind: str
    password: str | None = field(default=None, repr=False)

    @property
    def username(self) -> str:
        return f"slot_{self.number}"


@dataclass(frozen=True, slots=True)
class NumberRange:
    """The numbers `first` to `last`, both included."""

    first: int
    last: int

    def __contains__(self, number: int) -> bool:
        return self.first <= number <= self.last

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"


@dataclass(frozen=True)
class NumberingPlan:
    """Which numbers belong to which kind, in the order in which the operator wrote the kinds."""

    ranges: Mapping[str, tuple[NumberRange, ...]]

    @classmethod
    def parse(cls, settings: Mapping[str, str]) -> Self:
        """Read a plan such as `{"AUTO": "6001-6999, 600000-699999", "MF": "7001-7999"}`.

        Raises OperatorError for an unknown kind, fewer than two kinds (the two probe users need one each),
        a broken or overlapping range, and a range that leaves no number for a probe user.
        """
        if unknown := [str(kind) for kind in settings if kind not in KINDS]:
            raise OperatorError(f"numbering plan: unknown kind {unknown[0]}: write one of {', '.join(KINDS)}")
        if len(settings) < 2:
            raise OperatorError(f"numbering plan: too few kinds: write at least two of {', '.join(KINDS)}")
        plan = cls({kind: tuple(_ranges(f"numbering plan, {kind}", text)) for kind, text in settings.items()})
        plan._refuse_overlaps()
        plan._refuse_used_probes()
        return plan

    def kind_of(self, number: int) -> str | None:
        """The kind of a number, or None outside the plan."""
        for kind, ranges in self.ranges.items():
            if any(number in numbers for numbers in ranges):
                return kind
        return None

    def probe_numbers(self) -> dict[int, str]:
        """Number -> kind of the two probe users: just below the first range of the first two kinds."""
        return {ranges[0].first - 1: kind for kind, ranges in list(self.ranges.items())[:2]}

    def fault(self, number: int, kind: str | None = None) -> str | None:
        """Why a number may not be an ordinary slot (of this kind, where one is stated), or None."""
        if number in self.probe_numbers():
            return f"{number} is reserved for the probe user that proves the system: choose another number"
        actual = self.kind_of(number)
        if actual is None:
            return f"{number} is outside the numbering plan ({self})"
        if kind is not None and kind != actual:
            return f"{number} is of kind {actual}, not {kind}"
        return None

    def __str__(self) -> str:
        return "; ".join(f"{kind} {', '.join(map(str, ranges))}" for kind, ranges in self.ranges.items())

    def _refuse_overlaps(self) -> None:
        placed = [(numbers, kind) for kind, ranges in self.ranges.items() for numbers in ranges]
        placed.sort(key=lambda item: item[0].first)
        for (one, kind), (other, other_kind) in pairwise(placed):
            if other.first in one:
                raise OperatorError(
                    f"numbering plan: {kind} {one} and {other_kind} {other} overlap: give each number to one kind"
                )

    def _refuse_used_probes(self) -> None:
        for number, kind in self.probe_numbers().items():
            first = self.ranges[kind][0]
            if number < 1:
                raise OperatorError(
                    f"numbering plan: {kind} {first} leaves no number below it for the probe user: begin at 2 or higher"
                )
            if owner := self.kind_of(number):
                raise OperatorError(
                    f"numbering plan: {number} lies in {owner}, but the probe user below {kind}"
                    f" {first} needs it: leave it out"
                )


def number_fault(text: str) -> str | None:
    """Why a text is not a number as the plan writes them, or None.

    Never quotes the text: it may be a password in the wrong column.
    """
    if _NUMBER.fullmatch(text):
        return None
    if not text:
        return "the number is empty"
    if text != "".join(text.split()):
        return "the number contains spaces: write digits only"
    if not (text.isascii() and text.isdigit()):
        return "the number contains something other than digits: write digits only"
    if text.startswith("0"):
        return "the number starts with a zero: write it without"
    return f"the number has more than {MAX_DIGITS} digits"


def expand(kind: str, items: Items) -> list[int]:
    """The numbers in a setting such as `["6001-6010", 6050, "6060"]`, in its order.

    kind: names the setting in an error.
    Raises OperatorError for anything that is not a number or a range, a number that is there twice, and more
    than MAX_SLOTS numbers.
    """
    where = f"slots of kind {kind}"
    place: dict[int, NumberRange] = {}
    for item in [items] if isinstance(items, str | int) else items:
        for numbers in _ranges(where, item):
            if len(place) + numbers.last - numbers.first >= MAX_SLOTS:
                raise OperatorError(f"{where}: {numbers} makes more than {MAX_SLOTS} slots: write a smaller range")
            for number in range(numbers.first, numbers.last + 1):
                if number in place:
                    raise OperatorError(
                        f"{where}: {number} is in {place[number]} and again in {numbers}: write it once"
                    )
                place[number] = numbers
    return list(place)


def probe_slots(plan: NumberingPlan) -> tuple[Slot, Slot]:
    """The two reserved users that prove a system by calling each other, e.g. slot_6000 and slot_7000."""
    one, other = (Slot(number, kind) for number, kind in plan.probe_numbers().items())
    return one, other


def all_slots(plan: NumberingPlan, groups: Mapping[str, Items], csv_path: Path | None = None) -> list[Slot]:
    """Every ordinary slot, by number: those of group_data (kind -> items, see `expand`) and of a CSV file.

    Raises OperatorError as `expand` and `load_csv` do, and for a number that its kind may not have.
    """
    slots: dict[int, Slot] = {}
    for kind, items in groups.items():
        if kind not in plan.ranges:
            raise OperatorError(f"slots of kind {kind}: the numbering plan has no such kind ({plan})")
        for number in expand(kind, items):
            if fault := plan.fault(number, kind):
                raise OperatorError(f"slots of kind {kind}: {fault}")
            slots[number] = Slot(number, kind)
    if csv_path is not None:
        taken = {number: f"slots of kind {slot.kind}" for number, slot in slots.items()}
        slots.update((slot.number, slot) for slot in load_csv(csv_path, plan, taken))
    return [slots[number] for number in sorted(slots)]


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


def _ranges(where: str, item: object) -> Iterator[NumberRange]:
    """The ranges in `6001` or "6001-6999, 600000-699999"."""
    if not isinstance(item, str | int) or isinstance(item, bool):
        raise OperatorError(f"{where}: {item!r} is neither a number nor a range: write 6050 or '6001-6010'")
    for part in str(item).split(","):
        first, dash, last = (piece.strip() for piece in part.partition("-"))
        last = last if dash else first
        if fault := number_fault(first) or number_fault(last):
            raise OperatorError(f"{where}: {str(item)!r}: {fault}, like 6050 or 6001-6010")
        if int(last) < int(first):
            raise OperatorError(f"{where}: {first}-{last} runs backwards: write {last}-{first}")
        yield NumberRange(int(first), int(last))


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
