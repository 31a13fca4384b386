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
    # 400 octets a slot, 1,800 a binding, 198 MB for the rest, and a quarter more: 2,870 MB.
    assert million == 3072
    assert shared_mb(settings(kamailio_bindings=100_000), 1_000_000) == 1024
    assert shared_mb(settings(kamailio_calls=20_000), 42) == 512


def test_what_cannot_suffice_is_refused() -> None:
    with pytest.raises(OperatorError, match="1000000 bindings, 1000000 slots take 2138 MB"):
        shared_mb(settings(kamailio_shm_mb=256), 1_000_000)
    assert shared_mb(settings(kamailio_shm_mb=1024, kamailio_bindings=100_000), 1_000_000) == 1024
    assert shared_mb(settings(kamailio_shm_mb=64), 42) == 64
