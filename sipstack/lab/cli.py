"""`sipstack lab …`: bring throw-away hosts up and down."""

import argparse
from typing import Any

from sipstack.lab.engine import engine_answers
from sipstack.lab.hosts import Lab
from sipstack.lab.image import remove_images
from sipstack.lab.shell import run
from sipstack.lab.state import labs_with_hosts


def add_commands(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the `lab` command. Each of its verbs sets `func`, which takes the parsed arguments."""
    lab = subparsers.add_parser("lab", help="throw-away hosts on this machine, to rehearse on")
    verbs = lab.add_subparsers(dest="verb", required=True)

    up = verbs.add_parser("up", help="bring hosts up, and wait until SSH answers")
    up.add_argument("hosts", nargs="*", metavar="HOST", help="host names (default: sip1)")
    up.set_defaults(func=_up)
    down = verbs.add_parser("down", help="remove the lab's hosts, disks, network and files")
    down.set_defaults(func=_down)
    down.add_argument("--all", action="store_true", help="every lab, and the images that labs are made from")
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
    names = _every_lab() if args.all else [args.name]
    for name in names:
        Lab(name).down()
        print(f"lab {name} is down")
    if args.all and engine_answers():
        remove_images()
    return 0


def _every_lab() -> list[str]:
    """The labs that run, and those that left a folder."""
    running: list[str] = []
    if engine_answers():
        label = ["--filter", "label=sipstack.lab", "--format", '{{.Label "sipstack.lab"}}']
        running = run(["docker", "ps", "--all", *label]).stdout.split()
    return sorted({*running, *labs_with_hosts()})


def _status(args: Any) -> int:
    shown = '{{.Label "sipstack.lab"}}\t{{.Names}}\t{{.Status}}'
    hosts = run(["docker", "ps", "--all", "--filter", "label=sipstack.lab", "--format", shown]).stdout
    print(hosts.strip() or "no lab is up")
    return 0
