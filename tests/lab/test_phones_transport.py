"""How phones send and listen: from another port, over connections that end, with and without rport."""

import select
import socket
import threading
import time

import pytest

from sipstack.agent.message import Message, token
from tests.lab.deskcall import DeskCall, desk, establish, hang_up
from tests.lab.deskphone import DeskPhone
from tests.lab.system import System
from tests.lab.test_phones_bindings import bound, rings
from tests.lab.wire import DOMAIN


@pytest.fixture(autouse=True)
def nobody_registered(system: System) -> None:
    with desk(system, 6002) as phone:
        assert phone.unregister().code == 200


class OldPhone(DeskPhone):
    """A Cisco 79xx: sends from one port, listens at that of its Via and Contact, and asks for no rport."""

    def __init__(self, system: System, number: int) -> None:
        super().__init__(system.address, number, system.password(number))
        self.out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.out.connect(self.proxy)

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        self.out.close()

    def via(self, branch: str = "", rport: bool = True) -> str:
        return super().via(branch, rport=False)

    def send_raw(self, octets: bytes) -> None:
        self.out.sendall(octets)

    @property
    def astray(self) -> bool:
        """Whether something has come to the port that it sends from."""
        return bool(select.select([self.out], [], [], 0)[0])


# --- one port to send, another to listen -------------------------------------------------------------------------


def test_a_phone_is_answered_and_called_where_it_listens(system: System) -> None:
    """RFC 3261 §18.2.2: at the port of its Via; requests at its Contact."""
    with OldPhone(system, 6002) as phone:
        assert phone.register().code == 200
        assert bound(system, 6002) == [phone.contact.strip("<>")]
        assert rings(system, phone) == [True]
        assert not phone.astray


@pytest.mark.parametrize("ender", ["caller", "callee"])
@pytest.mark.parametrize("calls", [True, False], ids=["calls", "is called"])
def test_a_call_of_a_phone_that_listens_elsewhere(system: System, calls: bool, ender: str) -> None:
    with OldPhone(system, 6002) as old, desk(system, 6001) as other:
        for phone in (old, other):
            assert phone.register().code == 200
        caller, callee = (old, other) if calls else (other, old)
        call, invite = establish(caller, callee)
        if ender == "caller":
            hang_up(call, callee)
        else:
            cseq = call_of(callee, invite).within("BYE")
            caller.answer(caller.expect("BYE", call_id=call.id), 200, contact=False)
            answer = callee.reply("BYE", cseq, call.id)
            assert answer is not None and answer.code == 200
        assert not old.astray


def call_of(callee: DeskPhone, invite: Message) -> DeskCall:
    """The call as its called side knows it."""
    call = DeskCall(callee)
    call.id, call.cseq = invite.get("Call-ID"), 700
    call.local, call.remote = f"{invite.get('To')};tag={callee._tags[call.id]}", invite.get("From")
    call.target = invite.get("Contact").strip("<>")
    call.route = [f"Route: {route}" for route in invite.all("Record-Route")]
    return call


def test_a_phone_behind_nat_that_was_told_its_outer_address(system: System) -> None:
    """What it says in Via looks like the phone above; it does not get the answer there, and repeats its request."""
    with desk(system, 6002) as phone:
        inside, phone.port = phone.port, 45_061
        phone.contact = f"<sip:slot_6002@{phone.address}:{phone.port}>"
        me = f"<sip:slot_6002@{DOMAIN}>"
        said = [phone.via(rport=False), "Max-Forwards: 70", f"From: {me};tag=1", f"To: {me}", f"Call-ID: {token()}"]
        for _ in range(2):
            time.sleep(0.5)  # T1 (RFC 3261 §17.1.2.1)
            phone.send(f"REGISTER sip:{DOMAIN} SIP/2.0", [*said, "CSeq: 1 REGISTER", f"Contact: {phone.contact}"])
        answer = phone.receive(lambda m: m.code == 401)
        assert answer is not None, "nothing comes to the port that it sends from"
        assert phone.register(rport=False).code == 200
        assert system.sql("SELECT received FROM location WHERE username = 'slot_6002'") == [
            [f"sip:{phone.address}:{inside}"]
        ]
        assert rings(system, phone) == [True]


def test_nobody_is_a_side_of_a_call_by_the_port_of_its_via(system: System) -> None:
    """A neighbour behind the same address, which knows all of a call, and has not proved who it is."""
    with desk(system, 6001) as caller, desk(system, 6002) as callee, OldPhone(system, 6003) as stranger:
        for phone in (caller, callee):
            assert phone.register().code == 200
        call, _ = establish(caller, callee)
        call.phone = stranger
        stranger.port, own = caller.port, stranger.port
        call.within("BYE")
        assert callee.request("BYE", 1.0) is None
        stranger.port, call.phone = own, caller
        hang_up(call, callee)


# --- connections -------------------------------------------------------------------------------------------------


def test_a_phone_closes_its_connection_and_listens(system: System) -> None:
    """RFC 3261 §18.1.1: it is called over a new one. Some phones close theirs after each transaction."""
    with desk(system, 6002, "tcp") as phone, socket.create_server((phone.address, 0)) as server:
        phone.contact = f"<sip:slot_6002@{phone.address}:{server.getsockname()[1]};transport=tcp>"
        assert phone.register().code == 200
        assert rings(system, phone) == [True]  # over the connection that is there
        phone.socket.close()
        server.settimeout(10)
        taken = threading.Thread(target=take, args=(phone, server))
        taken.start()
        time.sleep(2.5)  # what belongs to a lost connection is removed within two
        assert len(bound(system, 6002)) == 1
        with desk(system, 6001) as caller:
            assert caller.register().code == 200
            assert caller.call(6002).code == 486
        taken.join()


def take(phone: DeskPhone, server: socket.socket) -> None:
    phone.socket, _ = server.accept()
    invite = phone.request("INVITE")
    assert invite is not None
    phone.answer(invite, 486, "Busy Here", contact=False)


@pytest.mark.parametrize("says", ["", "192.168.1.10"], ids=["public", "behind NAT"])
def test_a_phone_that_is_its_connection_goes_with_it(system: System, says: str) -> None:
    with desk(system, 6001) as caller:
        caller.register()
        with desk(system, 6002, "tcp", says=says) as phone:
            assert phone.register().code == 200
            assert rings(system, phone) == [True]
        started = time.monotonic()
        assert caller.call(6002).code == 480
        assert time.monotonic() - started < 2
        while bound(system, 6002) and time.monotonic() - started < 10:
            time.sleep(0.2)
        assert not bound(system, 6002)


def test_a_phone_with_a_long_register_uses_tcp_and_is_called_over_udp(system: System) -> None:
    """RFC 3261 §18.1.1: what is longer than 1300 octets goes over TCP; the Contact is still for UDP."""
    with desk(system, 6002) as phone, desk(system, 6002, "tcp") as long:
        long.contact = phone.contact
        assert long.register(extra=[f"X-Long: {'x' * 1500}"]).code == 200
        long.socket.close()
        assert rings(system, phone) == [True]


def test_a_phone_that_says_tcp_and_uses_udp_is_called_over_udp(system: System) -> None:
    """Its transport was changed in its menu, and it has kept its Contact; nobody listens there."""
    with desk(system, 6002) as phone:
        assert phone.register(contacts=[phone.contact.replace(">", ";transport=tcp>")]).code == 200
        assert rings(system, phone) == [True]


@pytest.mark.parametrize("says", ["127.0.1.1", "0.0.0.0", "192.168.1.10"])
@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_a_phone_that_does_not_know_its_address_is_called_where_it_is(
    system: System, says: str, transport: str
) -> None:
    """Debian's name for itself is 127.0.1.1; a phone without a route says 0.0.0.0."""
    with desk(system, 6002, transport, says=says) as phone:
        assert phone.register().code == 200
        assert rings(system, phone) == [True]
