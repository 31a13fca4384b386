"""What `selftest` does to a system, one method a step; each raises SipError with what was seen instead."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from itertools import permutations

from .agent import Agent
from .call import Call
from .errors import NoAnswerError, RefusedError, SipError
from .exchange import Account
from .message import Address
from .rtp import Rtp

EXPIRES = 120
# What a number says that leads to a phone: away, busy, or declining.
NOBODY_THERE = (480, 486, 600, 603)
HEAR_SECONDS = 1.5
_PACKETS = 5  # of 20 ms that have to be heard; the record of the call then has a duration, too
_PATIENCE = 3.5  # seconds for one answer; less than a step has, so that the error can say which it was


class Steps:
    """The phones, and what they do.

    Attributes:
        accounts: first and second.
        phones: the same as agents, once they are registered.
        internal, outside: Call-IDs of calls that were answered and hung up as they should.
        setup: seconds from dialling until the other phone had the call, of each call between the two.
        doing: what is being waited for, in an operator's words.
    """

    def __init__(self, proxy: Address, first: Account, second: Account, local: str, media: str) -> None:
        self.accounts = (first, second)
        self.phones: list[Agent] = []
        self.internal: list[str] = []
        self.outside: list[str] = []
        self.setup: list[float] = []
        self.doing = ""
        self._proxy, self._local, self._media = proxy, local, media
        self._open: list[Agent] = []

    def now(self, doing: str) -> None:
        self.doing = doing

    async def options(self, kind: str) -> None:
        self.now(f"connecting by {kind}")
        reply = await (await self._agent(self.accounts[0], kind)).options()
        _expect("OPTIONS", reply.code, reply.reason, 200)

    async def wrong_password(self) -> None:
        # pragma: allowlist nextline secret
        agent = await self._agent(replace(self.accounts[0], password="not the password"))
        try:
            await agent.register(EXPIRES)
        except RefusedError as error:
            if error.code not in (401, 403):
                raise SipError(f"{error}, not 401 or 403") from None
        else:
            raise SipError(f"{agent.account.user} was registered with a password that is not its own")

    async def without_credentials(self) -> None:
        agent = await self._agent(self.accounts[0])
        reply = await agent.call_unknown(self.accounts[1].number)
        _expect("a call without credentials", reply.code, reply.reason, 407)

    async def register(self) -> None:
        for account in self.accounts:
            agent = await self._agent(account)
            try:
                granted = await agent.register(EXPIRES)
            except RefusedError as error:
                hint = ": the system does not take its password" if error.code == 401 else ""
                raise SipError(f"{error}{hint}") from None
            if granted <= 0:
                raise SipError(f"{account.user} got 200, and its binding is not in the answer: it is not registered")
            self.phones.append(agent)

    async def call(self, caller: Agent, called: Agent, *, hangup_by_called: bool) -> None:
        """One phone calls the other by number: it rings, both are heard through a relay, a re-INVITE, BYE."""
        for phone in self.phones:  # what a failed step has left must not be taken for this call
            while not phone.incoming.empty():
                phone.incoming.get_nowait().refuse(486, "Busy Here")
        call = caller.place(called.account.number)
        begun = asyncio.get_running_loop().time()
        dialling = asyncio.create_task(call.dial(_PATIENCE))
        try:
            answered = await self._arrival(dialling, caller, called)
            self.setup.append(asyncio.get_running_loop().time() - begun)
            answered.ring()
            while 180 not in call.provisionals:
                self.now(f"waiting for the ringing (180) at {caller.account.user}")
                await asyncio.sleep(0.01)
            self.now(f"waiting for the answer (200) at {caller.account.user}")
            await answered.answer()
            await dialling
            self.now(f"waiting for the ACK at {called.account.user}")
            await answered.confirmed.wait()
        finally:
            dialling.cancel()
        assert call.media is not None and answered.media is not None
        ends = {caller.account.user: call.media, called.account.user: answered.media}
        _expect_relayed(ends)
        await self._hear(called.account.user, answered.media, caller.account.user, call.media.payload)
        await self._hear(caller.account.user, call.media, called.account.user, answered.media.payload)
        self.now("waiting for the answer to a re-INVITE")
        await call.reinvite()
        _expect_relayed(ends)
        leaving, staying = (answered, call) if hangup_by_called else (call, answered)
        self.now("waiting for the answer to BYE")
        await leaving.hangup(_PATIENCE)
        self.now("waiting for the BYE at the other side")
        await staying.ended.wait()
        self.internal.append(call.call_id)

    async def refused(self, target: str, *codes: int) -> None:
        """A call to this target gets one of these codes."""
        call = self.phones[0].place(target)
        self.now(f"waiting for a final answer to the call to {target}")
        try:
            await call.dial(_PATIENCE)
        except RefusedError as error:
            if error.code not in codes:
                raise SipError(f"{error}, not {' or '.join(map(str, codes))}") from None
        else:
            await call.hangup(1.0)
            raise SipError(f"the call to {target} was answered by somebody")

    async def routed(self, number: str) -> None:
        """A call to a number of the operator's own leads somewhere: it rings, is answered, or nobody is there."""
        call = self.phones[0].place(number)
        self.now(f"waiting for {number} to ring or answer")
        dialling = asyncio.create_task(call.dial(_PATIENCE))
        try:
            while not dialling.done() and not any(code >= 180 for code in call.provisionals):
                await asyncio.sleep(0.01)
            if dialling.done():
                dialling.result()
                await call.hangup(1.5)
        except RefusedError as error:
            if error.code not in NOBODY_THERE:
                raise SipError(f"{error}: it leads nowhere") from None
        finally:
            dialling.cancel()
            with suppress(asyncio.CancelledError, SipError):
                await dialling

    async def call_outside(self, number: str, echo: bool) -> None:
        call = self.phones[0].place(number)
        self.now(f"waiting for {number} to answer")
        await call.dial(_PATIENCE)
        assert call.media is not None
        self.now(f"waiting for RTP from {number} ({'our own sound' if echo else 'any'})")
        try:
            async with asyncio.timeout(HEAR_SECONDS):
                await call.media.hear(call.media.payload if echo else None, _PACKETS)
        except TimeoutError:
            self._raise_unheard(f"{number} was answered", call.media)
        finally:
            self.now("waiting for the answer to BYE")
            await call.hangup(1.5)
        self.outside.append(call.call_id)

    async def call_over_tcp(self) -> None:
        """The second phone leaves UDP, comes back over TCP, and is called there by the first."""
        self.now("waiting for the second phone to register over TCP")
        await self.phones[1].register(0)
        self.phones[1] = await self._agent(self.accounts[1], "TCP")
        if await self.phones[1].register(EXPIRES) <= 0:
            raise SipError("the second phone got 200 over TCP, and its binding is not in the answer")
        await self.call(*self.phones, hangup_by_called=False)

    async def unregister(self) -> None:
        for agent in self.phones:
            self.now(f"waiting for {agent.account.user} to be unregistered")
            await agent.unregister_all()

    async def tidy(self, seconds: float) -> None:
        """Hang up and unregister what a failed step has left, as far as it goes in this time; close all."""
        calls = [call for agent in self.phones for call in agent.calls.values() if not call.ended.is_set()]
        jobs = [call.hangup(seconds) for call in calls] + [agent.unregister_all() for agent in self.phones]
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await asyncio.gather(*jobs, return_exceptions=True)
        for agent in self._open:
            agent.close()

    async def _agent(self, account: Account, kind: str = "UDP") -> Agent:
        agent = await Agent.open(account, [self._proxy], kind, local=self._local, media=self._media, give_up=_PATIENCE)
        self._open.append(agent)
        return agent

    async def _arrival(self, dialling: "asyncio.Task[None]", caller: Agent, called: Agent) -> Call:
        """The call as it comes in at the called phone, and there only."""
        self.now(f"waiting for the call to arrive at {called.account.user}")
        here = asyncio.create_task(called.incoming.get())
        wrong = asyncio.create_task(caller.incoming.get())
        try:
            await asyncio.wait((here, wrong, dialling), return_when=asyncio.FIRST_COMPLETED)
            if wrong.done():
                wrong.result().refuse(486, "Busy Here")
                raise SipError(
                    f"the call to {called.account.number} arrived at {caller.account.user}, not {called.account.user}"
                )
            if not here.done():
                await dialling  # refused before it arrived: the refusal is the reason
                raise SipError(f"the call was answered without having arrived at {called.account.user}")
            answered = here.result()
        finally:
            here.cancel()
            wrong.cancel()
        if answered.caller != caller.account.user:
            answered.refuse(486, "Busy Here")
            raise SipError(f"the call from {caller.account.user} says that it comes from {answered.caller!r}")
        return answered

    async def _hear(self, who: str, ear: Rtp, whom: str, payload: bytes) -> None:
        self.now(f"waiting for RTP from {whom} at {who}")
        try:
            async with asyncio.timeout(HEAR_SECONDS):
                await ear.hear(payload, _PACKETS)
        except TimeoutError:
            self._raise_unheard(f"{who} does not hear {whom}", ear)

    def _raise_unheard(self, what: str, ear: Rtp) -> None:
        seen = f"{ear.received} RTP packets came, none with the right sound" if ear.received else "no RTP came"
        raise NoAnswerError(f"{what}: {seen}")


def _expect_relayed(ends: dict[str, Rtp]) -> None:
    """Neither phone of a call may be told where the other one really listens.

    Both are on one host and hear each other on any way; phones behind different NATs do not.
    """
    told = [
        f"{who} is told to send to {whom} itself, {ear.local[0]}:{ear.local[1]}"
        for (who, mouth), (whom, ear) in permutations(ends.items(), 2)
        if mouth.remote == ear.local
    ]
    if told:
        raise SipError(f"media does not go through rtpengine: {' and '.join(told)}")


def _expect(what: str, code: int, reason: str, wanted: int) -> None:
    if code != wanted:
        raise SipError(f"{what} got {code} {reason}, not {wanted}")
