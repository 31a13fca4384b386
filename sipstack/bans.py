"""`sipstack bans`: whom the proxies do not hear any more, and how that ends (files/kamailio/etc/routes/guard.cfg)."""

import json
import re
import shlex
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime

from sipstack.errors import OperatorError
from sipstack.inventory import Entry, Inventory, load
from sipstack.oci import in_proxy
from sipstack.ssh import Connections
from sipstack.table import show

# kamcmd, for a release that has no `rpc`, prints an entry of a table as name, value and type, each on its line.
_ENTRY = re.compile(r"name: (\S+)\s+value: (\S+)\s")
_VALUE = re.compile(r"(\w+):(\d+):(\d+):(\d+)")
_NOW = re.compile(r"^now:(\d+)$", re.MULTILINE)
_ASK = "rpc htable.dump ban 2>/dev/null || kamcmd htable.dump ban"
_ASKED = f"{in_proxy(f'sh -c {shlex.quote(_ASK)}')} && date +now:%s"
# Read by kamcmd, one after the other. What the proxy then makes of table `ban`: nothing is there, so the row goes.
_FORGET = "htable.delete ban {who}\nhtable.sets unwritten {who} lifted\n"
_LIFT = "docker exec -i vss-kamailio /usr/sbin/kamcmd"
SHOWN = 20
# How often a ban is lifted that comes back, and how long it is waited for, seconds.
LIFT_ROUNDS, LIFT_SECONDS = 4, 1.0
HEADERS = ("WHO", "REASON", "SINCE", "UNTIL", "BY")


@dataclass(frozen=True, order=True)
class Ban:
    """One ban. who: an address, or user@address. since, until: seconds since the epoch. server_id: whose ban it is."""

    who: str
    reason: str
    since: int
    until: int
    server_id: int

    def concerns(self, whom: str) -> bool:
        """Whether lifting `whom` lifts this: the address with all its users, one of them, or all."""
        return whom in ("all", self.who, self.who.rpartition("@")[2])


def main(inventory: str, lift: str = "") -> int:
    """Print the bans of all proxies, or lift those of an address, of user@address, or `all`.

    Returns 0, and 1 if a proxy could not be asked. Raises OperatorError for an inventory that is refused, and where
    there is nothing to lift.
    """
    found = load(inventory)
    with Connections((entry.name, entry.data) for entry in found.everyone) as connections:
        bans, silent = _ask(found, connections)
        if lift:
            _lift(found, connections, lift, sorted(ban for ban in bans if ban.concerns(lift)), set(silent))
        elif bans or not silent:
            _show(found, bans)
    for name, why in silent.items():
        print(f"{name}: not asked: {why.removeprefix(f'{name}: ')}")
    return 1 if silent else 0


def in_force(said: str) -> set[Ban]:
    """The bans in what a proxy printed, without those that have run out and are not cleared away yet."""
    now = _NOW.search(said)
    values = {who: _VALUE.fullmatch(value) for who, value in _entries(said)}
    found = {Ban(who, value[1], *map(int, value.groups()[1:])) for who, value in values.items() if value}
    return {ban for ban in found if now and ban.until > int(now[1])}


def _entries(said: str) -> Iterator[tuple[str, str]]:
    """Name and value of each entry of the table."""
    for line in said.splitlines():
        if line.startswith('{"jsonrpc"'):
            entries = json.loads(line).get("result", [])
            yield from ((one["name"], one["value"]) for entry in entries for one in entry["slot"])
    yield from _ENTRY.findall(said)


def _proxies(found: Inventory) -> list[Entry]:
    return [entry for entry in found.everyone if entry.node.has("proxies")]


def _ask(found: Inventory, connections: Connections) -> tuple[set[Ban], dict[str, str]]:
    """The bans of all proxies together, and which proxies did not answer, each with the reason."""
    bans: set[Ban] = set()
    silent = {}
    for name, said in _on_proxies(found, connections, _ASKED).items():
        if isinstance(said, OperatorError):
            silent[name] = str(said)
        else:
            bans |= in_force(said)
    return bans, silent


def _on_proxies(
    found: Inventory, connections: Connections, command: str, stdin: str = ""
) -> dict[str, str | OperatorError]:
    """Run a shell command on the host of every proxy at once; what each printed, or what was wrong."""

    def run(entry: Entry) -> str | OperatorError:
        try:
            done = connections.run(entry.name, command, stdin)
        except OperatorError as error:
            return error
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
            return OperatorError(f"the proxy says: {said[-1]}")
        return done.stdout

    proxies = _proxies(found)
    with ThreadPoolExecutor(16) as pool:
        return dict(zip((entry.name for entry in proxies), pool.map(run, proxies), strict=True))


def _show(found: Inventory, bans: set[Ban]) -> None:
    names = {entry.node.me.server_id: entry.name for entry in _proxies(found)}
    rows = [
        (ban.who, ban.reason, _time(ban.since), _time(ban.until), names.get(ban.server_id, str(ban.server_id)))
        for ban in sorted(bans)
    ]
    if not rows:
        print("nobody is banned")
        return
    show([HEADERS, *rows])


def _time(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _lift(found: Inventory, connections: Connections, whom: str, bans: Sequence[Ban], silent: set[str]) -> None:
    if not bans:
        raise OperatorError(f"{whom} is not banned: `sipstack bans {found.path}` shows who is")
    names = list(dict.fromkeys(ban.who for ban in bans))
    failed: list[str] = []
    left = names
    for _ in range(LIFT_ROUNDS):
        # A proxy that only wrote the row down and one that heard of it are told the same.
        commands = "".join(_FORGET.format(who=who) for who in left)
        answers = _on_proxies(found, connections, _LIFT, commands)
        failed = [
            f"{name}: {said}"
            for name, said in answers.items()
            if isinstance(said, OperatorError) and name not in silent
        ]
        # What a proxy that has just started is being told by another one comes back.
        time.sleep(LIFT_SECONDS)
        there = {ban.who for ban in _ask(found, connections)[0]}
        if failed or not (left := [who for who in names if who in there]):
            break
    if left and not failed:
        failed.append(f"{left[0]} is banned still")
    if failed:
        raise OperatorError(f"not lifted everywhere: {'; '.join(failed)}: try again")
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    print(f"lifted: {', '.join(names[:SHOWN])}{more}")
