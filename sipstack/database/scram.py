"""PostgreSQL's password verifiers (SCRAM-SHA-256, RFC 5802 and 7677): whether one was made from a password."""

import base64
import hashlib
import hmac
import re
import stringprep
import unicodedata


def password_matches(verifier: str | None, password: str) -> bool:
    """Whether `verifier` (pg_authid.rolpassword) was made from `password`. False for MD5 and for none.

    RFC 5802 section 3: StoredKey = H(HMAC(Hi(Normalize(password), salt, i), "Client Key")); PostgreSQL writes
    SCRAM-SHA-256$i:salt$StoredKey:ServerKey.
    """
    parts = re.fullmatch(r"SCRAM-SHA-256\$(\d+):([^$]+)\$([^:]+):.+", verifier or "")
    if parts is None:
        return False
    salted = hashlib.pbkdf2_hmac("sha256", _saslprep(password).encode(), base64.b64decode(parts[2]), int(parts[1]))
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    return hmac.compare_digest(stored, base64.b64decode(parts[3]))


def _saslprep(password: str) -> str:
    """RFC 4013 as PostgreSQL does it: what the profile forbids is used unchanged instead of refused."""
    # U+200B is in both tables; PostgreSQL looks for spaces first.
    spaced = "".join(" " if stringprep.in_table_c12(char) else char for char in password)
    mapped = "".join(char for char in spaced if not stringprep.in_table_b1(char))
    prepared = unicodedata.normalize("NFKC", mapped)
    forbidden = any(_saslprep_forbids(char) for char in prepared)
    right_to_left = [stringprep.in_table_d1(char) for char in prepared]
    mixed = any(right_to_left) and (
        not (right_to_left[0] and right_to_left[-1]) or any(stringprep.in_table_d2(char) for char in prepared)
    )
    return password if not prepared or forbidden or mixed else prepared


def _saslprep_forbids(char: str) -> bool:
    """RFC 4013 section 2.3 (control, private, non-character, surrogate, and so on) and 2.5 (unassigned)."""
    tables = (
        stringprep.in_table_a1,
        stringprep.in_table_c12,
        stringprep.in_table_c21_c22,
        stringprep.in_table_c3,
        stringprep.in_table_c4,
        stringprep.in_table_c5,
        stringprep.in_table_c6,
        stringprep.in_table_c7,
        stringprep.in_table_c8,
        stringprep.in_table_c9,
    )
    return any(inside(char) for inside in tables)
