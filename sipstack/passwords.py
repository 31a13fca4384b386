"""`sipstack passwords`: what to type into the phones, as CSV."""

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
