"""A phone under load: stays registered, and takes the calls that it is told to expect."""

import asyncio
import random
from contextlib import suppress

from .agent import Agent
from .call import Call
from .errors import SipError
from .exchange import Account
from .message import Address
from .tally import Tally, failure

EXPIRES = 120
Range = tuple[float, float]
# Proxies tell each other of a phone in the moment that it registers; on a busy machine that may be a long one.
_KNOWN_SECONDS = 1.0


class LoadPhone:
    """Made by `LoadPhone.open`.

    Attributes:
        agent: its user agent.
        registered: a proxy has granted its last registration, and the others know.
        busy: in a call, or on its way into one.
    """

    def __init__(self, agent: Agent, tally: Tally, refresh: Range, ring: Range) -> None:
        self.agent, self.registered, self.busy = agent, False, False
        self._tally, self._refresh, self._ring = tally, refresh, ring
        self._expected, self._arrivals = "", list[Call]()
        self._answering: set[asyncio.Task[None]] = set()
        self._running = [asyncio.create_task(self._keep_registered()), asyncio.create_task(self._take_calls())]

    @classmethod
    async def open(
        cls, account: Account, proxies: list[Address], tally: Tally, refresh: Range, ring: Range, give_up: float
    ) -> "LoadPhone":
        """Open its socket and begin to register. `refresh` and `ring` are seconds, drawn anew each time."""
        agent = await Agent.open(account, proxies, give_up=give_up, packet_seconds=0.1)
        return cls(agent, tally, refresh, ring)

    async def close(self) -> None:
        """Unregister, as far as a proxy answers soon, and close."""
        for task in self._running:
            task.cancel()
        with suppress(SipError, TimeoutError):
            async with asyncio.timeout(2.0):
                await self.agent.register(0)
        for answering in self._answering:
            answering.cancel()
        self.agent.close()

    def expect(self, call_id: str) -> None:
        """Ring and answer when this call comes in; every other is refused as busy."""
        self._expected, self._arrivals = call_id, []

    def taken(self) -> Call | None:
        """The expected call as this phone has it, once it was acknowledged.

        An INVITE that went by two proxies comes twice; only one of them is acknowledged.
        """
        return next((call for call in self._arrivals if call.confirmed.is_set()), None)

    def forget(self) -> None:
        """The expected call is over for this phone, whatever has become of it."""
        for call in self._arrivals:
            call.over("us")
        self._expected, self._arrivals = "", []

    async def _keep_registered(self) -> None:
        await asyncio.sleep(random.random())  # not all at once
        while True:
            try:
                granted = await self.agent.register(EXPIRES) > 0
                self._tally.registrations += 1
                if not self.registered:
                    await asyncio.sleep(_KNOWN_SECONDS)
                self.registered = granted
            except SipError as error:
                self.registered = False
                self._tally.registration_failures.append(failure(str(error), user=self.agent.account.user))
            await asyncio.sleep(random.uniform(*self._refresh))

    async def _take_calls(self) -> None:
        while True:
            call = await self.agent.incoming.get()
            if call.call_id != self._expected:
                call.refuse(486, "Busy Here")
                continue
            self._arrivals.append(call)
            task = asyncio.create_task(self._answer(call))
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)

    async def _answer(self, call: Call) -> None:
        call.ring()
        await asyncio.sleep(random.uniform(*self._ring))
        if not call.ended.is_set():
            await call.answer()
