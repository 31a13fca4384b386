"""How much shared memory a proxy gets, and when that is refused."""

import runpy
from typing import Any

import pytest

from sipstack.errors import OperatorError
from sipstack.memory import shared_mb
from sipstack.paths import ROOT
from sipstack.settings import Settings, parse


def settings(**changes: Any) -> Settings:
    defaults = {k: v for k, v in runpy.run_path(str(ROOT / "group_data/all.py")).items() if not k.startswith("__")}
    return parse({**defaults, **changes})


def test_a_small_system_has_what_it_always_had() -> None:
    assert shared_mb(settings(), 42) == 256


def test_it_grows_with_what_it_holds() -> None:
    million = shared_mb(settings(), 1_000_000)
    # 220 octets a slot, 5,400 a binding, and a quarter more: 6,825 MB.
    assert million == 8192
    assert shared_mb(settings(kamailio_bindings=100_000), 1_000_000) == 1024
    assert shared_mb(settings(kamailio_calls=20_000), 42) == 768


def test_what_cannot_suffice_is_refused() -> None:
    with pytest.raises(OperatorError, match="1000000 bindings, 1000000 slots take 5400 MB"):
        shared_mb(settings(kamailio_shm_mb=256), 1_000_000)
    assert shared_mb(settings(kamailio_shm_mb=1024, kamailio_bindings=100_000), 1_000_000) == 1024
    assert shared_mb(settings(kamailio_shm_mb=64), 42) == 64
