"""SIP messages: read from bytes, taken apart, written as bytes (RFC 3261 sections 7, 18.3, 20 and 25)."""

import re
import secrets

# The short forms of RFC 3261 section 7.3.3.
_COMPACT = {
    "c": "content-type", "f": "from", "i": "call-id", "k": "supported", "l": "content-length",
    "m": "contact", "t": "to", "v": "via",
}  # fmt: skip
Address = tuple[str, int]


class Message:
    """A request or a reply.

    Attributes:
        first: the first line.
        headers: (name, value) in their order, names as written.
        body: what follows the head.
    """

    def __init__(self, first: str, headers: list[tuple[str, str]], body: bytes = b"") -> None:
        self.first = first
        self.headers = headers
        self.body = body

    @property
    def method(self) -> str:
        """The method, of a reply that of its CSeq."""
        return (self.get("CSeq").split() or [""])[-1] if self.code else self.first.split(" ", 1)[0]

    @property
    def uri(self) -> str:
        """The Request-URI."""
        return self.first.split(" ")[1]

    @property
    def code(self) -> int:
        """The status code; 0 for a request."""
        return int(self.first[8:11]) if self.first.startswith("SIP/2.0 ") else 0

    @property
    def reason(self) -> str:
        return self.first[12:]

    @property
    def cseq(self) -> int:
        return int(self.get("CSeq").split()[0])

    def get(self, name: str) -> str:
        """The first value of a header as written, "" if there is none."""
        return next((value for key, value in self.headers if _same(key, name)), "")

    def all(self, name: str) -> list[str]:
        """The values of a list header (Via, Route, Record-Route), one each, in order (section 7.3.1)."""
        return [part for key, value in self.headers if _same(key, name) for part in split_list(value)]

    def set(self, name: str, *values: str) -> None:
        """Replace a header by these values, in the place of the first, else at the end; none removes it."""
        places = [place for place, (key, _) in enumerate(self.headers) if _same(key, name)]
        place = places[0] if places else len(self.headers)
        self.headers = [entry for entry in self.headers if not _same(entry[0], name)]
        self.headers[place:place] = [(name, value) for value in values]

    def encode(self) -> bytes:
        self.set("Content-Length", str(len(self.body)))
        lines = [self.first, *(f"{name}: {value}" for name, value in self.headers)]
        return "\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n\r\n" + self.body


def parse(data: bytes) -> Message:
    """Read one message.

    Raises:
        ValueError: this is none, or one without what section 8.1.1 wants in every message.
    """
    head, _, body = data.partition(b"\r\n\r\n")
    lines = re.sub(r"\r\n[ \t]+", " ", head.decode("utf-8", "surrogateescape")).split("\r\n")
    headers = [(name.strip(), value.strip()) for name, _, value in (line.partition(":") for line in lines[1:])]
    message = Message(lines[0], headers, body)
    if not re.match(r"SIP/2\.0 [1-6]\d\d |[A-Z]+ \S+ SIP/2\.0$", message.first):
        raise ValueError(f"no SIP message: {message.first[:60]!r}")
    if not re.match(r"\d+\s+[A-Z]+$", message.get("CSeq")) or not message.get("Via") or not message.get("Call-ID"):
        raise ValueError(f"a message without CSeq, Via or Call-ID: {message.first[:60]!r}")
    return message


def split_list(value: str) -> list[str]:
    """Split at the commas that stand neither in quotes nor in <>."""
    parts = re.findall(r'(?:"(?:[^"\\]|\\.)*"|<[^>]*>|[^,"<])+', value)
    return [part.strip() for part in parts if part.strip()]


def parameter(value: str, name: str) -> str:
    """A parameter of a header's value, such as `tag` or `branch`, after the <> if there are any; "" if absent."""
    found = re.search(rf";\s*{name}\s*=\s*([^;,\s]+)", value.rpartition(">")[2], re.IGNORECASE)
    return found[1] if found else ""


def uri_in(value: str) -> str:
    """The URI of From, To, Contact, Route or Record-Route."""
    bracketed = re.search(r"<([^>]*)>", value)
    return bracketed[1] if bracketed else value.split(";")[0].strip()


def user_of(uri: str) -> str:
    """The user of a SIP URI; "" if it has none."""
    found = re.match(r"sips?:([^@;]+)@", uri)
    return found[1] if found else ""


def place_of(uri: str) -> Address:
    """Host and port of a SIP URI; the port is 5060 if it says none."""
    found = re.match(r"(?:sips?:)?(?:[^@;]*@)?([^:;?]+)(?::(\d+))?", uri)
    return (found[1], int(found[2] or 5060)) if found else ("", 0)


def token() -> str:
    """A random word, for tags, branches and Call-IDs."""
    return secrets.token_hex(8)


def _same(key: str, name: str) -> bool:
    lower = key.lower()
    return _COMPACT.get(lower, lower) == name.lower()
