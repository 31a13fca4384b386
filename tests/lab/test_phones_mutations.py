"""SDP that is changed at random tells nobody where a phone is: it is anchored or refused.

SIPSTACK_MUTATION_SEED makes the same changes again.
"""

import os
import random
import secrets
import time

import pytest

from tests.lab.bodies import BODIES, STRAYS, Body
from tests.lab.deskcall import DeskCall, audio, desk_phones, tells
from tests.lab.deskphone import DeskPhone
from tests.lab.system import System
from tests.lab.test_phones_media import REFUSALS, RELAY_PORTS

CALLS = 400
SPACES = (" ", "\t", "  ", " \t", "\v", "\f", "\xa0", "", "\r")
ENDS = ("\n", "\r", "\r\n\r\n", "\n\r")
ATTRIBUTES = ("candidate", "rtcp", "remote-candidates", "alt", "x", "rtcp-fb", "crypto", "fmtp", "rtpmap", "c", "r")


def changed(text: str, address: str, dice: random.Random) -> str:
    """The same with one change: of an octet, of a line, or with a line more that has an address in it."""
    lines = text.split("\r\n")
    place = dice.randrange(len(lines))
    line = lines[place]
    at = dice.randrange(len(line) + 1)
    match dice.randrange(12):
        case 0:
            line = line[:at] + dice.choice(SPACES) + line[at:]
        case 1:
            line = line.replace(" ", dice.choice(SPACES), 1)
        case 2:
            line = line.swapcase()
        case 3:
            line = line[:at] + line[at + 1 :]
        case 4:
            line = line[:at] + chr(dice.randrange(1, 127)) + line[at + 1 :]
        case 5:
            line += dice.choice((" ", "\t", "\0", ";x", ","))
        case 6:
            line = dice.choice((" ", "\t", "x", "\0")) + line
        case 7:
            line = f"{line}\r\n{line}"
        case 8:
            other = dice.randrange(len(lines))
            line, lines[other] = lines[other], line
        case 9:
            kind, before = dice.choice("abcdefghijklmnopqrstuvwxyz"), dice.choice(("", "x ", "x:", "IN IP4 ", "\t"))
            line = f"{kind}={before}{address}{dice.choice(('', ' 5', '/127', ':5060', 'x'))}\r\n{line}"
        case 10:
            name = dice.choice(ATTRIBUTES) + dice.choice((":", ": ", "", "="))
            before, after = dice.choice(("", "1 1 UDP 9 ", "5000 IN IP4 ", "5000 ")), dice.choice(("", " 9 typ host"))
            line = f"a={name}{before}{address}{after}\r\n{line}"
        case 11:
            return text.replace("\r\n", dice.choice(ENDS), 1)
    lines[place] = line
    return "\r\n".join(lines)


def call_with(caller: DeskPhone, callee: DeskPhone, text: str, body: Body) -> DeskCall:
    """A call with that body; the callee is busy. Fails if it is told where the caller is."""
    call = caller.call(callee.number, body=text, content_type=body.type, extra=body.extra, wait=False)
    deadline = time.monotonic() + 4
    while call.final is None and time.monotonic() < deadline:
        invite = callee.request("INVITE", 0.05, call_id=call.id)
        if invite is not None:
            callee.answer(invite, 486, "Busy Here", contact=False)
            callee.expect("ACK", call_id=call.id)
            call.wait()
            assert not tells(invite, caller), (text, invite.body)
            assert audio(invite)[1] in (0, *RELAY_PORTS), (text, invite.body)
            return call
        call.wait(0.01)
    return call


@pytest.mark.slow
def test_sdp_that_is_changed_at_random_is_anchored_or_refused(system: System) -> None:
    seed = os.environ.get("SIPSTACK_MUTATION_SEED") or secrets.token_hex(4)
    print("SIPSTACK_MUTATION_SEED", seed)
    dice = random.Random(seed)
    bodies = [
        body for body in BODIES + STRAYS if body.length is True and not body.name.startswith(("spaces", "twelve"))
    ]
    anchored = 0
    with desk_phones(system, 6001, 6003) as (caller, callee):
        for _ in range(CALLS):
            body = dice.choice(bodies) if dice.random() < 0.5 else bodies[0]
            text = body.of(caller)
            for _ in range(dice.choice((1, 1, 1, 2, 3))):
                text = changed(text, caller.address, dice)
            call = call_with(caller, callee, text, body)
            assert call.code in (486, *REFUSALS), (call.code, text)
            anchored += call.code == 486
    assert CALLS / 5 < anchored < CALLS
