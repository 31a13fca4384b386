"""What a phone with a right password may still not do, and what an old nonce is not taken for."""

from sipstack.probe.message import parse_head
from tests.lab.system import System
from tests.lab.test_calls import phones
from tests.lab.test_gateways import ASTERISK
from tests.lab.wire import DOMAIN, Wire, digest, forget_bindings


def test_a_binding_to_a_gateway_leads_nowhere(system: System) -> None:
    """It would call out past the rules for numbers, and be on record as a call to a slot. No phone can make one now,
    but what is in the database is not looked at again."""
    forget_bindings(system)
    with phones(system, 6001) as (anna,):
        for target in ("+1900@127.0.0.1:5080", f"6001@{system.address}:5060"):
            # 300 s, q 1.0, no Path, and every method.
            system.kamcmd("ul.add", "location", "slot_6002", f"sip:{target}", "300", "1.0", ".", "0", "0", "16383")
            assert "sip:" + target in system.kamcmd("ul.show")
            call = anna.call("6002")
            call.wait_state("disconnected", timeout=5)
            assert call.code == 480
            assert "0 active channels" in system.host.exec(*ASTERISK, "core show channels count").stdout
            forget_bindings(system)


def test_a_phone_does_not_say_who_it_is_beside_what_was_authenticated(system: System) -> None:
    forged = {"P-Asserted-Identity": "<sip:boss@vss.internal>", "Remote-Party-ID": "<sip:boss@vss.internal>"}
    with phones(system, 6001, 6002) as (anna, bert):
        anna.call("6002", headers=forged)
        incoming = bert.expect_call()
        assert [incoming.header(name) for name in forged] == [None, None]
        incoming.hangup()


def test_an_old_nonce_is_challenged_without_asking_the_database(system: System) -> None:
    """A phone that refreshes has one; with the database away it must get a new challenge, not a refusal."""
    password = system.password(6001)
    with phones(system, 6001), Wire(system.address) as wire:
        uri = f"sip:{DOMAIN}"
        _, headers = wire.ask(wire.message("REGISTER", uri))
        old = headers["www-authenticate"].replace('nonce="', 'nonce="A')
        answer = f"Authorization: {digest(old, 'slot_6001', password, 'REGISTER', uri)}"
        system.host.exec("docker", "stop", "vss-postgres")
        try:
            assert wire.ask(wire.message("REGISTER", uri, headers=(answer,)))[0] == 401
        finally:
            system.host.exec("docker", "start", "vss-postgres")
            script = (
                "until [ $(docker inspect -f '{{.State.Health.Status}}' vss-postgres) = healthy ]; do sleep 0.2; done"
            )
            system.host.exec("sh", "-c", script, timeout=60)


def test_what_is_sent_again_is_on_record_once(system: System) -> None:
    """A call to nobody, its INVITE repeated to the byte."""
    with Wire(system.address) as wire:
        uri = f"sip:6099@{DOMAIN}"
        _, headers = wire.ask(wire.invite(uri))
        password = system.password(6001)
        challenge = headers["proxy-authenticate"]
        credentials = f"Proxy-Authorization: {digest(challenge, 'slot_6001', password, 'INVITE', uri)}"
        invite = wire.invite(uri, cseq=2, headers=(credentials,))
        call_id = parse_head(invite.partition(b"\r\n\r\n")[0].decode() + "\r\n\r\n")[1]["call-id"]
        wire.send(invite)
        wire.send(invite)
        assert wire.final_code() == 480
        assert wire.final_code() == 480
        assert system.sql(f"SELECT count(*) FROM missed_calls WHERE callid = '{call_id}'") == [["1"]]
