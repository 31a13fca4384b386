"""Calls between every pair of agents, over UDP and TCP, with every feature that both have.

    python -m tests.agents.run LAB [--rounds 3] [--workers 6] [--only pjsua2:linphone] [--feature hold]

LAB has the host sip1, deployed. Printed is what failed, as it happens, and a table in Markdown at the end: of each pair
and feature, how many calls ended as they should with all sides heard, of how many. Logs of what failed are kept.
"""

import argparse
import fcntl
import json
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from itertools import groupby, product
from multiprocessing import Manager
from pathlib import Path
from queue import Queue

from sipstack.lab.hosts import Lab
from tests.agents.cases import KINDS, MIXED, TRANSPORTS, Case, Place, Result, all_cases, play
from tests.agents.features import FEATURES


def work(place: Place, cases: list[Case], free: "Queue[tuple[int, int, int]]") -> list[Result]:
    """In a worker's process: take three slots, play, give them back, and tell what failed."""
    numbers = free.get()
    try:
        results = play(place, cases, numbers)
    finally:
        free.put(numbers)
    for result in results:
        if result.error:
            print(f"FAILED {result.case}: {result.error}", flush=True)
    return results


def table(results: Iterable[Result]) -> str:
    """Markdown: a row for each pair and transport, a column for each feature."""
    cells: dict[tuple[str, str, str, str], list[bool]] = {}
    for result in results:
        case = result.case
        key = (case.caller, case.called, case.transport, case.feature.name)
        cells.setdefault(key, []).append(not result.error)
    names = [
        name for name in dict.fromkeys(feature.name for feature in FEATURES) if any(key[3] == name for key in cells)
    ]
    lines = ["| caller → called | over | " + " | ".join(names) + " |", "|---" * (len(names) + 2) + "|"]
    for caller, called, transport in product(KINDS, KINDS, [*TRANSPORTS, *MIXED]):
        row = [cells.get((caller, called, transport, name)) for name in names]
        if any(row):
            shown = [f"{sum(cell)}/{len(cell)}" if cell else "-" for cell in row]
            lines.append(
                f"| {caller} → {called} | {transport.upper().replace(' TO ', ' to ')} | " + " | ".join(shown) + " |"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("lab")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=6)
    parser.add_argument("--only", action="append", help="pairs, as caller:called", default=[])
    parser.add_argument(
        "--over", action="append", help="udp, tcp (both by default), 'udp to tcp', 'tcp to udp'", default=[]
    )
    parser.add_argument("--feature", action="append", default=[])
    parser.add_argument("--without", action="append", help="features", default=[])
    parser.add_argument("--logs", type=Path, default=Path("build/agents"))
    wanted = parser.parse_args()
    lab = Lab(wanted.lab)
    lock = (lab.state.folder / "agents.lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(f"another run uses the slots of lab {wanted.lab}: wait for its end")
    passwords = json.loads((lab.state.folder / "slots.json").read_text())
    wanted.logs.mkdir(parents=True, exist_ok=True)
    place = Place(lab.up(["sip1"])[0].address, passwords, wanted.logs)
    cases = [
        case
        for case in all_cases(wanted.over or TRANSPORTS)
        if (not wanted.only or f"{case.caller}:{case.called}" in wanted.only)
        and (not wanted.feature or case.feature.name in wanted.feature)
        and case.feature.name not in wanted.without
    ]
    began = time.monotonic()
    results = run(place, cases, wanted.rounds, wanted.workers)
    failed = sum(bool(result.error) for result in results)
    print(f"\n{len(results)} calls in {time.monotonic() - began:.0f} s, {failed} failed\n\n{table(results)}")
    sys.exit(bool(failed))


def run(place: Place, cases: list[Case], rounds: int, workers: int) -> list[Result]:
    """Each case so often; session timers, which take a minute, once. The longest groups come first."""
    repeated = [case for case in cases for _ in range(1 if case.feature.settings.timer else rounds)]
    ordered = sorted(repeated, key=lambda case: str(case.group))
    groups = [list(group) for _, group in groupby(ordered, key=lambda case: case.group)]
    groups.sort(key=lambda group: (not group[0].feature.settings.timer, -len(group)))
    numbers = [*range(7001, 7021), *range(8001, 8011)]
    with Manager() as manager, ProcessPoolExecutor(workers) as pool:
        free = manager.Queue()
        for worker in range(workers):
            free.put(tuple(numbers[3 * worker : 3 * worker + 3]))
        results: list[Result] = []
        for future in as_completed([pool.submit(work, place, group, free) for group in groups]):
            results += future.result()
            print(f"{len(results)} of {len(repeated)} calls", file=sys.stderr, flush=True)
        return results


if __name__ == "__main__":
    main()
