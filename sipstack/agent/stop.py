"""How a command that runs until it is told is told, and how it is given its order."""

import asyncio
import json
import os
import signal
import sys
from contextlib import suppress
from typing import Any, TextIO


def stopped() -> asyncio.Event:
    """An event that SIGTERM, SIGINT or the end of standard input sets.

    A standard input that cannot be waited for, such as /dev/null or a file, ends nothing.
    """
    loop, event = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, event.set)

    def read() -> None:
        if not os.read(sys.stdin.fileno(), 4096):
            loop.remove_reader(sys.stdin.fileno())
            event.set()

    with suppress(OSError, ValueError):
        loop.add_reader(sys.stdin.fileno(), read)
    return event


def read_order(stream: TextIO) -> dict[str, Any]:
    """One JSON object from a stream, which is read no further than the line it ends on.

    Raises:
        ValueError: the stream ends before there is one.
    """
    text = ""
    for line in stream:
        text += line
        try:
            found = json.loads(text)
        except ValueError:
            continue
        if isinstance(found, dict):
            return found
        break
    raise ValueError("standard input has to give one JSON object")
