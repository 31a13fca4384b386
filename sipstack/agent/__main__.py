"""`python3 -m agent selftest`, `watch`, `gateway` or `load`; `selftest` and `load` take an order, JSON on stdin.

selftest  {"proxy": "address:port", "domain": …, "phones": [[number, user, password], [number, user, password]],
           "outside": number, "echo": whether it gives our sound back, "local": own address (optional),
           "media": own address for RTP (optional), "numbers": others that have to lead somewhere (optional)}
load      sipstack/agent/load.py has it
"""

import argparse
import asyncio
import json
import sys

from .gateway import call_gateway
from .load import load
from .message import place_of
from .selftest import selftest
from .stop import read_order
from .watch import watch


def main() -> int:
    """Run one command; 0: all went well, 1: something failed, 2: the order is wrong."""
    parser = argparse.ArgumentParser(prog="agent", description="A SIP phone that proves a system.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("selftest", help="prove a system with two of its phones; the order is JSON on standard input")
    commands.add_parser("load", help="keep calls up until it is told to stop; the order is JSON on standard input")
    watching = commands.add_parser("watch", help="measure the longest silence of a proxy until it is told to stop")
    watching.add_argument("proxy", metavar="ADDRESS:PORT")
    watching.add_argument("--seconds", type=float, metavar="N", help="after which it ends without being told")
    watching.add_argument("--journal", action="store_true", help="changes nothing: only the result is ever printed")
    calling = commands.add_parser("gateway", help="call a number through a gateway, as a proxy would")
    calling.add_argument("gateway", metavar="ADDRESS:PORT")
    calling.add_argument("number")
    calling.add_argument("domain")
    calling.add_argument("--local", default="", metavar="ADDRESS", help="where to call from")
    arguments = parser.parse_args()
    if arguments.command == "watch":
        print(json.dumps(asyncio.run(watch(place_of(arguments.proxy), arguments.seconds))), flush=True)
        return 0
    if arguments.command == "gateway":
        place = place_of(arguments.gateway)
        fault = asyncio.run(call_gateway(place, arguments.number, arguments.domain, arguments.local))
        print(fault or "answered", flush=True)
        return 1 if fault else 0
    try:
        order = read_order(sys.stdin)
        return asyncio.run(load(order) if arguments.command == "load" else selftest(order))
    except (KeyError, ValueError, TypeError) as error:
        print(f"the order is wrong: {error!r}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
