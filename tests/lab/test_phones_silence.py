"""Silence: a call in which nobody speaks goes on, and one whose phones have died ends for both."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator, Sequence

import pytest

from sipstack.agent.message import Message
from sipstack.firewall import MEDIA_TABLE
from tests.lab.deskcall import DeskCall, audio, desk_phones, establish, hang_up, tag
from tests.lab.deskphone import DeskPhone
from tests.lab.fleet import eventually, on_this_machine
from tests.lab.system import System

SILENCE_SECONDS = 25  # the setting: longer than a restart of the proxy takes, for rtpengine tells it once
FORGOTTEN_SECONDS = 200  # above any time limit on the way of a packet that is not the setting
RECEIVER_REPORT = bytes.fromhex("80c9000100000001")  # of nothing (RFC 3550 §6.4.2)

Side = tuple[DeskPhone, tuple[str, int]]


def sides(call: DeskCall, callee: DeskPhone, invite: Message) -> list[Side]:
    """Each phone, and where it was told to send."""
    assert call.final
    return [(call.phone, audio(call.final)), (callee, audio(invite))]


def packet(number: int) -> bytes:
    return b"\x80\x00" + number.to_bytes(2, "big") + (160 * number).to_bytes(4, "big") + b"desk" + b"\xd5" * 160


def hear_each_other(talking: Sequence[Side], seconds: float = 4.0) -> None:
    """Both speak until each has heard the other five times."""
    heard, number = [0, 0], int(time.monotonic() * 50) % 30_000
    deadline = time.monotonic() + seconds
    while min(heard) < 5:
        assert time.monotonic() < deadline, f"packets heard: {heard}"
        for phone, to in talking:
            phone.rtp.sendto(packet(number), to)
        number += 1
        time.sleep(0.02)
        for place, (phone, _) in enumerate(talking):
            phone.rtp.setblocking(False)
            try:
                while octets := phone.rtp.recv(2000):
                    heard[place] += len(octets) == 172
            except BlockingIOError:
                pass


@pytest.fixture(scope="module")
def short(system: System) -> Iterator[None]:
    system.deploy(call_silence_seconds=SILENCE_SECONDS)
    yield
    system.deploy()


def end_of(phones: Sequence[DeskPhone], call: DeskCall, seconds: float) -> None:
    """Both get a BYE."""
    for phone in phones:
        bye = phone.receive(lambda m: m.method == "BYE" and not m.code and m.get("Call-ID") == call.id, seconds)
        assert bye, f"{phone.user} is not told"
        phone.answer(bye, 200, contact=False)


def told_again(phones: Sequence[DeskPhone], call: DeskCall) -> bool:
    """An answer that comes before the other side is told is passed over by the proxy: its BYE is repeated."""
    for phone in phones:
        if bye := phone.request("BYE", 0.05, call_id=call.id):
            phone.answer(bye, 200, contact=False)
    return True


def forge_an_end(system: System, call: DeskCall) -> None:
    """A stranger says what rtpengine would say."""
    tags = (tag(call.local), tag(call.remote))
    values = "".join(f"<param><value><string>{value}</string></value></param>" for value in (call.id, *tags))
    body = f"<methodCall><methodName>dlg.terminate_dlg</methodName><params>{values}</params></methodCall>"
    head = f"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: text/xml\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection((system.address, 5060), 4) as stranger:
        stranger.settimeout(4)
        stranger.sendall((head + body).encode())
        assert stranger.recv(100) == b"", "a stranger is answered"


def report(call: DeskCall, callee: DeskPhone, invite: Message) -> None:
    """RTCP of the callee alone."""
    address, port = sides(call, callee, invite)[1][1]
    callee.rtp.sendto(RECEIVER_REPORT, (address, port + 1))


@pytest.mark.slow
def test_a_phone_that_speaks_again(system: System) -> None:
    """After a hold that was resumed, silence suppression with RTCP alone, and nothing at all. Before others deploy."""
    with desk_phones(system, 6001, 6003) as phones, desk_phones(system, 6002, 6004) as others:
        call, invite = establish(*phones)
        quiet, quiet_invite = establish(*others)
        for made, callee, came in ((call, phones[1], invite), (quiet, others[1], quiet_invite)):
            hear_each_other(sides(made, callee, came))
        deadline = time.monotonic() + FORGOTTEN_SECONDS
        while time.monotonic() < deadline:
            report(quiet, others[1], quiet_invite)
            for phone in (*phones, *others):
                phone.receive(lambda m: False, 1.0)
        for made, callee, came in ((call, phones[1], invite), (quiet, others[1], quiet_invite)):
            hear_each_other(sides(made, callee, came))
            hang_up(made, callee)


@pytest.mark.slow
@pytest.mark.parametrize("restart", [False, True], ids=["", "after a restart of the proxy"])
def test_phones_that_have_died(system: System, short: None, restart: bool) -> None:
    """Both are told, the record is closed, and the call no longer counts; RTCP alone keeps another one up."""
    with desk_phones(system, 6001, 6003) as phones, desk_phones(system, 6002, 6004) as others:
        call, invite = establish(*phones)
        quiet, quiet_invite = establish(*others)
        hear_each_other(sides(call, phones[1], invite))
        hear_each_other(sides(quiet, others[1], quiet_invite))
        begun = time.monotonic()
        forge_an_end(system, call)
        if restart:
            system.host.exec("docker", "restart", "vss-kamailio")
        while time.monotonic() < begun + SILENCE_SECONDS - 4:
            report(quiet, others[1], quiet_invite)
            assert phones[0].request("BYE", 1.0) is None
        for _ in range(4):
            report(quiet, others[1], quiet_invite)
            time.sleep(1)
        end_of(phones, call, 15)
        report(quiet, others[1], quiet_invite)
        query = f"SELECT duration, ended_by, end_reason FROM acc_cdrs WHERE callid = '{call.id}'"
        eventually(lambda: told_again(phones, call) and bool(system.sql(query)), on_this_machine(3), "no CDR")
        ((duration, *end),) = system.sql(query)
        assert end == ["proxy", "silence"]
        assert SILENCE_SECONDS - 2 < float(duration) < SILENCE_SECONDS + 15
        assert not system.sql(f"SELECT 1 FROM dialog WHERE callid = '{call.id}'")
        hear_each_other(sides(quiet, others[1], quiet_invite))
        hang_up(quiet, others[1])


@pytest.mark.slow
def test_who_was_in_a_call_is_forgotten_soon(system: System) -> None:
    """The port is somebody else's by the next call. rtpengine itself closes it half a minute after the end."""
    with desk_phones(system, 6001, 6003) as phones:
        call, invite = establish(*phones)
        talking = sides(call, phones[1], invite)
        hear_each_other(talking)
        ports = {port for _, (_, port) in talking}
        assert ports <= let_in(system)
        hang_up(call, phones[1])
        deadline = time.monotonic() + 100
        while ports & let_in(system):
            assert time.monotonic() < deadline
            time.sleep(2)


def let_in(system: System) -> set[int]:
    """The media ports at which anybody is let in."""
    listed = system.host.exec("nft", "list", "set", *MEDIA_TABLE.split(), "heard").stdout
    return {int(port) for port in re.findall(r"(\d+) \. [\d.]+", listed)}
