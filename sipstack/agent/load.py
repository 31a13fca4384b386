"""`load`: phones that register and call each other all the time, over several proxies, and say what failed.

The order, on standard input (which then stays open for as long as it shall go on, or is no pipe):
    {"proxies": ["address:port", …], "domain": …, "phones": [[number, user, password], …],
     "calls": kept up at the same time, "refresh_s": [10, 20], "hold_s": [20, 60], "ring_s": [0.2, 1.5],
     "give_up_s": 8}
Phone i tries proxy i mod n first and then those after it, for every request anew (RFC 3263 section 4.3).
"""

import asyncio
import json
import random
import signal
from dataclasses import dataclass
from typing import Any

from .conversation import Conversation
from .exchange import Account
from .loadphone import LoadPhone, Range
from .message import Address, place_of
from .stop import stopped
from .tally import Tally

_PACE_SECONDS = 0.1  # from one new call to the next, so that a restart does not begin with a burst


@dataclass(frozen=True)
class Order:
    """What is asked for; times are seconds, ranges are drawn from anew each time."""

    proxies: list[Address]
    accounts: list[Account]
    calls: int
    refresh: Range
    hold: Range
    ring: Range
    give_up: float

    @classmethod
    def read(cls, order: dict[str, Any]) -> "Order":
        """Read the JSON object.

        Raises:
            KeyError, ValueError, TypeError: it lacks something, or has it in another form.
        """

        def span(name: str, low: float, high: float) -> Range:
            first, last = order.get(name, (low, high))
            return float(first), float(last)

        return cls(
            proxies=[place_of(proxy) for proxy in order["proxies"]],
            accounts=[
                Account(str(number), user, password, order["domain"]) for number, user, password in order["phones"]
            ],
            calls=int(order["calls"]),
            refresh=span("refresh_s", 10, 20),
            hold=span("hold_s", 20, 60),
            ring=span("ring_s", 0.2, 1.5),
            give_up=float(order.get("give_up_s", 8)),
        )

    def proxies_of(self, number: int) -> list[Address]:
        """Those of a phone, in the order in which it tries them."""
        first = number % len(self.proxies)
        return self.proxies[first:] + self.proxies[:first]


async def load(request: dict[str, Any]) -> int:
    """Keep the calls up until SIGTERM or the end of standard input, print what was seen, and return the exit code.

    What was seen so far is printed when it begins, and for each SIGUSR1 from then on. The code is 0 only if nothing
    has failed.

    Raises:
        KeyError, ValueError, TypeError: as `Order.read` has them.
    """
    order, tally, stop = Order.read(request), Tally(), stopped()
    phones = [
        await LoadPhone.open(account, order.proxies_of(number), tally, order.refresh, order.ring, order.give_up)
        for number, account in enumerate(order.accounts)
    ]

    def show() -> None:
        tally.failovers = sum(phone.agent.failovers for phone in phones)
        print(json.dumps(tally.result()), flush=True)

    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, show)
    show()
    await _keep_up(order, phones, tally, stop)
    await asyncio.gather(*(phone.close() for phone in phones))
    show()
    return 1 if tally.failed or tally.registration_failures else 0


async def _keep_up(order: Order, phones: list[LoadPhone], tally: Tally, stop: asyncio.Event) -> None:
    """Begin a call whenever there are too few and two phones are free; at the end, wait until all are hung up."""
    running: set[asyncio.Task[None]] = set()
    # Longer than any phone rings, and than a proxy may be silent on the way to it.
    ring_seconds = order.ring[1] + 2 * order.give_up
    while not stop.is_set():
        idle = [phone for phone in phones if phone.registered and not phone.busy]
        if len(running) < order.calls and len(idle) >= 2:
            caller, called = random.sample(idle, 2)
            task = asyncio.create_task(Conversation(caller, called, tally, stop).run(order.hold, ring_seconds))
            running.add(task)
            task.add_done_callback(running.discard)
        try:
            async with asyncio.timeout(_PACE_SECONDS):
                await stop.wait()
        except TimeoutError:
            continue
    await asyncio.gather(*running)
