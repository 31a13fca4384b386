"""Two fleets on one database: the proxies that have it open are known by name."""

from collections.abc import Iterator

import pytest

from sipstack.database.clients import client_name, refuse_others
from sipstack.errors import OperatorError
from tests.unit.postgres import Server, throwaway_postgres

LONG = "sip1." + 12 * "long." + "example"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with throwaway_postgres() as running:
        yield running


@pytest.mark.parametrize("name", ["sip1.two.example", LONG])
def test_a_proxy_of_another_fleet_is_named(server: Server, name: str) -> None:
    with server.connect() as here, server.connect(application_name=client_name(name)) as there:
        (role,) = there.execute("SELECT current_user::text").fetchone() or ("",)
        refuse_others(here, role, [name, "sip2.two.example"])
        refuse_others(here, "somebody else", [])
        with pytest.raises(OperatorError, match=rf"this database serves {name[:40]}.*, which is not in this inventory"):
            refuse_others(here, role, ["sip2.two.example"])


def test_who_is_no_proxy_may_be_there(server: Server) -> None:
    """A release of before says nothing; people have psql open."""
    with server.connect() as here, server.connect(application_name="psql") as there:
        (role,) = there.execute("SELECT current_user::text").fetchone() or ("",)
        refuse_others(here, role, ["sip1"])
