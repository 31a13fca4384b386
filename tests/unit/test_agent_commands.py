"""`selftest`, `watch` and `load` against a scripted proxy on loopback: what they say, and how they exit."""

import asyncio
import json
import sys
from collections.abc import Callable
from typing import Any

import pytest

from sipstack.agent.message import Address, Message
from sipstack.agent.selftest import selftest
from sipstack.agent.watch import watch
from tests.unit.fake_proxy import DOMAIN, PASSWORD, FakeProxy


def order(proxy: Address) -> dict[str, Any]:
    phones = [[number, f"slot_{number}", PASSWORD] for number in ("6000", "7000")]
    where = f"{proxy[0]}:{proxy[1]}"
    return {"proxy": where, "domain": DOMAIN, "phones": phones, "outside": "9002", "echo": True, "local": "127.0.0.1"}


async def command(*arguments: str) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sipstack.agent", *arguments, stdin=pipe, stdout=pipe
    )


def test_selftest_against_a_dead_port() -> None:
    async def scenario() -> tuple[int | None, str]:
        async with FakeProxy() as proxy:
            proxy.dead = True
            process = await command("selftest")
            output, _ = await process.communicate(json.dumps(order(proxy.address)).encode())
            return process.returncode, output.decode()

    code, output = asyncio.run(scenario())
    lines = output.splitlines()
    assert code == 1
    assert lines[0].startswith("FAIL  OPTIONS over UDP is answered: no answer to OPTIONS from 127.0.0.1:")
    assert lines[1].startswith("FAIL  OPTIONS over TCP is answered: no TCP connection to 127.0.0.1:")
    assert json.loads(lines[2]) == {
        "passed": 0,
        "failed": 2,
        "calls": {"internal": [], "outside": []},
        "setup_ms": None,
    }


def test_selftest_tells_the_wrong_phone(capsys: pytest.CaptureFixture[str]) -> None:
    async def scenario() -> int:
        async with FakeProxy(route=lambda number: "6000" if number == "7000" else number) as proxy:
            return await selftest(order(proxy.address))

    assert asyncio.run(scenario()) == 1
    output = capsys.readouterr().out
    assert "FAIL  6000 calls 7000, both hear each other: the call to 7000 arrived at slot_6000, not slot_7000" in output
    # Nothing else that works is blamed.
    assert "ok    7000 calls 6000, both hear each other" in output
    assert "ok    a number that nobody has is refused" in output
    assert len(json.loads(output.splitlines()[-1])["calls"]["internal"]) == 1


def test_selftest_says_who_is_not_heard(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sipstack.agent.rtp.Rtp.start", lambda *_: None)
    monkeypatch.setattr("sipstack.agent.steps.HEAR_SECONDS", 0.2)

    async def scenario() -> int:
        async with FakeProxy() as proxy:
            return await selftest(order(proxy.address))

    assert asyncio.run(scenario()) == 1
    wanted = "FAIL  6000 calls 7000, both hear each other: slot_7000 does not hear slot_6000: no RTP came"
    assert wanted in capsys.readouterr().out


@pytest.mark.parametrize(
    ("past", "told"),
    [
        (lambda message: not message.code, "slot_7000 is told to send to slot_6000 itself"),
        (lambda message: bool(message.code), "slot_6000 is told to send to slot_7000 itself"),
        (lambda message: message.cseq > 2, "slot_6000 is told to send to slot_7000 itself"),
    ],
    ids=["offer", "answer", "re-INVITE"],
)
def test_selftest_sees_media_that_goes_past_the_relay(
    capsys: pytest.CaptureFixture[str], past: Callable[[Message], bool], told: str
) -> None:
    """Both phones are on one host and hear each other directly: hearing alone proves nothing."""

    async def scenario() -> int:
        async with FakeProxy(bypass=past) as proxy:
            return await selftest(order(proxy.address))

    assert asyncio.run(scenario()) == 1
    output = capsys.readouterr().out
    why = f"media does not go through rtpengine: {told}, 127.0.0.1:"
    assert f"FAIL  6000 calls 7000, both hear each other: {why}" in output
    assert "FAIL  7000 calls 6000, both hear each other: media does not go through rtpengine" in output


class Pausing(FakeProxy):
    """Answers nothing for a second after the tenth request."""

    def _serve(self, request: Any) -> None:
        if self.seen["OPTIONS"] == 10:
            self.dead = True
            asyncio.get_running_loop().call_later(1.0, setattr, self, "dead", False)
        super()._serve(request)


def test_watch_measures_the_silence() -> None:
    async def scenario() -> dict[str, Any]:
        async with Pausing() as proxy:
            stop = asyncio.Event()
            watching = asyncio.create_task(watch(proxy.address, stop=stop))
            await proxy.until(lambda: proxy.seen["OPTIONS"] > 10 and not proxy.dead)
            at = proxy.seen["OPTIONS"]
            await proxy.until(lambda: proxy.seen["OPTIONS"] > at + 3)
            stop.set()
            return await watching

    seen = asyncio.run(scenario())
    assert 950 <= seen["longest_silence_ms"] <= 1500
    assert seen["sent"] - seen["answered"] >= 10


def test_watch_that_nobody_ends_ends() -> None:
    async def scenario() -> tuple[int | None, dict[str, Any]]:
        async with FakeProxy() as proxy:
            process = await command("watch", "--seconds", "0.5", "{}:{}".format(*proxy.address))
            assert process.stdout
            output = await process.stdout.read()
            return await process.wait(), json.loads(output)

    code, seen = asyncio.run(asyncio.wait_for(scenario(), 5))
    assert code == 0
    assert 5 <= seen["answered"] <= seen["sent"] <= 11


def test_load_carries_calls_and_ends_with_standard_input() -> None:
    async def scenario() -> tuple[int | None, dict[str, Any]]:
        async with FakeProxy() as bad, FakeProxy() as good:
            bad.refuse = "503 Service Unavailable"
            process = await command("load")
            asked = order(good.address) | {
                "proxies": ["{}:{}".format(*proxy.address) for proxy in (bad, good)],
                "phones": [[str(number), f"slot_{number}", PASSWORD] for number in range(6000, 6006)],
                "calls": 2, "hold_s": [0.3, 0.6], "ring_s": [0.0, 0.1],
            }  # fmt: skip
            assert process.stdin and process.stdout
            process.stdin.write(json.dumps(asked).encode() + b"\n")
            await process.stdout.readline()  # it has begun
            await good.until(lambda: good.seen["BYE"] >= 4)
            process.stdin.close()
            line = await process.stdout.readline()
            return await process.wait(), json.loads(line)

    code, seen = asyncio.run(asyncio.wait_for(scenario(), 12))
    assert (code, seen["failed"], seen["registration_failures"]) == (0, [], [])
    assert seen["calls"] == seen["answered"] >= 4
    assert seen["registrations"] >= 6 and seen["failovers"] > 0 and seen["carried_max"] == 2
