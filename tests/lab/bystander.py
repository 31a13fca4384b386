"""Somebody at another address who sends RTP to every media port, and who looks whether it arrives at a phone."""

import subprocess
import sys
from types import TracebackType
from typing import Self

from sipstack.lab.namespaces import Namespace

# What the attacker's packets carry; nobody else sends it.
MARK = b"not of this call"
# Sends RTP to the ports that it is told, round and round; an empty line ends it. Prints what it has sent and received.
SPRAY = """
import select, socket, struct, sys, time
relay, mark, pace = sys.argv[1], bytes.fromhex(sys.argv[2]), float(sys.argv[3])
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setblocking(False)
ports, number, received = [], 0, 0
print("ready", flush=True)
while True:
    if select.select([sys.stdin], [], [], 0 if ports else None)[0]:
        line = sys.stdin.readline().split()
        if not line:
            break
        low, high = map(int, line)
        ports = list(range(low, high + 1))
    for port in ports:
        header = struct.pack("!BBHII", 0x80, 0, number & 0xFFFF, number * 160 & 0xFFFFFFFF, 0xBAD)
        s.sendto(header + mark * 10, (relay, port))
        number += 1
        if not number % 100:
            time.sleep(100 / pace)
        while select.select([s], [], [], 0)[0]:
            received += len(s.recv(2000)) > 0
print(number, received)
"""
# Counts the packets with the mark until its input ends.
LOOK = """
import select, socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
mark, found = bytes.fromhex(sys.argv[1]), 0
print("ready", flush=True)
while True:
    ready = select.select([s, sys.stdin], [], [])[0]
    if s in ready:
        found += mark in s.recv(4000)
    elif sys.stdin in ready:
        break
print(found)
"""


class _Script:
    """A script in a namespace that is told things, and prints a line of numbers at its end; a context manager."""

    def __init__(self, place: Namespace, script: str, *arguments: str) -> None:
        self._argv = [*place.exec_prefix, sys.executable, "-c", script, *arguments]

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout and self._process.stdout.readline() == "ready\n"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def tell(self, text: str) -> None:
        assert self._process.stdin
        print(text, file=self._process.stdin, flush=True)

    def end(self) -> list[int]:
        return [int(word) for word in self._process.communicate("\n", timeout=30)[0].split()]


class Attacker(_Script):
    """Sends to media ports. packets a second: shared by all ports that it is told."""

    def __init__(self, place: Namespace, relay: str, packets: int = 20_000) -> None:
        super().__init__(place, SPRAY, relay, MARK.hex(), str(packets))

    def attack(self, low: int, high: int) -> None:
        """From now on these ports."""
        self.tell(f"{low} {high}")


class Onlooker(_Script):
    """Sees every packet of a phone's machine."""

    def __init__(self, place: Namespace) -> None:
        super().__init__(place, LOOK, MARK.hex())
