"""Where secrets come from, that they stay, and that nobody else sees them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sipstack.errors import OperatorError
from sipstack.node import SECRETS
from sipstack.secrets import SecretStore, refuse_unknown

AWKWARD = "a 'b' \"c\" $d #e;f\\g `h` пароль"


@pytest.fixture(autouse=True)
def no_operator_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("SIPSTACK_"):
            monkeypatch.delenv(name)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / ".state" / "prod"


def made(state: Path, name: str) -> str:
    """A secret as a deploy makes it."""
    store = SecretStore(state)
    value = store.get(name)
    store.keep()
    return value


def made_slots(state: Path, *usernames: str) -> dict[str, str]:
    store = SecretStore(state)
    passwords = store.slot_passwords(usernames)
    store.keep()
    return passwords


def modes(directory: Path) -> set[int]:
    return {path.stat().st_mode & 0o777 for path in directory.iterdir()}


def test_a_generated_secret_stays_and_is_private(state: Path) -> None:
    store = SecretStore(state)
    value = store.get("postgres_password")
    assert len(value) >= 32
    store.keep()
    assert SecretStore(state).get("postgres_password") == value
    assert SecretStore(state).get("other") != value
    assert state.stat().st_mode & 0o777 == 0o700
    assert modes(state) == {0o600}


def test_the_environment_comes_first_and_leaves_the_stored_one(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = made(state, "postgres_password")
    monkeypatch.setenv("SIPSTACK_SECRET_POSTGRES_PASSWORD", AWKWARD)
    assert SecretStore(state).get("postgres_password") == AWKWARD
    monkeypatch.delenv("SIPSTACK_SECRET_POSTGRES_PASSWORD")
    assert SecretStore(state).get("postgres_password") == stored


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("", "is empty"),
        ("a\nb", "line break"),
        ("a\tb", "control"),
        ("a\x85b", "control"),
        ("a\udcffb", "broken"),
    ],
)
def test_an_unusable_secret_is_refused_and_not_shown(
    state: Path, monkeypatch: pytest.MonkeyPatch, value: str, said: str
) -> None:
    monkeypatch.setenv("SIPSTACK_SECRET_TRUNK", value)
    with pytest.raises(OperatorError, match=f"SIPSTACK_SECRET_TRUNK .*{said}") as caught:
        SecretStore(state).get("trunk")
    assert not value or value not in str(caught.value)


def test_a_secret_that_only_the_operator_knows(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OperatorError, match="set the environment variable SIPSTACK_SECRET_TRUNK"):
        SecretStore(state).get("trunk", generate=None)
    monkeypatch.setenv("SIPSTACK_SECRET_TRUNK", "given")
    assert SecretStore(state).get("trunk", generate=None) == "given"


def test_what_others_can_read_is_refused(state: Path) -> None:
    made(state, "one")
    file = state / "secrets.json"
    file.chmod(0o640)
    with pytest.raises(OperatorError, match=f"chmod 600 {file}"):
        SecretStore(state).get("one")
    file.chmod(0o600)
    state.chmod(0o755)
    with pytest.raises(OperatorError, match=f"chmod 700 {state}"):
        SecretStore(state)


@pytest.mark.parametrize("content", ["", "{", '{"one": "se', '["one"]', '{"one": 1}', "\x00"])
@pytest.mark.parametrize("file_name", ["secrets.json", "slots.json"])
def test_a_damaged_file_is_refused_and_kept(state: Path, content: str, file_name: str) -> None:
    state.mkdir(parents=True, mode=0o700)
    store = SecretStore(state)
    file = state / file_name
    file.touch(mode=0o600)
    file.write_text(content)
    with pytest.raises(OperatorError, match="damaged") as caught:
        _ = store.get("two") if file_name == "secrets.json" else store.slot_passwords(["slot_6001"])
    assert "\n" not in str(caught.value)
    assert file.read_text() == content


def test_a_link_to_secrets_that_are_not_there_is_no_empty_store(state: Path) -> None:
    state.mkdir(parents=True, mode=0o700)
    store = SecretStore(state)
    (state / "secrets.json").symlink_to(state / "unmounted" / "secrets.json")
    with pytest.raises(OperatorError, match="no such file"):
        store.get("one")


def test_a_write_that_fails_loses_nothing(state: Path) -> None:
    """RLIMIT_FSIZE stands in for a full disk."""
    passwords = made_slots(state, "slot_6001")
    script = (
        "import resource, signal, sys; from pathlib import Path; from sipstack.secrets import SecretStore\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n"
        "store = SecretStore(Path(sys.argv[1])); store.slot_passwords([f'slot_{n}' for n in range(7001, 7999)])\n"
        "store.keep()\n"
    )
    run = subprocess.run([sys.executable, "-c", script, state], capture_output=True, text=True)
    assert run.returncode != 0
    assert "OperatorError" in run.stderr
    assert "file too large" in run.stderr
    assert SecretStore(state).slot_passwords(["slot_6001"]) == passwords
    assert {path.name for path in state.iterdir()} == {"slots.json", "lock"}


def test_what_is_not_kept_is_not_there(state: Path) -> None:
    """A run that is refused, or that only tells what it would do."""
    store = SecretStore(state)
    value = store.get("one")
    assert store.get("one") == value
    assert store.has_new
    assert not state.exists()
    store.keep()
    assert not store.has_new
    assert SecretStore(state).get("one") == value


def test_of_two_first_runs_one_wins(state: Path) -> None:
    one, other = SecretStore(state), SecretStore(state)
    value = one.get("shared")
    other.get("shared")
    other.get("own")
    one.keep()
    with pytest.raises(OperatorError, match="another run has made shared: run again"):
        other.keep()
    assert json.loads((state / "secrets.json").read_text()) == {"shared": value}


def test_processes_at_the_same_time_lose_nothing(state: Path) -> None:
    """A lost update would lose a secret of one of them."""
    script = (
        "import sys; from pathlib import Path; from sipstack.secrets import SecretStore\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "for n in range(20):\n"
        "    store = SecretStore(Path(sys.argv[1])); print(store.get(f'own_{sys.argv[2]}_{n}')); store.keep()\n"
    )
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", script, state, str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(6)
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    answers = [writer.communicate()[0].split() for writer in writers]
    kept = json.loads((state / "secrets.json").read_text())
    assert {value for answer in answers for value in answer} == set(kept.values())
    assert len(kept) == 6 * 20


def test_a_renewed_password_is_remembered_with_the_one_before(state: Path) -> None:
    before = made_slots(state, "slot_6001", "slot_6002")
    SecretStore(state).renew(["slot_6001"])
    store = SecretStore(state)
    after = store.slot_passwords(["slot_6001", "slot_6002"])
    assert after["slot_6002"] == before["slot_6002"]
    assert after["slot_6001"] != before["slot_6001"]
    assert store.earlier_passwords() == {"slot_6001": [before["slot_6001"]]}
    with pytest.raises(OperatorError, match="slot_7001 has no password"):
        store.renew(["slot_7001"])


def test_slot_passwords_stay_also_of_slots_that_come_back(state: Path) -> None:
    names = [f"slot_{number}" for number in range(6001, 6011)]
    first = made_slots(state, *names)
    assert list(first) == names
    assert len(set(first.values())) == len(names)
    assert all(len(password) >= 20 for password in first.values())
    made_slots(state, "slot_7001")
    assert SecretStore(state).slot_passwords(names) == first


def test_nothing_is_written_when_nothing_is_new(state: Path) -> None:
    made_slots(state, "slot_6001", "slot_6002")
    before = (state / "slots.json").stat()
    made_slots(state, "slot_6002")
    after = (state / "slots.json").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_secret_that_is_misspelt_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_unknown(SECRETS)
    monkeypatch.setenv("SIPSTACK_SECRET_POSTGRES_PASSWORD", "right")
    refuse_unknown(SECRETS)
    monkeypatch.setenv("SIPSTACK_SECRET_POSTGRESS_PASSWORD", "a value")
    with pytest.raises(OperatorError, match=r"POSTGRESS_PASSWORD: .* mean SIPSTACK_SECRET_POSTGRES_PASSWORD") as caught:
        refuse_unknown(SECRETS)
    assert "a value" not in str(caught.value)


def test_the_store_never_shows_a_value(state: Path) -> None:
    store = SecretStore(state)
    value = store.get("one")
    assert value not in repr(store) + str(store)


class TestAgeEncryptedFile:
    @pytest.fixture
    def key(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
        pyrage = pytest.importorskip("pyrage")
        identity = pyrage.x25519.Identity.generate()
        (tmp_path / "key.txt").write_text(f"# created: today\n{identity}\n")
        monkeypatch.setenv("SIPSTACK_AGE_IDENTITY", str(tmp_path / "key.txt"))
        return identity.to_public()

    @staticmethod
    def encrypt(path: Path, text: str, key: object, armored: bool = False) -> Path:
        pyrage = pytest.importorskip("pyrage")
        path.write_bytes(pyrage.encrypt(text.encode(), [key], armored=armored))
        return path

    @pytest.mark.parametrize("armored", [False, True])
    @pytest.mark.parametrize(
        "content", [json.dumps({"trunk": AWKWARD}), f"# of the provider\ntrunk = '''{AWKWARD}'''\n"]
    )
    def test_it_comes_after_the_environment_and_before_the_stored_one(
        self,
        state: Path,
        tmp_path: Path,
        key: object,
        monkeypatch: pytest.MonkeyPatch,
        content: str,
        armored: bool,
    ) -> None:
        stored = SecretStore(state).get("trunk")
        file = self.encrypt(tmp_path / "secrets.age", content, key, armored)
        assert SecretStore(state, file).get("trunk") == AWKWARD
        monkeypatch.setenv("SIPSTACK_SECRET_TRUNK", "from the environment")
        assert SecretStore(state, file).get("trunk") == "from the environment"
        assert stored not in (AWKWARD, "from the environment")

    def test_what_cannot_be_opened_is_said_in_one_line(
        self, state: Path, tmp_path: Path, key: object, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = self.encrypt(tmp_path / "secrets.age", "trunk = 5", key)

        def said() -> str:
            with pytest.raises(OperatorError) as caught:
                SecretStore(state, file).get("trunk")
            assert "\n" not in str(caught.value)
            return str(caught.value)

        assert "not a list of secrets" in said()
        file.write_bytes(b"trunk = 'not encrypted'")
        assert "does not open" in said()
        pyrage = pytest.importorskip("pyrage")
        self.encrypt(file, "trunk = 'x'", pyrage.x25519.Identity.generate().to_public())
        assert "does not open" in said()
        (tmp_path / "key.txt").write_text("AGE-SECRET-KEY-1NONSENSE\n")
        assert "not an age identity" in said()
        monkeypatch.delenv("SIPSTACK_AGE_IDENTITY")
        assert "set SIPSTACK_AGE_IDENTITY" in said()


def test_what_the_environment_gave_is_kept_for_runs_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SecretStore(tmp_path / "prod")
    generated = store.get("postgres_password")
    monkeypatch.setenv("SIPSTACK_SECRET_POSTGRES_PASSWORD", "the operator's")
    store = SecretStore(tmp_path / "prod")
    assert store.get("postgres_password") == "the operator's" != generated
    assert store.forgotten() == ["postgres_password"]
    store.remember()
    assert store.forgotten() == []
    monkeypatch.delenv("SIPSTACK_SECRET_POSTGRES_PASSWORD")
    assert SecretStore(tmp_path / "prod").get("postgres_password") == "the operator's"
