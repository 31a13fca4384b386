"""A state that several operators share: sealed beside the inventory, opened by who has a key."""

from collections.abc import Callable
from pathlib import Path

import pytest

from sipstack import inventory, share
from sipstack.errors import OperatorError
from sipstack.secrets import SecretStore

pyrage = pytest.importorskip("pyrage")

HOST = ("sip1", ("proxies", "prod"), {"state": "prod"})


class Operator:
    """One of them: a machine with a state of its own, and a copy of the repository."""

    def __init__(self, folder: Path, use: Callable[[Path], None]) -> None:
        self.state, self._use = folder, use

    def store(self) -> SecretStore:
        return SecretStore(self.state / "prod")

    def deploys(self, *usernames: str) -> dict[str, str]:
        store = self.store()
        store.get("digest_key")
        passwords = store.slot_passwords(usernames)
        store.keep()
        return passwords

    def seals(self, keys: Path) -> None:
        self._use(self.state)
        share.seal("inventories/prod.py", str(keys))

    def opens(self) -> None:
        self._use(self.state)
        share.unseal("inventories/prod.py")


@pytest.fixture
def operators(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Operator, Operator]:
    monkeypatch.setattr(inventory, "read", lambda _: (tmp_path / "prod.py", [HOST]))
    identity = pyrage.x25519.Identity.generate()
    (tmp_path / "key.txt").write_text(f"{identity}\n")
    (tmp_path / "keys.txt").write_text(f"# ours\n{identity.to_public()}\n")
    monkeypatch.setenv("SIPSTACK_AGE_IDENTITY", str(tmp_path / "key.txt"))
    one, other = (
        Operator(tmp_path / name, lambda state: monkeypatch.setattr(share, "STATE", state)) for name in ("one", "other")
    )
    return one, other


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    return tmp_path / "keys.txt"


def test_who_opens_it_knows_what_the_other_knows(operators: tuple[Operator, Operator], keys: Path) -> None:
    one, other = operators
    passwords = one.deploys("slot_6001", "slot_6002")
    one.seals(keys)
    sealed = (keys.parent / "prod.state.age").read_text()
    assert sealed.startswith("-----BEGIN AGE ENCRYPTED FILE-----")
    assert passwords["slot_6001"] not in sealed
    other.opens()
    assert other.deploys("slot_6001", "slot_6002") == passwords
    assert other.store().get("digest_key") == one.store().get("digest_key")


def test_the_newer_password_wins_on_both_sides(operators: tuple[Operator, Operator], keys: Path) -> None:
    one, other = operators
    before = one.deploys("slot_6001")["slot_6001"]
    one.seals(keys)
    other.opens()
    other.store().renew(["slot_6001"])
    renewed = other.deploys("slot_6001")["slot_6001"]
    # An older seal takes nothing back.
    other.opens()
    assert other.deploys("slot_6001")["slot_6001"] == renewed
    other.seals(keys)
    one.opens()
    assert one.deploys("slot_6001")["slot_6001"] == renewed
    assert one.store().earlier_passwords() == {"slot_6001": [before]}


def test_two_states_that_were_made_apart_are_not_mixed(operators: tuple[Operator, Operator], keys: Path) -> None:
    one, other = operators
    one.deploys("slot_6001")
    one.seals(keys)
    own = other.deploys("slot_6001")
    with pytest.raises(OperatorError, match=r"prod\.state\.age has another digest_key than .*: move .* away"):
        other.opens()
    assert other.deploys("slot_6001") == own


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "no public key in it"), ("age1nonsense", "no age or SSH public key"), (None, "no such file")],
)
def test_keys_that_are_none(operators: tuple[Operator, Operator], keys: Path, text: str | None, said: str) -> None:
    operators[0].deploys("slot_6001")
    if text is None:
        keys.unlink()
    else:
        keys.write_text(text)
    with pytest.raises(OperatorError, match=said):
        operators[0].seals(keys)
    assert not (keys.parent / "prod.state.age").exists()


def test_there_is_nothing_to_seal_or_to_open(operators: tuple[Operator, Operator], keys: Path) -> None:
    with pytest.raises(OperatorError, match="nothing to seal"):
        operators[0].seals(keys)
    with pytest.raises(OperatorError, match="no sealed state"):
        operators[1].opens()
    assert not operators[0].state.exists()
