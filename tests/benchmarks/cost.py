"""What a registration and a call cost the proxy, in CPU time, compared between deployed systems that are up at once.

    python -m tests.benchmarks.cost before=/path/to/a/checkout:lab1 after=.:lab2

Each system is a lab of its checkout with all on one host. They take turns, round by round, so that what else the
machine does meets all of them. Measured is what Kamailio's container has used (cpu.stat of its control group), less
what it uses when nothing happens.
"""

import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from sipstack.agent.agent import Agent
from sipstack.agent.exchange import Account
from sipstack.lab.state import state_name

ROUNDS = 6
REGISTRATIONS = 150
CALLS = 40
IDLE_SECONDS = 5.0
CALLER, CALLED = 6001, 6002
USAGE = (
    "cat /sys/fs/cgroup/$(sed -n 's/^0::.//p' /proc/$(docker inspect -f '{{.State.Pid}}' vss-kamailio)/cgroup)/cpu.stat"
)


@dataclass
class Subject:
    """A deployed system, and what has been measured of it: microseconds for one of a kind, once a round."""

    label: str
    checkout: Path
    lab: str
    costs: dict[str, list[float]] = field(default_factory=dict)

    def used(self) -> int:
        """CPU time of Kamailio's container since it was started, microseconds."""
        command = ["docker", "exec", f"sipstack-{self.lab}-sip1", "sh", "-c", USAGE]
        shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        return int(dict(line.split() for line in shown.splitlines())["usage_usec"])

    async def phone(self, number: int) -> Agent:
        state = self.checkout / ".state" / state_name(self.lab)
        address = json.loads((state / "hosts.json").read_text())["hosts"]["sip1"]
        password = json.loads((state / "slots.json").read_text())[f"slot_{number}"]
        account = Account(str(number), f"slot_{number}", password, "vss.internal")
        return await Agent.open(account, [(address, 5060)], packet_seconds=1.0)

    async def measure(self, kind: str, count: int, work: Callable[[], Awaitable[None]]) -> None:
        """Do it `count` times, and note what one has cost."""
        start, before = time.monotonic(), self.used()
        await asyncio.sleep(IDLE_SECONDS)
        idle = (self.used() - before) / (time.monotonic() - start)
        start, before = time.monotonic(), self.used()
        for _ in range(count):
            await work()
        spent = self.used() - before - idle * (time.monotonic() - start)
        self.costs.setdefault(kind, []).append(spent / count)

    async def round(self) -> None:
        caller, called = await self.phone(CALLER), await self.phone(CALLED)

        async def register() -> None:
            assert await caller.register(300) > 0

        async def call() -> None:
            placed = caller.place(str(CALLED))
            dialling = asyncio.create_task(placed.dial(10.0))
            arrived = await asyncio.wait_for(called.incoming.get(), 10)
            arrived.ring()
            await arrived.answer()
            await dialling
            await placed.hangup(10.0)
            await arrived.ended.wait()

        await called.register(300)
        await self.measure("registration", REGISTRATIONS, register)
        await self.measure("call", CALLS, call)
        for phone in (caller, called):
            await phone.unregister_all()
            phone.close()


def subject(argument: str) -> Subject:
    label, _, place = argument.partition("=")
    checkout, _, lab = place.rpartition(":")
    return Subject(label, Path(checkout), lab)


def report(subjects: list[Subject]) -> None:
    for kind in subjects[0].costs:
        first = statistics.median(subjects[0].costs[kind])
        for one in subjects:
            median = statistics.median(one.costs[kind])
            spread = f"{min(one.costs[kind]):.0f} to {max(one.costs[kind]):.0f}"
            print(f"{kind:12}  {one.label:10}  {median:7.0f} us ({spread})  {median / first:.3f}")


async def main(arguments: list[str]) -> None:
    subjects = [subject(argument) for argument in arguments]
    for number in range(ROUNDS):
        for one in subjects if number % 2 else reversed(subjects):
            await one.round()
    report(subjects)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
