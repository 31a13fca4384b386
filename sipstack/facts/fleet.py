"""Which fleet a host belongs to: a mark that the first deploy leaves, so that nobody deploys it with other secrets."""

import json
from dataclasses import asdict, dataclass

from pyinfra.api.facts import FactBase

from sipstack.paths import HOME

MARK_FILE = f"{HOME}/fleet.json"


@dataclass(frozen=True)
class Mark:
    """What a host knows of its fleet.

    state: tells the secrets of one fleet from those of another, and says nothing of them. inventory: the name under
    which the operator keeps them. sip_domain, sip_port: what phones have been told. by, since: who deployed first.
    """

    state: str
    inventory: str
    sip_domain: str
    sip_port: int
    by: str = ""
    since: str = ""

    def text(self) -> str:
        return json.dumps(asdict(self), indent=1, sort_keys=True)


class FleetMark(FactBase[Mark | None]):
    """The mark of a host; None on one that no deploy has marked."""

    def command(self) -> str:
        return f"cat {MARK_FILE} 2>/dev/null || true"

    @staticmethod
    def default() -> Mark | None:
        return None

    def process(self, output: list[str]) -> Mark | None:
        try:
            return Mark(**json.loads("\n".join(output)))
        except (ValueError, TypeError):  # none, or not by us
            return None
