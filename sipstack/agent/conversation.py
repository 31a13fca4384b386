"""One call of a load: two phones, from the INVITE to the last BYE, and whether it went as it should."""

import asyncio
import random

from .call import Call
from .errors import SipError
from .loadphone import LoadPhone, Range
from .tally import Tally, failure

_ACK_SECONDS = 4.0  # the answer is repeated after 0.5, 1.5 and 3.5 s, and its ACK with it
_SILENCE_SECONDS = 3.0
_LOOK_SECONDS = 0.25


class Conversation:
    """Made for one call; `run` makes it. Both phones are busy until it ends.

    A failure names the proxy that set the call up, as far as one did.
    """

    def __init__(self, caller: LoadPhone, called: LoadPhone, tally: Tally, stop: asyncio.Event) -> None:
        self._caller, self._called = caller, called
        self._tally, self._stop = tally, stop
        self._proxy = caller.agent.proxy
        self._call = caller.agent.place(called.agent.account.number)
        caller.busy = called.busy = True
        called.expect(self._call.call_id)

    async def run(self, hold: Range, ring_seconds: float) -> None:
        """Call, hold and hang up; what goes wrong is in the tally afterwards.

        Args:
            hold: seconds it is held; less when the load is told to stop.
            ring_seconds: after which a call that rings is given up.
        """
        self._tally.calls += 1
        try:
            await self._run(random.uniform(*hold), ring_seconds)
        except (SipError, OSError) as error:
            proxy = f"{self._proxy[0]}:{self._proxy[1]}"
            who = {"caller": self._caller.agent.account.user, "callee": self._called.agent.account.user}
            self._tally.failed.append(failure(str(error), call_id=self._call.call_id, **who, proxy=proxy))
        finally:
            self._call.over("us")
            self._called.forget()
            self._caller.busy = self._called.busy = False

    async def _run(self, hold: float, ring_seconds: float) -> None:
        loop = asyncio.get_running_loop()
        start = loop.time()
        dialling = asyncio.create_task(self._call.dial(ring_seconds))
        while not dialling.done() and 180 not in self._call.provisionals:
            await asyncio.wait((dialling,), timeout=0.005)
        ringing = loop.time()
        await dialling
        self._proxy = self._caller.agent.proxy
        self._tally.setup_ms.append((ringing - start) * 1000)
        self._tally.up()
        try:
            taken = await self._acknowledged(loop.time() + _ACK_SECONDS)
            await self._hold(taken, loop.time() + hold)
            await self._hang_up(taken)
        finally:
            self._tally.carried -= 1

    async def _acknowledged(self, deadline: float) -> Call:
        while (taken := self._called.taken()) is None:
            if asyncio.get_running_loop().time() > deadline:
                await self._call.hangup()
                raise SipError("the called phone has answered and got no ACK")
            await asyncio.sleep(0.02)
        return taken

    async def _hold(self, taken: Call, until: float) -> None:
        """Until the time is up or the load is told to stop; both have to hear something all the time."""
        clock = asyncio.get_running_loop().time
        sides = ((self._caller, self._call), (self._called, taken))
        while clock() < until and not self._stop.is_set():
            await asyncio.sleep(_LOOK_SECONDS)
            for phone, call in sides:
                user = phone.agent.account.user
                if call.ended.is_set():
                    await self._hang_up_both(taken)
                    raise SipError(f"{user} got a BYE, and neither side had hung up")
                assert call.media is not None
                if (silence := clock() - call.media.heard) > _SILENCE_SECONDS:
                    await self._hang_up_both(taken)
                    raise SipError(f"{user} heard no RTP for {silence:.1f} s")

    async def _hang_up(self, taken: Call) -> None:
        leaving, staying = (self._call, taken) if random.random() < 0.5 else (taken, self._call)
        await leaving.hangup()
        try:
            async with asyncio.timeout(_ACK_SECONDS):
                await staying.ended.wait()
        except TimeoutError:
            raise SipError("BYE was answered with 200 and did not reach the other side") from None

    async def _hang_up_both(self, taken: Call) -> None:
        """What has failed already is left as well as it can be; its first reason is the one that counts."""
        await asyncio.gather(self._call.hangup(), taken.hangup(), return_exceptions=True)
