"""`sipstack lab …`: bring throw-away hosts up and down."""

import argparse
from typing import Any

from sipstack.lab.hosts import Lab
from sipstack.lab.shell import run


def add_commands(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the `lab` command. Each of its verbs sets `func`, which takes the parsed arguments."""
    lab = subparsers.add_parser("lab", help="throw-away hosts on this machine, to rehearse on")
    verbs = lab.add_subparsers(dest="verb", required=True)

    up = verbs.add_parser("up", help="bring hosts up, and wait until SSH answers")
    up.add_argument("hosts", nargs="*", metavar="HOST", help="host names (default: sip1)")
    up.set_defaults(func=_up)
    down = verbs.add_parser("down", help="remove the lab's hosts, disks, network and files")
    down.set_defaults(func=_down)
    for verb in (up, down):
        verb.add_argument("--name", default="lab", metavar="LAB", help="which lab (default: lab)")

    status = verbs.add_parser("status", help="show the hosts of all labs")
    status.set_defaults(func=_status)


def _up(args: argparse.Namespace) -> int:
    lab = Lab(args.name)
    for host in lab.up(args.hosts or ["sip1"]):
        print(f"{host.name} {host.address} is up: ssh -F {lab.state.ssh_config} {host.name}")
    return 0


def _down(args: argparse.Namespace) -> int:
    Lab(args.name).down()
    print(f"lab {args.name} is down")
    return 0


def _status(args: Any) -> int:
    shown = '{{.Label "sipstack.lab"}}\t{{.Names}}\t{{.Status}}'
    hosts = run(["docker", "ps", "--all", "--filter", "label=sipstack.lab", "--format", shown]).stdout
    print(hosts.strip() or "no lab is up")
    return 0
