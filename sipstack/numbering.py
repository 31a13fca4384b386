"""Numbers: a slot is the SIP user `slot_<number>`; its kind (AUTO, MF, LS) follows from its number by the plan."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Self

from sipstack.errors import OperatorError

KINDS = ("AUTO", "MF", "LS")
# E.164 section 6: an international number has at most 15 digits. It also keeps `slot_<number>` far below
# the 64 characters of subscriber.username.
MAX_DIGITS = 15


_NUMBER = re.compile(rf"[1-9][0-9]{{0,{MAX_DIGITS - 1}}}")


@dataclass(frozen=True, slots=True)
class Slot:
    """One SIP user. `password` is the operator's own, or None where one is to be generated; generated: it was."""

    number: int
    kind: str
    password: str | None = field(default=None, repr=False)
    generated: bool = False

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
        plan = cls({kind: tuple(parse_ranges(f"numbering plan, {kind}", text)) for kind, text in settings.items()})
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
            if (str(number)[0], len(str(number))) != (str(first.first)[0], len(str(first.first))):
                # The proxies know the numbers of slots by first digit and length.
                raise OperatorError(
                    f"numbering plan: {kind} {first} has no number of its kind below it for the probe user:"
                    f" begin at {first.first + 1}"
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


def parse_ranges(where: str, item: object) -> Iterator[NumberRange]:
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
