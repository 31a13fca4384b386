"""The commands that operators know, and logs: shown by the engine, kept in the volume, both bounded."""

import json

import pytest

from sipstack.paths import COMPOSE_FILE, HOME
from tests.lab.system import System
from tests.lab.test_calls import phones


def in_proxy(system: System, *argv: str) -> tuple[int, str]:
    """Exit status and output of a command in the proxy's container."""
    done = system.host.exec("docker", "exec", "vss-kamailio", *argv, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("core.ping", "pong"),
        ("ul.show", "slot_6001"),
        ("stats", "dialog:active_dialogs = "),
        ("dialog.list", "sip:slot_6001@vss.internal"),
        ("core.psx", "main process"),
    ],
)
def test_kamcmd_answers_as_documented(system: System, command: str, said: str) -> None:
    with phones(system, 6001, 6002) as (anna, bert):
        call = anna.call("6002")
        bert.expect_call().answer()
        call.wait_state("confirmed")
        status, output = in_proxy(system, "kamcmd", command)
        assert status == 0
        assert said in output


def test_an_error_of_kamcmd_is_an_exit_status(system: System) -> None:
    for command in (("nonsense",), ("ul.lookup", "location", "nobody")):
        status, output = in_proxy(system, "kamcmd", *command)
        assert status != 0
        assert "error" in output


def test_the_configuration_can_be_checked(system: System) -> None:
    status, output = in_proxy(system, "kamailio", "-C", "-f", "/etc/kamailio/kamailio.cfg")
    assert status == 0
    assert "config file ok" in output
    status, _ = in_proxy(system, "kamailio", "-C", "-f", "/etc/passwd")
    assert status != 0


def test_logs_are_shown_and_kept(system: System) -> None:
    """A line that names a call stands in both places."""
    system.kamcmd("cfg.set_now_int", "core", "debug", "3")
    with phones(system, 6001) as (anna,):
        call = anna.call("6002")
        call.wait_state("disconnected")
    system.kamcmd("cfg.set_now_int", "core", "debug", "2")
    shown = system.host.exec("docker", "compose", "-f", f"{HOME}/{COMPOSE_FILE}", "logs", "kamailio").stdout
    assert call.call_id in shown
    _, kept = in_proxy(system, "sh", "-c", "cat /var/log/kamailio/kamailio.log*")
    assert call.call_id in kept
    volume = system.host.exec("docker", "volume", "inspect", "vss_kamailio_logs").stdout
    assert json.loads(volume)[0]["Driver"] == "local"


def test_no_log_of_the_engine_grows_without_bound(system: System) -> None:
    names = system.host.exec("docker", "ps", "--format", "{{.Names}}").stdout.split()
    assert "vss-kamailio" in names
    for name in names:
        shown = system.host.exec("docker", "inspect", "-f", "{{json .HostConfig.LogConfig}}", name).stdout
        log = json.loads(shown)
        assert log["Type"] == "json-file"
        assert log["Config"]["max-size"].endswith("m")
        assert int(log["Config"]["max-file"]) > 0
