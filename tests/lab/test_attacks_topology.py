"""Who knows how phones are hidden from each other, and writes that himself: it leads nowhere, and kills nothing."""

import secrets
from collections.abc import Iterator

import pytest

from tests.lab.ear import connect, say, two_phones
from tests.lab.hostile import Watch, phones_are_served
from tests.lab.rawcall import begin, goes_on
from tests.lab.system import System
from tests.lab.wire import Wire, forget_bindings


@pytest.fixture(autouse=True)
def nobody_registered(system: System) -> None:
    forget_bindings(system)


def forgeries(proxy: str) -> Iterator[tuple[str, str]]:
    """Places, and what somebody may write there who knows how things are hidden, or thinks that he does."""
    for uri in (f"sip:{proxy}:5060;line=sr-garbage", f"sip:slot_6003@{proxy}:5060", f"sip:%00{'x' * 500}@{proxy}"):
        yield uri, "Route: <sip:127.0.0.8;line=sr-*****>"
        yield uri, f"Contact: <sip:127.0.0.8;line=sr-{secrets.token_hex(300)}>"
    for branch in ("z9hG4bKhidden", "z9hG4bKhidden,z9hG4bKhidden", "z9hG4bKsr-****", f"z9hG4bKsr-{'A' * 3000}"):
        yield f"sip:slot_6003@{proxy}:5060", f"Via: SIP/2.0/UDP {proxy}:5060;branch={branch}"


def test_forgeries_lead_nowhere(system: System) -> None:
    with Watch(system), Wire(system.address) as stranger, two_phones(system) as (caller, callee):
        call = connect(system, caller, callee)
        for uri, header in forgeries(system.address):
            for method, options in (("BYE", {"to_tag": "forged"}), ("ACK", {"to_tag": "forged"}), ("MESSAGE", {})):
                request = stranger.message(method, uri, headers=(header,), contact=False, **options)  # type: ignore[arg-type]
                if method == "ACK":
                    stranger.send(request)
                else:
                    assert stranger.ask(request)[0] >= 400
        for host in (f"{system.address}:5060", "192.0.2.1"):
            via = f"SIP/2.0/UDP {host};branch=z9hG4bKhidden"
            reply = f"Via: {via}\r\nVia: {via}\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>;tag=2\r\nCSeq: 2 INVITE\r\n"
            for call_id in (call.call_id, "none"):
                stranger.send(f"SIP/2.0 200 OK\r\n{reply}Call-ID: {call_id}\r\nContent-Length: 0\r\n\r\n".encode())
        goes_on(caller, callee, call)
        say(callee, caller, call.turned.request(callee, "BYE", cseq=2002), f"sip:slot_6001@{caller.contact}")
        phones_are_served(system)


@pytest.mark.parametrize("garbled", ["", "{0}, {0}", "{0};branch=z9hG4bKhidden", "SIP/2.0/UDP 192.0.2.1;z9hG4bKhidden"])
def test_a_called_phone_garbles_what_is_hidden(system: System, garbled: str) -> None:
    """It spoils its own call at most."""
    with Watch(system), two_phones(system) as (caller, callee):
        begin(system, caller, 6001, "6003")
        _, invite = callee.next_request()
        ours, hidden = invite["via"].split(", ")
        invite["via"] = ", ".join(filter(None, (ours, garbled.format(hidden))))
        callee.answer(invite, b"486 Busy Here", tag=b"here")
        assert caller.reply()["code"] == "486"
    phones_are_served(system)
