"""The small SIP phone: messages, digest, registration, calls, failover; all on loopback."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from sipstack.agent.agent import Agent
from sipstack.agent.call import Call
from sipstack.agent.dialog import Dialog
from sipstack.agent.digest import credentials, parse_challenge
from sipstack.agent.errors import NoAnswerError, RefusedError
from sipstack.agent.exchange import Account
from sipstack.agent.message import Address, parse, split_list
from tests.unit.fake_proxy import DOMAIN, PASSWORD, FakeProxy

CHALLENGE = (
    # pragma: allowlist nextline secret
    'Digest realm="testrealm@host.com", qop="auth,auth-int", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", '
    # pragma: allowlist nextline secret
    'opaque="5ccc069c403ebaf9f0171e9517f40e41"'
)


def account(number: str, password: str = PASSWORD) -> Account:
    return Account(number, f"slot_{number}", password, DOMAIN)


@asynccontextmanager
async def phone(number: str, *proxies: Address, give_up: float = 5.0, password: str = PASSWORD) -> AsyncIterator[Agent]:
    agent = await Agent.open(account(number, password), proxies, local="127.0.0.1", give_up=give_up)
    try:
        yield agent
    finally:
        agent.close()


def within(seconds: float, scenario: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(seconds):
            await scenario()

    asyncio.run(bounded())


async def connect(caller: Agent, called: Agent) -> tuple[Call, Call]:
    """A call from one to the other, rung and answered."""
    call = caller.place(called.account.number)
    dialling = asyncio.create_task(call.dial(10.0))
    answered = await called.incoming.get()
    answered.ring()
    await answered.answer()
    await dialling
    return call, answered


async def hear_each_other(call: Call, answered: Call) -> None:
    assert call.media and answered.media
    await asyncio.gather(call.media.hear(answered.media.payload, 2), answered.media.hear(call.media.payload, 2))


def test_digest_is_that_of_rfc_2617() -> None:
    """Section 3.5, with qop."""
    given = credentials(CHALLENGE, "Mufasa", "Circle Of Life", "GET", "/dir/index.html", cnonce="0a4f113b")
    fields = parse_challenge(given)
    # pragma: allowlist nextline secret
    assert fields["response"] == "6629fae49393a05397450978507c4ef1"
    # pragma: allowlist nextline secret
    assert (fields["qop"], fields["nc"], fields["opaque"]) == ("auth", "00000001", "5ccc069c403ebaf9f0171e9517f40e41")


def test_digest_without_qop() -> None:
    """The same of section 3.5 as section 3.2.2.1 has it for RFC 2069."""
    challenge = CHALLENGE.replace('qop="auth,auth-int", ', "")
    given = credentials(challenge, "Mufasa", "Circle Of Life", "GET", "/dir/index.html")
    # pragma: allowlist nextline secret
    assert parse_challenge(given)["response"] == "670fd8c2df070c60b045671b8b24ff02"
    assert "qop" not in given


def test_a_message_is_read_and_written() -> None:
    raw = b"OPTIONS sip:a SIP/2.0\r\nv: SIP/2.0/UDP h;branch=1,\r\n SIP/2.0/UDP i\r\ni: x\r\nCSeq: 1 OPTIONS\r\n\r\n"
    message = parse(raw)
    assert message.all("Via") == ["SIP/2.0/UDP h;branch=1", "SIP/2.0/UDP i"]
    assert parse(message.encode()).get("Call-ID") == "x"
    assert split_list('"a, b" <sip:c,d>;x, <sip:e>') == ['"a, b" <sip:c,d>;x', "<sip:e>"]
    with pytest.raises(ValueError, match="no SIP message"):
        parse(b"\r\n")


@pytest.mark.parametrize(
    ("routes", "target", "route"),
    [(["<sip:p;lr>", "<sip:q>"], "sip:peer", "<sip:p;lr>"), (["<sip:p>", "<sip:q;lr>"], "sip:p", "<sip:q;lr>")],
)
def test_loose_and_strict_routes(routes: list[str], target: str, route: str) -> None:
    request = Dialog("x", "<sip:a>;tag=1", "<sip:b>;tag=2", "sip:peer", routes, 1).request("BYE")
    assert (request.uri, request.get("Route"), request.get("CSeq")) == (target, route, "2 BYE")
    if target != "sip:peer":
        assert request.all("Route")[-1] == "<sip:peer>"


def test_a_phone_registers_and_leaves() -> None:
    async def scenario() -> None:
        async with FakeProxy() as proxy, phone("6000", proxy.address) as agent:
            assert await agent.register(300) == 60
            assert "6000" in proxy.bindings
            assert await agent.register(0) == 0
            assert proxy.bindings == {}

    within(3, scenario)


def test_a_wrong_password_is_tried_once() -> None:
    async def scenario() -> None:
        # pragma: allowlist nextline secret
        async with FakeProxy() as proxy, phone("6000", proxy.address, password="wrong") as agent:
            with pytest.raises(RefusedError, match="REGISTER of slot_6000 got 401"):
                await agent.register(300)
            assert proxy.seen["REGISTER"] == 2

    within(3, scenario)


def test_a_call_through_a_proxy() -> None:
    """Challenge, route set, media, re-INVITE, BYE of the called side."""

    async def scenario() -> None:
        async with (
            FakeProxy() as proxy,
            phone("6000", proxy.address) as caller,
            phone("7000", proxy.address) as called,
        ):
            await called.register(300)
            call, answered = await connect(caller, called)
            assert (answered.caller, 180 in call.provisionals) == ("slot_6000", True)
            await hear_each_other(call, answered)
            await call.reinvite()
            await answered.hangup()
            await call.ended.wait()
            assert (call.ended_by, answered.ended_by, proxy.seen["BYE"]) == ("peer", "us", 1)

    within(5, scenario)


def test_what_is_lost_is_sent_again() -> None:
    """Two phones without a proxy; the first copy of each message is lost, ACK and answers included."""

    def lose(agent: Agent) -> None:
        sent: Counter[bytes] = Counter()
        send = agent.link.send

        def lossy(data: bytes, to: Address) -> None:
            sent[data] += 1
            if sent[data] > 1:
                send(data, to)

        agent.link.send = lossy  # type: ignore[method-assign]

    async def scenario() -> None:
        async with phone("7000", ("127.0.0.1", 9)) as called, phone("6000", called.link.local) as caller:
            lose(caller)
            lose(called)
            call, answered = await connect(caller, called)
            await answered.confirmed.wait()
            await call.hangup()
            assert answered.ended_by == "peer"

    within(8, scenario)


def test_a_call_that_nobody_takes_is_cancelled() -> None:
    async def scenario() -> None:
        async with phone("7000", ("127.0.0.1", 9)) as called, phone("6000", called.link.local) as caller:
            with pytest.raises(NoAnswerError, match="only a provisional answer to INVITE"):
                await caller.place("7000").dial(0.2)
            arrived = await called.incoming.get()
            await arrived.ended.wait()
            assert arrived.ended_by == "peer"

    within(3, scenario)


@pytest.mark.parametrize("ill", ["dead", "refuse"])
def test_another_proxy_is_tried(ill: str) -> None:
    """No answer at all, or 503 (RFC 3263 section 4.3)."""

    async def scenario() -> None:
        async with (
            FakeProxy() as bad,
            FakeProxy() as good,
            phone("6000", bad.address, good.address, give_up=0.3) as agent,
        ):
            bad.dead, bad.refuse = ill == "dead", "503 Service Unavailable"
            assert await agent.register(300) == 60
            assert (agent.failovers, agent.proxy) == (1, good.address)

    within(3, scenario)


def test_what_is_not_for_a_phone_is_refused() -> None:
    async def scenario() -> None:
        async with phone("7000", ("127.0.0.1", 9)) as called, phone("6000", called.link.local) as asking:
            assert (await asking.options()).code == 200
            stranger = Dialog("x", "<sip:a>;tag=1", "<sip:b>;tag=2", f"sip:127.0.0.1:{called.link.local[1]}", [], 1)
            assert (await asking.converse(stranger.request("BYE"), stranger.hop)).code == 481
            assert (await asking.converse(asking.request("MESSAGE", "sip:7000@x", "7000"))).code == 405

    within(3, scenario)
