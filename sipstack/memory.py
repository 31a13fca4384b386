"""How much shared memory a proxy needs, from what it is to hold. Measured on this configuration; octets."""

from sipstack.errors import OperatorError
from sipstack.settings import Settings

# What a slot takes (its HA1 is kept, and twice while the table is read again, which a change of subscribers makes), a
# binding (usrloc), and a call (dialog and its variables), with what the memory manager adds.
SLOT, BINDING, CALL = 400, 1_800, 8_000
# What there is without any: tables of fixed size, modules. MB
EMPTY_MB = 40
# Transactions, each of which is kept for some seconds: 1,300 registrations a second fill this. MB
BURST_MB = 150
# Memory that is full in pieces is full earlier; and there is what strangers take.
SPARE = 1.25
LEAST_MB = 256
MB = 2**20


def needs() -> str:
    """For the container (KAMAILIO_SHM_NEEDS): MB without any, octets a slot, octets a binding."""
    return f"{EMPTY_MB} {SLOT} {BINDING}"


def shared_mb(settings: Settings, slots: int) -> int:
    """The shared memory of a proxy: what kamailio_shm_mb says, or what is needed where it is 0.

    Raises OperatorError if it says less than what slots and bindings alone fill.
    """
    bindings = settings.kamailio_bindings or slots
    held = EMPTY_MB + (slots * SLOT + bindings * BINDING) / MB
    if settings.kamailio_shm_mb:
        if settings.kamailio_shm_mb < held:
            raise OperatorError(
                f"kamailio_shm_mb = {settings.kamailio_shm_mb}: {bindings} bindings, {slots} slots take {held:.0f} MB:"
                " set it to 0, which sizes it, or kamailio_bindings to how many there will be"
            )
        return settings.kamailio_shm_mb
    wanted = (held + BURST_MB + settings.kamailio_calls * CALL / MB) * SPARE
    # In long steps, for each of them restarts the proxies: 256, 384, 512, 768, 1024 …
    size = LEAST_MB
    while size < wanted:
        size = size * 3 // 2 if size & (size - 1) == 0 else size * 4 // 3
    return size
