"""`sipstack passwords`: what to type into the phones, as CSV, and another one for a phone that was lost."""

import sys
from collections.abc import Sequence

from sipstack import inventory
from sipstack.errors import OperatorError
from sipstack.secrets import write_csv


def main(path: str) -> int:
    """Print number,password of every slot of an inventory; the operator's own and the generated ones."""
    hosts = inventory.load(path).hosts
    node = next((entry.node for entry in hosts if entry.node.provisions_database), None)
    if node is None:
        raise OperatorError(f"{path}: no host in group databases or proxies: there are no slots")
    probes = node.plan.probe_numbers()
    write_csv((slot.number, slot.password or "") for slot in node.slots if slot.number not in probes)
    return 0


def renew(path: str, numbers: Sequence[str]) -> int:
    """Generate another password for slots, which the next deploy puts into the database; print number,password of them.

    Raises OperatorError for a number that is no slot, or whose password is the operator's own.
    """
    node = inventory.load(path).everyone[0].node
    slots = {str(slot.number): slot for slot in node.slots if slot.number not in node.plan.probe_numbers()}
    for number in numbers:
        if number not in slots:
            raise OperatorError(f"{number} is no slot of {path}")
        if not slots[number].generated:
            raise OperatorError(f"{number} has its password from {node.settings.slots_csv}: change it there")
    node.secrets.renew(slots[number].username for number in numbers)
    passwords = node.secrets.slot_passwords(slots[number].username for number in numbers)
    write_csv((slots[number].number, passwords[slots[number].username]) for number in numbers)
    print(f"not in force yet: pyinfra {path} deploy.py", file=sys.stderr)
    return 0
