"""Which slots exist: those of group_data and those of a CSV file. Pure domain code, no host, no database."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from sipstack.errors import OperatorError
from sipstack.numbering import NumberingPlan, NumberRange, Slot, parse_ranges
from sipstack.slots_csv import load_csv

# A range is expanded into one object per number; a typing mistake must not fill the memory.
MAX_SLOTS = 1_000_000

# What group_data may hold for one kind: ["6001-6010", 6050], or just one of these.
Items = Sequence[str | int] | str | int


def expand(kind: str, items: Items) -> list[int]:
    """The numbers in a setting such as `["6001-6010", 6050, "6060"]`, in its order.

    kind: names the setting in an error.
    Raises OperatorError for anything that is not a number or a range, a number that is there twice, and more
    than MAX_SLOTS numbers.
    """
    where = f"slots of kind {kind}"
    place: dict[int, NumberRange] = {}
    for item in [items] if isinstance(items, str | int) else items:
        for numbers in parse_ranges(where, item):
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
