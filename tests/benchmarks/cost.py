"""What a registration and a call cost in CPU time of the proxy, with its configuration of another checkout and of now.

    python -m tests.benchmarks.cost LAB CHECKOUT

LAB has the host sip1, deployed from here with what the load needs: --data firewall_open_ports='["5066/udp"]'
--data limit_requests_a_second=100000 --data limit_registrations_a_minute=10000. Beside its proxy another one runs, with
the entrypoint and the routes of CHECKOUT, on a port of its own; they are asked in turns. Counted is the cgroup of each
container; what watches the database beside them is shown as what it takes all the time. With this checkout as CHECKOUT,
the ratio is what the measurement itself favours.
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

# Short ones, in turns: what else the machine does falls on both alike.
REGISTRATION_ROUNDS, CALL_ROUNDS = 60, 12
WIRES, REGISTRATIONS = 4, 40  # of each wire
CALL_SECONDS = 12
NOW, BEFORE = "vss-kamailio", "before-kamailio"
PORTS = {NOW: 5060, BEFORE: 5066}
COMPOSE = "/opt/vss/docker-compose.vss-demiurge.yml"
# Beside its own volumes and configuration everything of the other one is as it is deployed.
MAKE = f"""
config=$(grep -om 1 '/opt/vss/config/kamailio/[0-9a-f]*' {COMPOSE})
rm -rf /opt/vss/before && mkdir /opt/vss/before && cp -a "$config/." /opt/vss/before
tar -x -C /opt/vss/before -f - && chmod -R a+rX /opt/vss/before/etc /opt/vss/before/bin
entrypoint=/opt/vss/before/bin/entrypoint:/usr/local/bin/entrypoint:ro
sed -e "s|$config|/opt/vss/before|; s|container_name: {NOW}$|container_name: {BEFORE}|" \\
    -e "s|^\\( *\\)- kamailio_run:.*|&\\n\\1- $entrypoint|; s|SIP_PORT: .5060.|SIP_PORT: \\"{PORTS[BEFORE]}\\"|" \\
    {COMPOSE} >/opt/vss/before.yml
docker compose -p before -f /opt/vss/before.yml up -d --force-recreate --wait kamailio
"""
SPENT = "cat /sys/fs/cgroup$(sed -n 's/^0:://p' /proc/$(docker inspect -f '{{{{.State.Pid}}}}' {0})/cgroup)/cpu.stat"
WATCH = "systemctl show -p CPUUsageNSec --value vss-database-watch"


class Bench:
    """The deployed host, with both proxies."""

    def __init__(self, lab: Lab, checkout: Path) -> None:
        self.host = lab.up(["sip1"])[0]
        self.passwords: dict[str, str] = json.loads((lab.state.folder / "slots.json").read_text())
        self.wires = {container: [self._wire(port) for _ in range(WIRES)] for container, port in PORTS.items()}
        files = subprocess.run(
            ["tar", "-c", "-C", checkout / "files/kamailio", "etc", "bin/entrypoint"], check=True, capture_output=True
        ).stdout
        subprocess.run(
            ["docker", "exec", "-i", self.host.container, "sh", "-euc", MAKE], input=files, check=True, timeout=120
        )

    def spent(self, container: str) -> int:
        """CPU time, microseconds."""
        return int(self.host.exec("sh", "-c", SPENT.format(container)).stdout.split()[1])

    def registration(self, container: str) -> float:
        """Microseconds of a registration: a REGISTER, its challenge, and one with credentials."""
        before = self.spent(container)
        self.register(container, REGISTRATIONS)
        return (self.spent(container) - before) / (WIRES * REGISTRATIONS)

    def call(self, container: str) -> float:
        """Microseconds of a call between two slots, with what its phones register meanwhile."""
        phones = [(number, self.passwords[f"slot_{number}"]) for number in range(7001, 7021)]
        with Load([f"{self.host.address}:{PORTS[container]}"], phones, calls=6, hold=(1, 1.5)) as load:
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

    def _wire(self, port: int) -> Wire:
        wire = Wire(self.host.address)
        wire.socket.connect((self.host.address, port))
        return wire

    def forget(self, container: str) -> None:
        """Each proxy has read the bindings that the other one has written: a slot begins with none."""
        for number, wire in enumerate(self.wires[container], 6001):
            user, headers = f"slot_{number}", ("Contact: *", "Expires: 0")
            assert wire.register(user, self.passwords[user], headers=headers, contact=False) == 200

    def register(self, container: str, times: int) -> None:
        """Slots 6001 to 6004, all at once."""

        def register(number: int, wire: Wire) -> None:
            for _ in range(times):
                assert wire.register(f"slot_{number}", self.passwords[f"slot_{number}"]) == 200

        threads = [threading.Thread(target=register, args=one) for one in enumerate(self.wires[container], 6001)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def main() -> None:
    """Print each round, the medians, and the median of what each round was in relation to the one before it."""
    bench = Bench(Lab(sys.argv[1]), Path(sys.argv[2]))
    for what, rounds in (("registration", REGISTRATION_ROUNDS), ("call", CALL_ROUNDS)):
        seen: dict[str, list[float]] = {BEFORE: [], NOW: []}
        for container in seen:
            bench.forget(container)
        for container in seen:
            bench.register(container, 1)  # what is remembered of a slot is remembered
        for number in range(rounds):
            # Neither is always the second one, which the machine may favour.
            for container in list(seen) if number % 2 else reversed(seen):
                seen[container].append(getattr(bench, what)(container))
        for container, values in seen.items():
            print(f"{what}, {container}: " + " ".join(f"{value:.0f}" for value in values) + " us")
        before, now = (statistics.median(values) for values in seen.values())
        ratio = statistics.median(new / old for old, new in zip(*seen.values(), strict=True))
        print(f"{what}: {before:.0f} us before, {now:.0f} us now, ratio of a round {ratio:.3f}", flush=True)
    for container in PORTS:
        bench.at_rest(container)
    bench.host.exec("docker", "compose", "-p", "before", "-f", "/opt/vss/before.yml", "down", "--volumes", timeout=60)
    bench.host.exec("rm", "-r", "/opt/vss/before", "/opt/vss/before.yml")


if __name__ == "__main__":
    main()
