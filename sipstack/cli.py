"""The command `sipstack`: what pyinfra has no word for."""

import argparse
import sys
from collections.abc import Sequence

from sipstack import demo
from sipstack.errors import OperatorError
from sipstack.lab import cli as lab
from sipstack.rehearsal import cli as rehearsal


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb. An operator's mistake is one line on stderr and exit code 1."""
    parser = argparse.ArgumentParser(prog="sipstack", description="What pyinfra has no word for.")
    verbs = parser.add_subparsers(metavar="VERB", required=True)

    add = verbs.add_parser("demo", help="one throw-away host on this machine, deployed and proved")
    add.set_defaults(func=lambda args: demo.run())

    add = verbs.add_parser("verify", help="prove a deployed inventory with real calls")
    _about_hosts(add)
    add.set_defaults(func=_verify)

    add = verbs.add_parser("status", help="a fleet at a glance: release, health, bindings, calls, gateways, drift")
    _about_hosts(add)
    add.set_defaults(func=_status)

    add = verbs.add_parser("rollback", help="go back to a release that is still on the hosts, proxy by proxy")
    _about_hosts(add)
    add.add_argument("--to", default="", metavar="RELEASE", help="beginning of its name (default: the one before)")
    add.set_defaults(func=_rollback)

    add = verbs.add_parser("releases", help="what the hosts have run, since when and by whom, and what can come back")
    _about_hosts(add)
    add.set_defaults(func=_releases)

    add = verbs.add_parser("bans", help="whom the proxies do not hear any more, and how to end that")
    add.add_argument("inventory", help="such as inventories/prod.py")
    add.add_argument("--lift", default="", metavar="WHO", help="an address, user@address, or all")
    add.set_defaults(func=_bans)

    add = verbs.add_parser("passwords", help="print number,password of every slot, for the phones")
    add.add_argument("inventory", help="such as inventories/prod.py")
    add.add_argument("--renew", action="append", default=[], metavar="NUMBER", help="give this slot another one")
    add.set_defaults(func=_passwords)

    add = verbs.add_parser("state", help="share what only this machine knows of a fleet, encrypted")
    verb = add.add_subparsers(metavar="VERB", required=True)
    one = verb.add_parser("seal", help="write it beside the inventory, for the public keys of a file")
    one.add_argument("inventory", help="such as inventories/prod.py")
    one.add_argument("keys", help="a file of age or SSH public keys, one a line")
    one.set_defaults(func=_seal)
    one = verb.add_parser("open", help="take it over from beside the inventory")
    one.add_argument("inventory", help="such as inventories/prod.py")
    one.set_defaults(func=_open)

    rehearsal.add_command(verbs)
    lab.add_commands(verbs)
    # What follows -- is a command, with options of its own, which argparse would take for ours.
    words = list(sys.argv[1:] if argv is None else argv)
    cut = words.index("--") if "--" in words else len(words)
    args = parser.parse_args(words[:cut])
    if (command := words[cut + 1 :]) and args.func is not rehearsal.main:
        parser.error("only `sipstack rehearse` runs a command")
    args.command = command
    try:
        return int(args.func(args))
    except OperatorError as error:
        print(f"sipstack: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _about_hosts(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("inventory", help="such as inventories/prod.py")
    parser.add_argument("--limit", action="append", default=[], metavar="PATTERN", help="only these hosts or groups")


def _status(args: argparse.Namespace) -> int:
    from sipstack import status

    return status.main(args.inventory, args.limit)


def _rollback(args: argparse.Namespace) -> int:
    from sipstack import go_back

    return go_back.main(args.inventory, args.to, args.limit)


def _releases(args: argparse.Namespace) -> int:
    from sipstack import releases

    return releases.main(args.inventory, args.limit)


def _verify(args: argparse.Namespace) -> int:
    from sipstack import verify

    return verify.main(args.inventory, args.limit)


def _bans(args: argparse.Namespace) -> int:
    from sipstack import bans

    return bans.main(args.inventory, args.lift)


def _passwords(args: argparse.Namespace) -> int:
    from sipstack import passwords

    return passwords.renew(args.inventory, args.renew) if args.renew else passwords.main(args.inventory)


def _seal(args: argparse.Namespace) -> int:
    from sipstack import share

    return share.seal(args.inventory, args.keys)


def _open(args: argparse.Namespace) -> int:
    from sipstack import share

    return share.unseal(args.inventory)
