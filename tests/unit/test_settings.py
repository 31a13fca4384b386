"""What group_data may say, and what is said of what it may not."""

import runpy
from contextlib import suppress
from typing import Any

import pytest

from sipstack.errors import OperatorError
from sipstack.paths import ROOT
from sipstack.settings import Settings, endpoint, parse, shared


@pytest.fixture(scope="module")
def defaults() -> dict[str, Any]:
    return {
        key: value
        for key, value in runpy.run_path(str(ROOT / "group_data" / "all.py")).items()
        if not key.startswith("__")
    }


def refusal(defaults: dict[str, Any], **changes: Any) -> str:
    with pytest.raises(OperatorError) as caught:
        parse({**defaults, **changes})
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_every_setting_has_its_default_and_no_default_is_without_its_setting(defaults: dict[str, Any]) -> None:
    assert parse(defaults).sip_port == 5060
    assert set(defaults) == set(Settings.model_fields)


def test_no_number_need_be_barred(defaults: dict[str, Any]) -> None:
    assert parse({**defaults, "call_premium_pattern": ""}).call_premium_pattern == ""
    assert "call_outside_pattern" in refusal(defaults, call_outside_pattern="")


def test_what_belongs_to_the_inventory_is_no_setting(defaults: dict[str, Any]) -> None:
    parse({**defaults, "ssh_user": "root", "_sudo": True, "address": "192.0.2.1", "state": "lab"})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sip_prot": 1}, "unknown setting sip_prot: did you mean sip_port?"),
        ({"colour": 1}, "unknown setting colour: remove it"),
        ({"sip_port": "5060"}, "write a whole number, without quotes"),
        ({"sip_port": True}, "write a whole number, without quotes"),
        ({"sip_port": 0}, "write 1 or more"),
        ({"kamailio_debug": 5}, "write 4 or less"),
        ({"sip_domain": 5}, "write a text in quotes"),
        ({"sip_domain": "a b"}, "such as vss.internal"),
        ({"sip_domain": "vss.internal\n"}, "such as vss.internal"),
        ({"slots_auto": "6001-6010"}, "write a list in brackets"),
        ({"slots_allow_mass_removal": "yes"}, "write True or False"),
        ({"base_image_source": "cloud"}, "write 'auto', 'pull', 'bootstrap' or 'archive'"),
        ({"base_image_archive": "no.tar", "base_image_source": "archive"}, "no such file"),
        ({"base_image_archive": "no.tar"}, "set both or neither"),
        ({"packages_as_of": "2026-13-01"}, "write a date, such as 2026-11-23"),
        ({"gateways": ["192.0.2.300:5060"]}, "write it as 192.0.2.10:5060"),
        ({"rtpengines": ["192.0.2.3"]}, "write it as 192.0.2.10:5060"),
        ({"asterisk_provider": "sip:192.0.2.3:5060"}, "write it as 192.0.2.10:5060"),
        ({"asterisk_provider": "sip.example.net:5060"}, "the firewall knows no names"),
        ({"trusted_networks": ["192.0.2.1/24"]}, "write address/bits, such as 192.0.2.0/24"),
        ({"trusted_networks": ["192.0.2.0/24 || 1"]}, "write address/bits, such as 192.0.2.0/24"),
        ({"proxy_peer_port": 5080}, "proxy_peer_port is 5080, and so is another port"),
        ({"proxy_peer_port": 30000}, "proxy_peer_port is 30000, which rtp_port_min-rtp_port_max contains"),
        ({"postgres_host": "192.0.2.1:5432"}, "without a port"),
        ({"postgres_host": "192.0.2.1\n"}, "without a port"),
        ({"call_premium_pattern": '"'}, "without quotes, spaces and backslashes"),
        ({"call_premium_pattern": "(1"}, "write a regular expression"),
        ({"call_max_at_once": 0}, "write 1 or more"),
        ({"postgres_user": "Vss"}, "write small letters, digits and _"),
        ({"postgres_user": "vss_owner"}, "must differ: rename one of them"),
        ({"container_memory": "lots"}, "such as '512m' or '1g'"),
        ({"rtp_port_min": 35000, "rtp_port_max": 34000}, "rtp_port_min is 35000, more than rtp_port_max (34000)"),
        ({"rtp_port_min": 5000, "rtp_port_max": 6000}, "sip_port is 5060, which rtp_port_min-rtp_port_max contains"),
        ({"rtp_port_min": 25000}, "overlaps"),
        ({"register_min_seconds": 5000}, "more than register_default_seconds"),
    ],
)
def test_what_is_wrong_is_said_with_what_to_write(
    defaults: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    text = refusal(defaults, **changes)
    assert message in text
    assert next(iter(changes)) in text


@pytest.mark.parametrize("pattern", ['^"$', "^1\n$", "^\\d$", "^(?:1)$", "(1", "", "1 2", "^1;$"])
def test_a_pattern_that_would_break_kamailios_configuration_is_refused(defaults: dict[str, Any], pattern: str) -> None:
    assert "call_outside_pattern" in refusal(defaults, call_outside_pattern=pattern)


def test_an_element_that_may_be_two_things_has_one_message(defaults: dict[str, Any]) -> None:
    text = refusal(defaults, slots_mf=[7001, None])
    assert text.count("slots_mf") == 1
    assert "slots_mf, element 2 (None): write a number or a range" in text


def test_all_mistakes_are_said_at_once(defaults: dict[str, Any]) -> None:
    text = refusal(defaults, sip_port=0, log_mb="10", colour=1)
    assert text.count("; ") == 2


def test_a_missing_setting_is_named(defaults: dict[str, Any]) -> None:
    with pytest.raises(OperatorError, match=r"setting sip_port is missing: group_data/all\.py"):
        parse({key: value for key, value in defaults.items() if key != "sip_port"})


def test_a_secret_among_the_settings_is_refused_and_not_shown(defaults: dict[str, Any]) -> None:
    text = refusal(defaults, postgres_password="hunter22")
    assert "set SIPSTACK_SECRET_POSTGRES_PASSWORD" in text
    assert "hunter22" not in text


def test_settings_of_single_hosts_are_not_shared(defaults: dict[str, Any]) -> None:
    keys = shared(parse(defaults))
    assert {"sip_domain", "slots_auto", "postgres_host", "rtpengine_port", "ban_seconds"} <= keys.keys()
    assert not {"kamailio_debug", "rtp_port_min", "packages_as_of", "log_mb"} & keys.keys()


def test_endpoint() -> None:
    assert endpoint("sip.example.net:5061") == ("sip.example.net", 5061)
    for bad in ("1.2.3:5060", "1.2.3.4:0", "1.2.3.4:65536", "1.2.3.4:5060\n", "a..b:1", ":5060"):
        with pytest.raises(ValueError, match="write it as"):
            endpoint(bad)


@pytest.mark.parametrize("key", [name for name, field in Settings.model_fields.items() if field.annotation is str])
def test_every_text_that_is_refused_is_explained(defaults: dict[str, Any], key: str) -> None:
    """Whatever a text setting makes of nonsense, it is never a traceback."""
    for nonsense in ("\x00 \"'", "", "-"):
        with suppress(OperatorError):
            parse({**defaults, key: nonsense})
