"""The service itself: the two probe users register at each proxy, call each other and the outside; calls are on record.

Nothing is left behind but their accounting rows.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from sipstack.probe.errors import ProbeError
from sipstack.probe.phone import Phone
from sipstack.slots import probe_slots
from tests.verify.conftest import Deployment
from tests.verify.server import NotServed, Part, Server

TONES = (620, 880)
ECHO = "9002"
# A bad network is slower than this in none of these; a frozen part shall not take a minute to be found. Seconds.
REGISTER_SECONDS = 6.0
CALL_SECONDS = 8.0
RECORD_SECONDS = 8.0


class Calls:
    """The two probe users at one proxy, registered, and the Call-IDs of the calls that they made."""

    def __init__(self, proxy: Server, stack: ExitStack) -> None:
        self.proxy = proxy
        slots = probe_slots(proxy.node.plan)
        passwords = {slot.username: slot.password or "" for slot in proxy.node.slots}
        self.numbers = [str(slot.number) for slot in slots]
        self.first, self.second = (
            stack.enter_context(phone(proxy, slot.username, passwords[slot.username], tone))
            for slot, tone in zip(slots, TONES, strict=True)
        )
        for one in (self.first, self.second):
            # What a frozen proxy takes in later, when the phone is gone, expires soon.
            one.register(REGISTER_SECONDS, expires=max(60, proxy.node.settings.register_min_seconds), check=True)

    def internal(self) -> str:
        """One calls the other by number, both hear each other; the Call-ID."""
        call = self.first.call(self.numbers[1])
        with ExitStack() as stack:
            stack.callback(call.hangup)
            try:
                answered = self.second.expect_call(CALL_SECONDS)
            except ProbeError:
                if call.state == "disconnected":  # then the answer to the caller is the reason
                    call.wait_state("confirmed")
                raise
            answered.answer()
            call.wait_state("confirmed", CALL_SECONDS)
            call.wait_hears(TONES[1], CALL_SECONDS)
            answered.wait_hears(TONES[0], CALL_SECONDS)
        answered.wait_state("disconnected", CALL_SECONDS)
        return call.call_id

    def external(self) -> str:
        """A call to the outside is answered and heard: the echo service gives the caller's own tone back."""
        number = outside_number(self.proxy)
        call = self.first.call(number, CALL_SECONDS)
        with ExitStack() as stack:
            stack.callback(call.hangup)
            if number == ECHO:
                call.wait_hears(TONES[0], CALL_SECONDS)
            else:
                call.wait_audio(timeout=CALL_SECONDS)
        return call.call_id


def phone(proxy: Server, user: str, password: str, tone: int) -> Phone:
    settings = proxy.node.settings
    return Phone(user, password, settings.sip_domain, f"{proxy.node.address}:{settings.sip_port}", tone=tone)


def outside_number(proxy: Server) -> str:
    """The number that proves the outside: Asterisk's echo service, or the operator's own."""
    return proxy.node.settings.verify_external_number


@pytest.fixture(scope="module")
def calls(proxy: Server) -> Iterator[Calls]:
    with ExitStack() as stack:
        yield Calls(proxy, stack)


@pytest.fixture(scope="module")
def internal(calls: Calls) -> str:
    return calls.internal()


@pytest.fixture(scope="module")
def external(calls: Calls) -> str:
    return calls.external()


@pytest.fixture(scope="module")
def records(proxy: Server, deployment: Deployment) -> Part:
    """Where the records can be read: the database's container, or a proxy's if the server is the operator's own."""
    with_database = proxy.node.with_role("databases")
    if with_database:
        return deployment.servers[with_database[0].name].part("postgres")
    return deployment.servers[proxy.node.with_role("proxies")[0].name].part("kamailio")


@pytest.mark.needs("kamailio", "postgres")
def test_register(proxy: Server, calls: Calls) -> None:
    assert calls.first.expires > 0, f"{proxy.name}: {calls.first.user} is registered for no time at all"
    assert calls.second.expires > 0, f"{proxy.name}: {calls.second.user} is registered for no time at all"


@pytest.mark.needs("kamailio", "postgres")
def test_wrong_password(proxy: Server) -> None:
    slot = probe_slots(proxy.node.plan)[0]
    with phone(proxy, slot.username, "not the password", TONES[0]) as stranger:
        code = stranger.register(REGISTER_SECONDS)
    assert code in (401, 403), f"{proxy.name}: a wrong password of {slot.username} gets {code}, not 401 or 403"


@pytest.mark.needs("kamailio", "rtpengine", "postgres")
def test_call(proxy: Server, internal: str) -> None:
    """The fixture has made it: both heard each other."""
    assert internal


@pytest.mark.needs("asterisk", "kamailio", "rtpengine", "postgres")
def test_external_call(proxy: Server, external: str) -> None:
    """The fixture has made it: the caller heard its own tone."""
    assert external


@pytest.mark.needs("postgres", "kamailio", "rtpengine", "asterisk")
@pytest.mark.parametrize("kind", ["internal", "external"])
def test_record(proxy: Server, records: Part, kind: str, request: pytest.FixtureRequest) -> None:
    """The call with exactly this Call-ID has one row in acc_cdrs, and one with a duration in view `accounting`."""
    call_id = request.getfixturevalue(kind)
    rows = _await_record(records, call_id)
    called = outside_number(proxy) if kind == "external" else probe_slots(proxy.node.plan)[1].username
    where = f"{proxy.name}: the {kind} call {call_id}"
    assert len(rows) == 1, f"{where} has {len(rows)} rows in acc_cdrs, not one"
    assert float(rows[0][0]) > 0, f"{where} is in acc_cdrs with a duration of {rows[0][0]} s"
    shown = records.as_owner(
        "SELECT event, dst_user, missed, duration IS NOT NULL FROM accounting"
        " WHERE callid = :'call_id' AND sip_code = '200';",
        call_id=call_id,
    )
    assert shown == [["call", called, "f", "t"]], f"{where} is {shown} in view accounting"


def _await_record(records: Part, call_id: str) -> list[list[str]]:
    """Kamailio writes the row once the BYE is answered, which we hear of a little earlier."""
    deadline = time.monotonic() + RECORD_SECONDS
    query = "SELECT duration FROM acc_cdrs WHERE callid = :'call_id';"
    while not (rows := records.as_owner(query, call_id=call_id)):
        if time.monotonic() > deadline:
            raise NotServed(f"{records}: no row in acc_cdrs for {call_id} within {RECORD_SECONDS:g} s")
    return rows
