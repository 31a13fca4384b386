"""Reads the head of a SIP message: its first line and its headers."""

# RFC 3261 section 20 (one-letter forms); the rest of a message's names are compared without case.
_COMPACT = {
    "c": "content-type", "e": "content-encoding", "f": "from", "i": "call-id", "k": "supported",
    "l": "content-length", "m": "contact", "s": "subject", "t": "to", "v": "via",
}  # fmt: skip


def header_name(name: str) -> str:
    """The long, lower-case form of a header's name: `i` and `Call-ID` are both `call-id`."""
    name = name.strip().lower()
    return _COMPACT.get(name, name)


def parse_head(text: str) -> tuple[str, dict[str, str]]:
    """Split a SIP message into its first line and its headers.

    Args:
        text: the message, with or without its body.

    Returns:
        The first line, and the headers by `header_name`. A header that is there more than once has its
        values joined by ", " in their order (RFC 3261 section 7.3.1). The body is ignored.
    """
    lines = text.split("\r\n\r\n", 1)[0].split("\r\n")
    headers: dict[str, str] = {}
    name = ""
    for line in lines[1:]:
        if line[:1] in (" ", "\t"):  # folded: it continues the header before it
            if name:
                headers[name] += " " + line.strip()
            continue
        raw_name, _, value = line.partition(":")
        name = header_name(raw_name)
        headers[name] = f"{headers[name]}, {value.strip()}" if name in headers else value.strip()
    return lines[0], headers
