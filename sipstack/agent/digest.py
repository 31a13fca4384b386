"""Digest authentication with MD5, with and without qop (RFC 2617; RFC 7616 keeps it; RFC 3261 section 22)."""

import hashlib
import re

from .errors import SipError
from .message import token


def parse_challenge(value: str) -> dict[str, str]:
    """The parameters of a WWW-Authenticate or Proxy-Authenticate, by lower-case name."""
    found = re.findall(r'(\w+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))', value)
    return {name.lower(): quoted or bare for name, quoted, bare in found}


def credentials(challenge: str, user: str, password: str, method: str, uri: str, cnonce: str = "") -> str:
    """The value of (Proxy-)Authorization that answers a challenge.

    Args:
        challenge: value of the header that asks.
        uri: the Request-URI.
        cnonce: the client's nonce, for a qop of auth; empty: a random one.

    Raises:
        SipError: no MD5 digest is asked for.
    """
    asked = parse_challenge(challenge)
    if not challenge.lower().startswith("digest") or asked.get("algorithm", "MD5").upper() != "MD5":
        raise SipError(f"credentials of a kind that this phone does not know are asked for: {challenge}")
    realm, nonce = asked.get("realm", ""), asked.get("nonce", "")
    fields = f'username="{user}", realm="{realm}", nonce="{nonce}", uri="{uri}", algorithm=MD5'
    middle = nonce
    if "auth" in re.split(r"[\s,]+", asked.get("qop", "")):
        cnonce = cnonce or token()
        middle = f"{nonce}:00000001:{cnonce}:auth"
        fields += f', qop=auth, nc=00000001, cnonce="{cnonce}"'
    response = _md5(f"{_md5(f'{user}:{realm}:{password}')}:{middle}:{_md5(f'{method}:{uri}')}")
    opaque = f', opaque="{asked["opaque"]}"' if "opaque" in asked else ""
    return f'Digest {fields}, response="{response}"{opaque}'


def _md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()
