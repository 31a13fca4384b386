"""Two real phones on loopback, with no proxy between them: what the harness claims about calls and sound."""

import math
import socket
import threading
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sipstack.errors import OperatorError
from sipstack.probe.call import Call
from sipstack.probe.message import parse_head
from sipstack.probe.options import options
from sipstack.probe.phone import Phone
from sipstack.probe.tone import RATE, WINDOW, measure

ANNA, BERTA = 620, 880  # Hz


def phone(user: str, log_dir: Path, **settings: object) -> Phone:
    return Phone(user, "secret", "vss.internal", None, log_dir=log_dir, **settings)  # type: ignore[arg-type]


@pytest.fixture(params=["udp", "tcp"])
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Phone, Phone]]:
    logs = tmp_path_factory.mktemp("phones")
    with phone("anna", logs, tone=ANNA) as anna, phone("berta", logs, tone=BERTA) as berta:
        yield anna, berta


def connect(caller: Phone, callee: Phone) -> tuple[Call, Call]:
    here = caller.call(callee.uri)
    there = callee.expect_call()
    there.answer()
    here.wait_state("confirmed")
    there.wait_state("confirmed")
    return here, there


def test_both_hear_each_other_and_not_themselves(transport: str, tmp_path: Path) -> None:
    with (
        phone("anna", tmp_path, tone=ANNA, transport=transport) as anna,
        phone("berta", tmp_path, tone=BERTA, transport=transport) as berta,
    ):
        here, there = connect(anna, berta)
        heard = here.wait_hears(BERTA)
        there.wait_hears(ANNA)
        assert heard.received > 0 and heard.sent > 0 and heard.received_bytes >= heard.received * 160
        assert heard.codec == "PCMU" and heard.remote.startswith("127.0.0.1:")
        with pytest.raises(OperatorError, match=rf"anna: .* hears {BERTA} Hz at .* not {ANNA} Hz"):
            here.wait_hears(ANNA, timeout=0.1)
        here.hangup()
        there.wait_state("disconnected")


def test_a_silent_phone_is_heard_as_silence_with_its_packets(pair: tuple[Phone, Phone], tmp_path: Path) -> None:
    with phone("mute", tmp_path, tone=None) as mute:
        here, there = connect(pair[0], mute)
        there.wait_hears(ANNA)
        with pytest.raises(OperatorError, match=r"hears silence \([1-9]\d* packets received"):
            here.wait_hears(BERTA, timeout=0.5)
        with pytest.raises(OperatorError, match="silence"):
            here.wait_audio(timeout=0.1)
        here.hangup()


def test_ringing_and_what_each_side_sees_of_the_other(pair: tuple[Phone, Phone]) -> None:
    anna, berta = pair
    here = anna.call(berta.uri, headers={"X-Rehearsal": "yes"})
    there = berta.expect_call()
    there.ring()
    here.wait_state("early")
    assert here.code == 180 and there.state != "confirmed"
    there.answer()
    here.wait_state("confirmed")
    assert here.call_id and here.call_id == there.call_id == there.header("i")
    assert there.incoming and there.caller == "sip:anna@vss.internal"
    assert there.header("x-rehearsal") == "yes" and there.header("Nothing") is None
    assert "sip:" + there.source == anna.uri
    assert here.header("Contact") == here.remote_contact == f"<{berta.uri.replace('sip:', 'sip:berta@')}>"
    assert here.code == 200
    there.hangup()
    here.wait_state("disconnected")


def test_busy(pair: tuple[Phone, Phone]) -> None:
    here = pair[0].call(pair[1].uri)
    pair[1].expect_call().answer(486)
    with pytest.raises(OperatorError, match=r"anna: .* got 486 Busy Here, was never confirmed"):
        here.wait_state("confirmed")
    assert here.code == 486 and here.state == "disconnected"


def test_cancel_ends_both_sides_with_487(pair: tuple[Phone, Phone]) -> None:
    here = pair[0].call(pair[1].uri)
    there = pair[1].expect_call()
    there.ring()
    here.wait_state("early")
    here.hangup()
    there.wait_state("disconnected")
    assert here.code == there.code == 487
    assert str(there) == f"berta: call from sip:anna@vss.internal (Call-ID {here.call_id})"
    with pytest.raises(OperatorError, match=r"^berta: .*the call is over"):
        there.audio()


def test_hold_silences_the_other_side_and_resume_brings_sound_back(pair: tuple[Phone, Phone]) -> None:
    here, there = connect(*pair)
    there.wait_hears(ANNA)
    assert here.hold() == 200
    there.wait_silence()
    assert here.resume() == 200
    there.wait_hears(ANNA)
    assert here.reinvite() == 200
    here.wait_hears(BERTA)
    here.hangup()
    there.wait_state("disconnected")


def test_two_calls_at_once_are_kept_apart(pair: tuple[Phone, Phone], tmp_path: Path) -> None:
    with phone("carla", tmp_path, tone=1500) as carla:
        to_berta, _ = connect(*pair)
        to_carla, _ = connect(pair[0], carla)
        to_carla.wait_hears(1500)
        to_berta.wait_hears(BERTA)
        to_carla.hangup()
        to_berta.wait_hears(BERTA)
        to_berta.hangup()


def test_a_call_that_nobody_makes_or_answers_is_one_line(pair: tuple[Phone, Phone]) -> None:
    anna, berta = pair
    with pytest.raises(OperatorError, match=r"^berta: no call came in within 0.1 s$"):
        berta.expect_call(0.1)
    with pytest.raises(OperatorError, match=r"not confirmed within 0.2 s, it is (calling|early)"):
        anna.call(berta.uri, timeout=0.2)
    berta.expect_call().hangup()


def test_leaving_the_phone_hangs_up(pair: tuple[Phone, Phone], tmp_path: Path) -> None:
    with phone("dora", tmp_path) as dora:
        _, there = connect(dora, pair[1])
    there.wait_state("disconnected")


def test_a_dead_worker_is_told_with_its_last_words(tmp_path: Path) -> None:
    with phone("edda", tmp_path) as edda:
        edda.kill()
        with pytest.raises(OperatorError, match=r"^edda: .* has ended \(-9\); its last words: \d"):
            edda.expect_call()
    with (
        pytest.raises(OperatorError, match=r"edda: .* ended \(3\).*no such place"),
        phone("edda", tmp_path, exec_prefix=["sh", "-c", "echo no such place >&2; exit 3"]),
    ):
        pass
    with Phone("edda", "", "vss.internal", None) as edda:
        edda.kill()
        with pytest.raises(OperatorError, match=r"^edda: the phone's process has ended \(-9\)$"):
            edda.call("6002")
    with pytest.raises(OperatorError, match="does not start"), phone("edda", tmp_path, exec_prefix=["/none"]):
        pass


def test_the_secret_is_neither_in_the_log_nor_in_the_arguments(tmp_path: Path) -> None:
    with phone("fanny", tmp_path) as fanny:
        arguments = Path(f"/proc/{fanny.pid}/cmdline").read_bytes()
    assert b"sipstack.probe.worker" in arguments and b"secret" not in arguments
    assert "secret" not in fanny.log.read_text()
    assert fanny.log.stat().st_mode & 0o077 == 0


def test_a_phone_answers_options(pair: tuple[Phone, Phone]) -> None:
    reply = options("127.0.0.1", int(pair[0].uri.rpartition(":")[2]))
    assert reply.code == 200 and "INVITE" in reply.headers["allow"]


@contextmanager
def registrar(*statuses: str) -> Iterator[tuple[str, list[str]]]:
    """A server on loopback that answers its requests with these statuses, the last one from then on."""
    seen: list[str] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))

        def serve() -> None:
            while True:
                data, peer = server.recvfrom(8192)
                if not data:
                    return
                seen.append(data.decode())
                headers = parse_head(seen[-1])[1]
                status = statuses[min(len(seen), len(statuses)) - 1]
                copied = "".join(f"{n}: {headers[n]}\r\n" for n in ("via", "from", "to", "call-id", "cseq"))
                extra = f"Contact: {headers['contact']};expires=77\r\n" if status.startswith("200") else ""
                if status.startswith("401"):
                    extra = 'WWW-Authenticate: Digest realm="vss.internal", nonce="abc"\r\n'
                if status != "silence":
                    reply = f"SIP/2.0 {status}\r\n{copied}{extra}Content-Length: 0\r\n\r\n"
                    server.sendto(reply.encode(), peer)

        thread = threading.Thread(target=serve)
        thread.start()
        address = "{}:{}".format(*server.getsockname())
        try:
            yield address, seen
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
                end.sendto(b"", server.getsockname())
            thread.join()


def test_register_goes_through_the_proxy_answers_the_challenge_and_unregisters_on_leaving() -> None:
    with registrar("401 Unauthorized", "200 OK") as (proxy, seen):
        with Phone("slot_6001", "secret", "vss.internal", proxy) as slot:
            assert slot.register(expires=120) == 200
            assert slot.expires == 77
            assert "Digest username" in slot.log.read_text() and "secret" not in slot.log.read_text()
        requests = [parse_head(text) for text in seen]
    assert [first for first, _ in requests] == ["REGISTER sip:vss.internal SIP/2.0"] * 3
    assert requests[1][1]["authorization"].startswith('Digest username="slot_6001"')
    assert [headers["expires"] for _, headers in requests] == ["120", "120", "0"]
    assert "sip:slot_6001@127.0.0.1:" in requests[1][1]["contact"]


def test_a_refused_registration_is_a_code_or_an_error_as_asked() -> None:
    with (
        registrar("403 Forbidden") as (proxy, _),
        Phone("slot_6001", "secret", "vss.internal", proxy) as slot,
    ):
        assert slot.register() == 403
        with pytest.raises(OperatorError) as error:
            slot.register(check=True)
        assert str(error.value) == f"slot_6001: register at {proxy}/udp got 403 Forbidden"


def test_a_wrong_password_is_401_and_not_tried_again() -> None:
    with (
        registrar("401 Unauthorized") as (proxy, seen),
        Phone("slot_6001", "wrong", "vss.internal", proxy) as slot,
    ):
        assert slot.register() == 401
    assert len(seen) == 2


def test_a_silent_registrar_is_an_error() -> None:
    with registrar("silence") as (proxy, _), Phone("slot_6001", "x", "vss.internal", proxy) as slot:
        with pytest.raises(OperatorError) as error:
            slot.register(timeout=0.2)
        assert str(error.value) == f"slot_6001: register at {proxy}/udp got no answer within 0.2 s"


@pytest.mark.parametrize("hz", [440, 443, 1004, 3400])
def test_a_tone_is_measured_in_noise(hz: int) -> None:
    state = 1
    samples = array("h")
    for n in range(WINDOW):
        state = (state * 1103515245 + 12345) % 2**31  # noise that is the same every time
        samples.append(round(8000 * math.sin(2 * math.pi * hz * n / RATE) + 2000 * (state / 2**30 - 1)))
    sound = measure(samples.tobytes())
    assert abs(sound.frequency - hz) <= 5
    assert sound.purity > 0.7
    assert sound.level == pytest.approx(-15, abs=0.5)


def test_noise_and_silence_are_no_tone() -> None:
    state = 1
    noise = array("h")
    for _ in range(WINDOW):
        state = (state * 1103515245 + 12345) % 2**31
        noise.append(round(8000 * (state / 2**30 - 1)))
    assert measure(noise.tobytes()).purity < 0.2
    assert measure(bytes(WINDOW * 2)).frequency == 0 and measure(b"").frequency == 0
