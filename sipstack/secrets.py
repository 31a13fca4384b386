"""Secrets of one deployment: given by the operator, or generated once and kept.

They lie in `.state/<inventory>/`, readable by their owner only. Nothing there is ever dropped or overwritten:
a file that cannot be understood is refused. What is generated is kept when the deploy begins (`keep`): a run that is
refused, or only tells what it would do, leaves no secrets that no host has.
"""

import csv
import difflib
import fcntl
import json
import os
import re
import secrets
import sys
import tempfile
import tomllib
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, TextIO

from sipstack.errors import OperatorError

ENVIRONMENT_PREFIX = "SIPSTACK_SECRET_"
AGE_IDENTITY = "SIPSTACK_AGE_IDENTITY"
_NAME = re.compile(r"[a-z][a-z0-9_]*")


def generate_secret() -> str:
    """A secret for machines: 256 random bits."""
    return secrets.token_urlsafe(32)


def generate_slot_password() -> str:
    """A secret that a person may have to type into a phone: 120 random bits, 20 characters."""
    return secrets.token_urlsafe(15)


def secret_fault(value: str) -> str | None:
    """Why a text cannot be a secret ("is empty", "contains a control character"), or None.

    Everything else is allowed: quotes, spaces, any script.
    """
    if not value:
        return "is empty"
    if value.isprintable():
        return None
    # Cc control, Zl and Zp line and paragraph separators: they break the files and commands that carry a
    # secret. Cs is what Python makes of bytes that are not UTF-8.
    if any(unicodedata.category(character) in ("Cc", "Zl", "Zp", "Cs") for character in value):
        return "contains a control character, a line break or a broken character"
    return None


def refuse_unknown(known: Iterable[str]) -> None:
    """Raise OperatorError for an environment variable SIPSTACK_SECRET_… that no secret is called.

    A name that is misspelt would be ignored, and another secret generated.
    """
    names = sorted(known)
    for variable in sorted(os.environ):
        name = variable.removeprefix(ENVIRONMENT_PREFIX).lower()
        if variable.startswith(ENVIRONMENT_PREFIX) and name not in names:
            close = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {ENVIRONMENT_PREFIX}{close[0].upper()}?" if close else f"there are {', '.join(names)}"
            raise OperatorError(f"environment variable {variable}: no secret has that name: {hint}")


class SecretStore:
    """The secrets of one inventory.

    directory: `.state/<inventory>/`; made with mode 0700, refused if others may read it.
    secrets_file: an age-encrypted TOML or JSON file of `name = "value"`, or None. It is opened with the age
        (or SSH) identity in the file that the environment variable SIPSTACK_AGE_IDENTITY names.
    """

    def __init__(self, directory: Path, secrets_file: Path | None = None) -> None:
        self._directory = directory
        self._secrets_file = secrets_file
        self._decrypted: dict[str, str] | None = None
        # From the environment, in this run.
        self._given: dict[str, str] = {}
        # Generated in this run and not kept yet, by file.
        self._new: dict[str, dict[str, str]] = {}
        if os.path.lexists(directory):
            _refuse_readable_by_others(directory, "700")

    def __repr__(self) -> str:
        return f"SecretStore({str(self._directory)!r})"

    @property
    def directory(self) -> Path:
        """Where it lies."""
        return self._directory

    @property
    def name(self) -> str:
        """What the store is called: the inventory's name, as a rule."""
        return self._directory.name

    def get(self, name: str, generate: Callable[[], str] | None = generate_secret) -> str:
        """The secret called `name` (lower case letters, digits, `_`).

        In this order: environment variable SIPSTACK_SECRET_<NAME>, the age-encrypted file, the value that is
        kept (see `remember`), a new one from `generate` (see `keep`). generate=None: only the operator can know
        it, so a missing one is an error.
        Raises OperatorError for a missing or unusable secret and for a state file that cannot be trusted.
        """
        if not _NAME.fullmatch(name):
            raise ValueError(f"not a name of a secret: {name!r}")
        variable = ENVIRONMENT_PREFIX + name.upper()
        if (given := os.environ.get(variable)) is not None:
            self._given[name] = _checked(f"environment variable {variable}", given)
            return given
        if (given := self._from_age().get(name)) is not None:
            return _checked(f"{self._secrets_file}: {name}", given)
        if generate is None:
            stored = self._read("secrets.json").get(name)
            if stored is None:
                raise OperatorError(f"secret {name} is missing: set the environment variable {variable}")
            return stored
        return self._kept("secrets.json", [name], generate)[name]

    def forgotten(self) -> list[str]:
        """Names of the secrets that the environment gave in this run and that are not kept yet."""
        stored = self._read("secrets.json")
        return sorted(name for name, value in self._given.items() if stored.get(name) != value)

    def remember(self) -> None:
        """Keep what the environment gave: a run without it must not take the system back to an older secret."""
        with self._lock():
            self._write("secrets.json", {**self._read("secrets.json"), **self._given})

    def slot_passwords(self, usernames: Iterable[str]) -> dict[str, str]:
        """A password for each username, generated for those who have none yet (see `keep`).

        The passwords of slots that are gone stay in the file, so that a slot which comes back has the password that
        its phone knows.
        """
        return self._kept("slots.json", list(usernames), generate_slot_password)

    def earlier_passwords(self) -> dict[str, list[str]]:
        """The passwords that slots had before they were renewed, the oldest first."""
        return {name: value.split() for name, value in self._read("slots_before.json").items()}

    def renew(self, usernames: Iterable[str]) -> None:
        """New passwords for slots that have one. Raises OperatorError for one that has none."""
        with self._lock():
            passwords, before = self._read("slots.json"), self._read("slots_before.json")
            for name in usernames:
                if name not in passwords:
                    raise OperatorError(
                        f"{name} has no password in {self._directory}: it is not of this inventory, or has its own"
                    )
                before[name] = f"{before.get(name, '')} {passwords[name]}".strip()
                passwords[name] = generate_slot_password()
            # In this order: a password that is in no file is lost.
            self._write("slots_before.json", before)
            self._write("slots.json", passwords)

    def tables(self, names: Iterable[str]) -> dict[str, dict[str, str]]:
        """The files of these names as they are kept; empty where there is none."""
        return {name: self._read(name) for name in names}

    def replace(self, tables: Mapping[str, dict[str, str]]) -> None:
        """Write files that differ."""
        with self._lock():
            for name, content in tables.items():
                if content != self._read(name):
                    self._write(name, content)

    @property
    def is_new(self) -> bool:
        """Whether this run has made the secrets that tell one fleet from another."""
        return "digest_key" in self._new.get("secrets.json", {})

    @property
    def has_new(self) -> bool:
        """Whether something was generated in this run that is not kept yet."""
        return any(self._new.values())

    def keep(self) -> None:
        """Write down what was generated in this run. Raises OperatorError if another run did so meanwhile."""
        if not self.has_new:
            return
        with self._lock():
            for file_name, new in self._new.items():
                stored = self._read(file_name)
                if differs := sorted(name for name, value in new.items() if stored.get(name, value) != value):
                    raise OperatorError(f"{self._directory / file_name}: another run has made {differs[0]}: run again")
                self._write(file_name, {**stored, **new})
        self._new.clear()

    def _kept(self, file_name: str, names: list[str], generate: Callable[[], str]) -> dict[str, str]:
        """The values of these names from a file of the store; those that are missing are generated."""
        stored, new = self._read(file_name), self._new.setdefault(file_name, {})
        for name in names:
            if name not in stored and name not in new:
                new[name] = _checked(name, generate())
        return {name: stored[name] if name in stored else new[name] for name in names}

    @contextmanager
    def _lock(self) -> Iterator[None]:
        path = self._directory / "lock"
        with _operator_errors(path):
            self._directory.parent.mkdir(parents=True, exist_ok=True)
            self._directory.mkdir(mode=0o700, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _write(self, file_name: str, content: dict[str, str]) -> None:
        _write_private(self._directory / file_name, json.dumps(content, ensure_ascii=False, indent=0, sort_keys=True))

    def _read(self, file_name: str) -> dict[str, str]:
        path = self._directory / file_name
        with _operator_errors(path):
            # A link into a place that is not mounted exists: its secrets are not to be generated anew.
            if not os.path.lexists(path):
                return {}
        _refuse_readable_by_others(path, "600")
        try:
            with _operator_errors(path):
                return _table(json.loads(path.read_bytes()))
        except ValueError:
            raise OperatorError(
                f"{path}: damaged, and left as it is: restore it from a copy; without one, move it away"
                " and new secrets are generated"
            ) from None

    def _from_age(self) -> dict[str, str]:
        if self._decrypted is None:
            self._decrypted = _secrets_in(self._secrets_file) if self._secrets_file else {}
        return self._decrypted


def write_csv(rows: Iterable[tuple[int, str]], path: Path | None = None) -> None:
    """Hand out slots: (number, password) as `number,password`, which `sipstack.slots.load_csv` reads back.

    path: None for standard output, which may end in a log; a file is readable by its owner only.
    """

    def write(target: TextIO) -> None:
        writer = csv.writer(target, lineterminator="\n")
        writer.writerow(("number", "password"))
        writer.writerows(rows)

    if path is None:
        write(sys.stdout)
    else:
        with _replacing(path) as target:
            write(target)


def _checked(where: str, value: str) -> str:
    if fault := secret_fault(value):
        raise OperatorError(f"{where} {fault}: give it one line of printable text, or remove it")
    return value


def _table(content: object) -> dict[str, str]:
    """The content of a file of secrets. Raises ValueError unless it maps names to texts."""
    if not isinstance(content, dict) or not all(isinstance(value, str) for value in content.values()):
        raise ValueError("not a table of texts")
    return content


def _secrets_in(path: Path) -> dict[str, str]:
    """The secrets of an age-encrypted file."""
    try:
        return _table(decrypted(path))
    except ValueError:
        raise OperatorError(f'{path}: not a list of secrets: write name = "value", one on a line') from None


def decrypted(path: Path) -> dict[str, Any]:
    """The content of an age-encrypted file (https://age-encryption.org/v1) of JSON or TOML.

    It is opened with the identity in the file that SIPSTACK_AGE_IDENTITY names. Raises OperatorError.
    """
    try:
        # Only needed by operators who use such a file.
        pyrage = import_module("pyrage")
    except ImportError:
        raise OperatorError(f"{path}: age-encrypted secrets need pyrage: pip install pyrage") from None
    identity_path = os.environ.get(AGE_IDENTITY)
    if not identity_path:
        raise OperatorError(f"{path}: no key: set {AGE_IDENTITY} to the path of your age identity file")
    with _operator_errors(Path(identity_path)):
        identity_file = Path(identity_path).read_bytes()
    with _operator_errors(path):
        encrypted = path.read_bytes()
    try:
        if identity_file.startswith(b"-----BEGIN"):
            identities = [pyrage.ssh.Identity.from_buffer(identity_file)]
        else:
            keys = [line.strip() for line in identity_file.decode().splitlines()]
            identities = [pyrage.x25519.Identity.from_str(key) for key in keys if key and key[0] != "#"]
    except (ValueError, pyrage.IdentityError):
        raise OperatorError(f"{identity_path}: not an age identity: make one with age-keygen") from None
    try:
        plain = pyrage.decrypt(encrypted, identities).decode()
    except (ValueError, pyrage.DecryptError):
        raise OperatorError(f"{path}: does not open with {identity_path}: encrypt it for that key") from None
    try:
        content: dict[str, Any] = json.loads(plain) if plain.lstrip().startswith("{") else tomllib.loads(plain)
    except ValueError:
        content = {"": None}
    return content


def _refuse_readable_by_others(path: Path, mode: str) -> None:
    with _operator_errors(path):
        readable = path.stat().st_mode & 0o077
    if readable:
        raise OperatorError(f"{path}: others can read these secrets: chmod {mode} {path}")


def _write_private(path: Path, text: str) -> None:
    with _replacing(path) as target:
        target.write(text)


@contextmanager
def _replacing(path: Path) -> Iterator[TextIO]:
    """A new file, mode 0600, that takes the place of `path` in one step once all of it is on the disk."""
    with _operator_errors(path):
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as target:
                yield target
                target.flush()
                os.fsync(target.fileno())
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
        # The new name is in the directory, which has to reach the disk as well.
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


@contextmanager
def _operator_errors(path: Path) -> Iterator[None]:
    """Turn a failure of the file system into one line that names the path."""
    try:
        yield
    except OSError as error:
        raise OperatorError(f"{path}: {(error.strerror or str(error)).lower()}") from None
