"""What a registration and a call cost in CPU time of the proxy, with its configuration of another checkout and of now.

    python -m tests.benchmarks.parts_cost LAB CHECKOUT

LAB has the host sip1, deployed from here. Beside its proxy another one is made, with the entrypoint and the routes of
CHECKOUT, and the two serve in turns. Counted is the cgroup of their container; what watches the database beside it is
shown as what it takes all the time.
"""

import json
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

from sipstack.lab.hosts import Lab
from tests.lab.load import Load
from tests.lab.wire import Wire

ROUNDS = 5
WIRES, REGISTRATIONS = 4, 250  # of each wire
CALL_SECONDS = 20
NOW, BEFORE = "vss-kamailio", "before-kamailio"
COMPOSE = "/opt/vss/docker-compose.vss-demiurge.yml"
# Beside its own volumes and configuration everything of the other one is as it is deployed.
MAKE = f"""
config=$(grep -om 1 '/opt/vss/config/kamailio/[0-9a-f]*' {COMPOSE})
rm -rf /opt/vss/before && mkdir /opt/vss/before && cp -a "$config/." /opt/vss/before
tar -x -C /opt/vss/before -f - && chmod -R a+rX /opt/vss/before/etc /opt/vss/before/bin
entrypoint=/opt/vss/before/bin/entrypoint:/usr/local/bin/entrypoint:ro
sed -e "s|$config|/opt/vss/before|; s|container_name: {NOW}$|container_name: {BEFORE}|" \\
    -e "s|^\\( *\\)- kamailio_run:.*|&\\n\\1- $entrypoint|" {COMPOSE} >/opt/vss/before.yml
docker compose -p before -f /opt/vss/before.yml create --force-recreate kamailio
"""
SPENT = "cat /sys/fs/cgroup$(sed -n 's/^0:://p' /proc/$(docker inspect -f '{{{{.State.Pid}}}}' {0})/cgroup)/cpu.stat"
WATCH = "systemctl show -p CPUUsageNSec --value vss-database-watch"


class Bench:
    """The deployed host, with both proxies."""

    def __init__(self, lab: Lab, checkout: Path) -> None:
        self.host = lab.up(["sip1"])[0]
        self.passwords: dict[str, str] = json.loads((lab.state.folder / "slots.json").read_text())
        files = subprocess.run(
            ["tar", "-c", "-C", checkout / "files/kamailio", "etc", "bin/entrypoint"], check=True, capture_output=True
        ).stdout
        subprocess.run(
            ["docker", "exec", "-i", self.host.container, "sh", "-euc", MAKE], input=files, check=True, timeout=120
        )

    def serve(self, container: str) -> None:
        """From now on it is this one that answers."""
        other = {NOW: BEFORE, BEFORE: NOW}[container]
        answers = f"docker exec {container} healthcheck"
        script = f"docker stop {other}; docker start {container}; until {answers}; do sleep 0.3; done"
        self.host.exec("sh", "-c", script, timeout=120)
        self._register_all(1)  # what is remembered of each slot is remembered

    def spent(self, container: str) -> int:
        """CPU time, microseconds."""
        return int(self.host.exec("sh", "-c", SPENT.format(container)).stdout.split()[1])

    def registration(self, container: str) -> float:
        """Microseconds of a registration: a REGISTER, its challenge, and one with credentials."""
        before = self.spent(container)
        self._register_all(REGISTRATIONS)
        return (self.spent(container) - before) / (WIRES * REGISTRATIONS)

    def call(self, container: str) -> float:
        """Microseconds of a call between two slots, with what its phones register meanwhile."""
        phones = [(number, self.passwords[f"slot_{number}"]) for number in range(7001, 7021)]
        with Load([self.host.address], phones, calls=6, hold=(1, 1.5)) as load:
            before, calls = self.spent(container), load.so_far()["answered"]
            time.sleep(CALL_SECONDS)
            return float((self.spent(container) - before) / (load.so_far()["answered"] - calls))

    def at_rest(self, container: str) -> None:
        """Print what it takes when nobody asks, and what the watch takes."""
        begin, proxy, watch = time.monotonic(), self.spent(container), self._watch()
        time.sleep(20)
        share = 1e4 * (time.monotonic() - begin)
        print(f"{container} at rest: {(self.spent(container) - proxy) / share:.2f} % of a core", end="")
        print(f", the watch over the database: {(self._watch() - watch) / share:.2f} %", flush=True)

    def _watch(self) -> float:
        return int(self.host.exec("sh", "-c", WATCH).stdout) / 1000

    def _register_all(self, times: int) -> None:
        def register(number: int) -> None:
            with Wire(self.host.address) as wire:
                for _ in range(times):
                    assert wire.register(f"slot_{number}", self.passwords[f"slot_{number}"]) == 200

        threads = [threading.Thread(target=register, args=(6001 + number,)) for number in range(WIRES)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def main() -> None:
    """Print each round, and the ratios of the medians."""
    bench = Bench(Lab(sys.argv[1]), Path(sys.argv[2]))
    seen: dict[tuple[str, str], list[float]] = {}
    for _ in range(ROUNDS):
        for container in (BEFORE, NOW):
            bench.serve(container)
            for what in ("registration", "call"):
                seen.setdefault((what, container), []).append(getattr(bench, what)(container))
    for what in ("registration", "call"):
        before, now = (statistics.median(seen[what, container]) for container in (BEFORE, NOW))
        for container in (BEFORE, NOW):
            print(f"{what}, {container}: " + " ".join(f"{value:.0f}" for value in seen[what, container]) + " us")
        print(f"{what}: {before:.0f} us before, {now:.0f} us now, ratio {now / before:.3f}", flush=True)
    for container in (BEFORE, NOW):
        bench.serve(container)
        bench.at_rest(container)
    bench.host.exec("docker", "compose", "-p", "before", "-f", "/opt/vss/before.yml", "down", "--volumes", timeout=60)
    bench.host.exec("rm", "-r", "/opt/vss/before", "/opt/vss/before.yml")


if __name__ == "__main__":
    main()
