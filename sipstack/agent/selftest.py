"""`selftest`: proves a system with two of its phones, one line a step, in seconds."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from .agent import Agent
from .errors import SipError
from .exchange import Account
from .message import Address, place_of
from .steps import Steps

STEP_SECONDS = 4.0  # what a step may take: T1 and two repetitions, and a slow database besides
TOTAL_SECONDS = 12.5  # with what is left to tidy up, the whole run ends within 15
NUMBER_SECONDS = STEP_SECONDS  # more for each number of the operator's own
_TIDY_SECONDS = 1.0


class Report:
    """Runs steps, prints a line for each, and counts.

    Attributes: passed, failed: steps so far.
    """

    def __init__(self, seconds: float = TOTAL_SECONDS) -> None:
        self.passed = self.failed = 0
        self._deadline = asyncio.get_running_loop().time() + seconds

    async def step(self, what: str, steps: Steps, run: Callable[[], Awaitable[None]]) -> bool:
        """Run one step within its time and print how it went; False if it failed."""
        seconds = max(0.0, min(STEP_SECONDS, self._deadline - asyncio.get_running_loop().time()))
        steps.now("starting")
        try:
            if seconds == 0:
                raise SipError("not tried, its time is over")
            async with asyncio.timeout(seconds):
                await run()
        except TimeoutError:
            seen = f"nothing within {seconds:.1f} s while {steps.doing}"
        except (SipError, OSError) as error:
            seen = str(error)
        else:
            self.passed += 1
            print(f"ok    {what}", flush=True)
            return True
        self.failed += 1
        print(f"FAIL  {what}: {seen}", flush=True)
        return False


async def selftest(order: dict[str, Any]) -> int:
    """Prove the system that the order names (`__main__` has it), and return the exit code.

    Raises:
        KeyError, ValueError: the order lacks something.
    """
    proxy: Address = place_of(order["proxy"])
    accounts = [Account(str(number), user, password, order["domain"]) for number, user, password in order["phones"]]
    steps = Steps(proxy, accounts[0], accounts[1], order.get("local", ""), order.get("media", ""))
    report = Report(TOTAL_SECONDS + NUMBER_SECONDS * len(order.get("numbers", [])))
    try:
        await _prove(report, steps, order)
    finally:
        await steps.tidy(_TIDY_SECONDS)
    calls = {"internal": steps.internal, "outside": steps.outside}
    # The quickest: a machine that was busy for a moment made the others wait, a slow system makes all wait.
    setup = round(1000 * min(steps.setup)) if steps.setup else None
    told = {"passed": report.passed, "failed": report.failed, "calls": calls, "setup_ms": setup}
    print(json.dumps(told), flush=True)
    return 1 if report.failed else 0


async def _prove(report: Report, steps: Steps, order: dict[str, Any]) -> None:
    outside, echo = str(order["outside"]), bool(order.get("echo", False))
    first, second = steps.accounts
    if not await report.step("OPTIONS over UDP is answered", steps, lambda: steps.options("UDP")):
        await report.step("OPTIONS over TCP is answered", steps, lambda: steps.options("TCP"))
        return
    tcp = await report.step("OPTIONS over TCP is answered", steps, lambda: steps.options("TCP"))
    await report.step("a wrong password is refused", steps, steps.wrong_password)
    await report.step("a call without credentials is refused", steps, steps.without_credentials)
    if not await report.step(f"{first.user} and {second.user} register", steps, steps.register):
        return
    phones: list[Agent] = steps.phones
    there, back = f"{first.number} calls {second.number}", f"{second.number} calls {first.number}"
    await report.step(f"{there}, both hear each other", steps, lambda: steps.call(*phones, hangup_by_called=False))
    await report.step(
        f"{back}, both hear each other", steps, lambda: steps.call(*reversed(phones), hangup_by_called=True)
    )
    await report.step("a number that nobody has is refused", steps, lambda: steps.refused("abc", 404))
    heard = "is answered and gives our sound back" if echo else "is answered and heard"
    await report.step(f"a call to {outside} outside {heard}", steps, lambda: steps.call_outside(outside, echo))
    for number in map(str, order.get("numbers", [])):
        await report.step(f"a call to {number} leads somewhere", steps, partial(steps.routed, number))
    if tcp:
        await report.step(f"{second.number} is called over its TCP connection", steps, steps.call_over_tcp)
    if await report.step("both unregister", steps, steps.unregister):
        await report.step(
            "a phone that is not registered cannot be called", steps, lambda: steps.refused(second.number, 480, 404)
        )
