"""`watch`: how long a proxy is silent, measured from outside while something is done to it."""

import asyncio
import time

from .message import Address, parse, token
from .stop import stopped

INTERVAL = 0.05


class Watch(asyncio.DatagramProtocol):
    """Asks by OPTIONS, without repeating any, and remembers when answers came.

    Attributes:
        sent, answered: requests, and final answers of any code.
        longest, since: the longest silence, and when it began, in seconds of the monotonic clock. It begins with
            the start or an answer, and ends with an answer or the end of the watch.
    """

    def __init__(self) -> None:
        self.sent = self.answered = 0
        self.longest = 0.0
        self.since = self._last = time.monotonic()

    def datagram_received(self, data: bytes, _: Address) -> None:
        try:
            reply = parse(data)
        except ValueError:
            return
        if reply.code >= 200:
            self.answered += 1
            self.mark()

    def mark(self) -> None:
        """A silence ends here."""
        now = time.monotonic()
        if now - self._last > self.longest:
            self.longest, self.since = now - self._last, self._last
        self._last = now

    def result(self) -> dict[str, object]:
        """What is printed; `from` is the time of day, in seconds of the epoch, when the longest silence began."""
        begin = time.time() - (time.monotonic() - self.since)
        return {
            "sent": self.sent,
            "answered": self.answered,
            "longest_silence_ms": round(self.longest * 1000),
            "from": round(begin, 3),
        }


async def watch(proxy: Address, seconds: float | None = None, stop: asyncio.Event | None = None) -> dict[str, object]:
    """Ask a proxy every 50 ms until the end is asked for (by `stop`, else as `stopped` has it); the result.

    seconds: the end comes by itself then; None: it has to be asked for.
    """
    loop = asyncio.get_running_loop()
    ending = stop or stopped()
    if seconds is not None:
        loop.call_later(seconds, ending.set)
    # Not connected: a port that is closed for a moment must not end the asking.
    transport, seen = await loop.create_datagram_endpoint(Watch, local_addr=("0.0.0.0", 0))
    me, call_id, due = f"127.0.0.1:{transport.get_extra_info('sockname')[1]}", token(), loop.time()
    while not ending.is_set():
        seen.sent += 1
        transport.sendto(_options(proxy, me, call_id, seen.sent), proxy)
        due += INTERVAL
        try:
            async with asyncio.timeout_at(due):
                await ending.wait()
        except TimeoutError:
            continue
    seen.mark()
    transport.close()
    return seen.result()


def _options(proxy: Address, me: str, call_id: str, number: int) -> bytes:
    """One request; rport (RFC 3581) brings the answer back, whatever the own address is."""
    return (
        f"OPTIONS sip:{proxy[0]}:{proxy[1]} SIP/2.0\r\n"
        f"Via: SIP/2.0/UDP {me};branch=z9hG4bK{token()};rport\r\n"
        f"Max-Forwards: 70\r\nFrom: <sip:watch@{me}>;tag=watch\r\nTo: <sip:{proxy[0]}:{proxy[1]}>\r\n"
        f"Call-ID: {call_id}\r\nCSeq: {number} OPTIONS\r\nContent-Length: 0\r\n\r\n"
    ).encode()
