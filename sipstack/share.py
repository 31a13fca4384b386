"""`sipstack state`: what only one machine knows of a fleet, encrypted, so that it can be kept beside the inventory.

The file is age's (https://age-encryption.org/v1), for the public keys of the operators; all of the state is in it.
"""

import json
from importlib import import_module
from pathlib import Path

from sipstack import inventory, site
from sipstack.errors import OperatorError
from sipstack.paths import STATE
from sipstack.secrets import SecretStore, decrypted

FILES = ("secrets.json", "slots.json", "slots_before.json")
Tables = dict[str, dict[str, str]]


def seal(path: str, keys: str) -> int:
    """Write the state of an inventory beside it, encrypted for every public key in the file `keys`; 0.

    Raises OperatorError when there is no state, or no key.
    """
    store, sealed = _places(path)
    tables = store.tables(FILES)
    if not any(tables.values()):
        raise OperatorError(f"{store.directory}: nothing to seal: deploy from here first, or open a sealed state")
    sealed.write_bytes(_encrypted(json.dumps(tables, sort_keys=True), Path(keys)))
    print(
        f"{sealed}: written for the keys of {keys}; commit it, and again when slots have come or passwords were renewed"
    )
    return 0


def unseal(path: str) -> int:
    """Take over what the sealed state of an inventory has and this machine's has not; 0.

    Raises OperatorError where the two contradict each other: nothing is taken over then.
    """
    store, sealed = _places(path)
    if not sealed.exists():
        raise OperatorError(
            f"{sealed}: there is no sealed state: whoever deployed writes it with `sipstack state seal`"
        )
    content = decrypted(sealed)
    if set(content) - set(FILES):
        raise OperatorError(f"{sealed}: not a sealed state: write it with `sipstack state seal`")
    theirs: Tables = {name: dict(content.get(name, {})) for name in FILES}
    mine = store.tables(FILES)
    merged = merge(mine, theirs, str(store.directory), str(sealed))
    store.replace(merged)
    taken = sum(merged[name] != mine[name] for name in FILES)
    print(f"{store.directory}: {'as in' if taken else 'had already all of'} {sealed}")
    return 0


def merge(mine: Tables, theirs: Tables, here: str, there: str) -> Tables:
    """The state that knows what both know. here, there: what they are called in an error."""
    for name, value in theirs["secrets.json"].items():
        if mine["secrets.json"].get(name, value) != value:
            raise OperatorError(f"{there} has another {name} than {here}: move {here} away if the sealed one is right")
    before = {name: _joined(mine, theirs, name) for name in mine["slots_before.json"] | theirs["slots_before.json"]}
    slots = {**theirs["slots.json"], **mine["slots.json"]}
    for name in mine["slots.json"].keys() & theirs["slots.json"].keys():
        own, other = mine["slots.json"][name], theirs["slots.json"][name]
        if own == other:
            continue
        # Renewed on one of the sides, which knows what was there before.
        if own in theirs["slots_before.json"].get(name, "").split():
            slots[name] = other
        elif other not in mine["slots_before.json"].get(name, "").split():
            raise OperatorError(f"{there} has another password of {name} than {here}: move {here} away if it is right")
    return {
        "secrets.json": mine["secrets.json"] | theirs["secrets.json"],
        "slots.json": slots,
        "slots_before.json": before,
    }


def _joined(mine: Tables, theirs: Tables, name: str) -> str:
    both = [*mine["slots_before.json"].get(name, "").split(), *theirs["slots_before.json"].get(name, "").split()]
    return " ".join(dict.fromkeys(both))


def _places(path: str) -> tuple[SecretStore, Path]:
    """The state of an inventory, and the file that it is sealed in."""
    file, hosts = inventory.read(path)
    _, groups, data = hosts[0]
    name = site.state_name(data.get("state"), groups)
    return SecretStore(STATE / name), file.with_name(f"{name}.state.age")


def _encrypted(text: str, keys: Path) -> bytes:
    pyrage = import_module("pyrage")
    try:
        lines = [line.strip() for line in keys.read_text().splitlines()]
    except OSError as error:
        raise OperatorError(f"{keys}: {(error.strerror or str(error)).lower()}: name a file of public keys") from None
    recipients = []
    for line in lines:
        if not line or line[0] == "#":
            continue
        kind = pyrage.ssh if line.startswith("ssh-") else pyrage.x25519
        try:
            recipients.append(kind.Recipient.from_str(line))
        except (ValueError, pyrage.RecipientError):
            raise OperatorError(f"{keys}: {line[:40]!r} is no age or SSH public key") from None
    if not recipients:
        raise OperatorError(f"{keys}: no public key in it: write one a line, as age-keygen prints them")
    sealed: bytes = pyrage.encrypt(text.encode(), recipients, armored=True)
    return sealed
