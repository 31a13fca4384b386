"""`verify` names a container without limits, on a host that can keep them; engines inside a lab host cannot."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.verify.server import Part
from tests.verify.test_6_hardening import test_limits as check

KEPT = {"Memory": 2**30, "PidsLimit": 4096}


def part(config: dict[str, Any], can: str = "true true", container_memory: str = "") -> Part:
    settings = SimpleNamespace(container_memory=container_memory)
    server = SimpleNamespace(run=lambda _: can, node=SimpleNamespace(settings=settings))
    return cast(Part, SimpleNamespace(server=server, inspected={"HostConfig": config}))


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (KEPT | {"Memory": 0}, "no memory limit"),
        (KEPT | {"PidsLimit": None}, "any number of processes"),
        (KEPT | {"PidsLimit": -1}, "any number of processes"),
    ],
)
def test_a_limit_that_lacks_is_named(config: dict[str, Any], said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        check(part(config))


def test_no_limit_is_asked_for_where_there_can_be_none() -> None:
    check(part(KEPT))
    check(part({"Memory": 0, "PidsLimit": None}, can="false false"))
    check(part(KEPT | {"Memory": 0}, container_memory="none"))
