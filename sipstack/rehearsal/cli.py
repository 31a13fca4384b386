"""`sipstack rehearse INVENTORY`: the operator's commands, on hosts that only look like the real ones."""

import argparse
import os
import sys
import time
from collections.abc import Sequence

from sipstack.errors import OperatorError
from sipstack.lab.machine import LabHost
from sipstack.paths import ROOT
from sipstack.rehearsal.stage import Rehearsal


def add_command(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb. The caller fills in `args.command`, what follows `--`."""
    add = subparsers.add_parser(
        "rehearse",
        help="play an inventory on throw-away hosts that have its names and addresses",
        usage="sipstack rehearse INVENTORY [--bare | --down | -- COMMAND ...]",
        description="Bring hosts up, deploy, verify, and leave them up. After --: run a command among them.",
    )
    add.add_argument("inventory", metavar="INVENTORY", help="such as inventories/prod.py")
    choice = add.add_mutually_exclusive_group()
    choice.add_argument("--bare", action="store_true", help="only bring the hosts up")
    choice.add_argument("--down", action="store_true", help="only remove what a rehearsal has left")
    add.set_defaults(func=main)


def main(args: argparse.Namespace) -> int:
    """Exit status of what was run. Raises OperatorError when a step fails."""
    rehearsal = Rehearsal(args.inventory)
    if args.command:
        return rehearsal.run(args.command)
    if args.down:
        rehearsal.down()
        print(f"the rehearsal of {args.inventory} is removed")
        return 0
    begun = time.monotonic()
    print(f"== Hosts that play {args.inventory}", flush=True)
    hosts = rehearsal.up()
    print(f"{len(hosts)} up after {time.monotonic() - begun:.0f} s", flush=True)
    if not args.bare:
        _play(rehearsal)
    print(_what_now(rehearsal, hosts))
    return 0


def _play(rehearsal: Rehearsal) -> None:
    """Deploy and verify, by the commands that operators use."""
    inventory = os.path.relpath(rehearsal.plan.inventory, ROOT)
    left = f"the hosts are left up; `sipstack rehearse {rehearsal.inventory} --down` removes them"
    print(f"== Deploy: pyinfra {inventory} deploy.py -y", flush=True)
    if rehearsal.run(["pyinfra", inventory, "deploy.py", "-y"], cwd=ROOT):
        raise OperatorError(f"the deploy failed, see above; {left}")
    print(f"== Verify: sipstack verify {inventory}", flush=True)
    if rehearsal.run([sys.executable, "-m", "sipstack", "verify", inventory], cwd=ROOT):
        raise OperatorError(f"the verification failed, see above; {left}")


def _what_now(rehearsal: Rehearsal, hosts: Sequence[LabHost]) -> str:
    again = f".venv/bin/sipstack rehearse {rehearsal.inventory}"
    shown = "\n".join(
        f"  {host.name:<24} {' '.join(rehearsal.plan.wirings[host.name].addresses) or host.address}" for host in hosts
    )
    return f"""
{rehearsal.inventory} is played by these hosts of this machine; nothing of it has touched the real ones.
{shown}

  look inside   ssh -F {os.path.relpath(rehearsal.lab.state.ssh_config)} {hosts[0].name}
  any command   {again} -- pyinfra {rehearsal.inventory} deploy.py --dry
  remove it     {again} --down   (make clean removes every lab)
"""
