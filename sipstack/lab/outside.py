"""The outside world of a lab: phones with public addresses and phones behind NAT routers."""

import re
from types import TracebackType
from typing import Literal, Self

from sipstack.errors import OperatorError
from sipstack.lab.hosts import Lab
from sipstack.lab.namespaces import (
    Namespace,
    add_namespace,
    addresses_in,
    ip_in,
    namespace_names,
    plug,
    remove_namespace,
    set_address,
    set_sysctl,
)
from sipstack.lab.network import FIRST_OUTSIDE
from sipstack.lab.shell import as_root, ensure_command, run

Nat = Literal["port-restricted", "symmetric"]
# RFC 4787 names what these do. Linux keeps the source port for every destination where it can (section 4.1,
# endpoint-independent in effect); with fully-random each destination sees another port. Both let in only
# answers from an address and port that was written to (section 5).
MASQUERADE: dict[str, str] = {"port-restricted": "masquerade", "symmetric": "masquerade fully-random"}
RULES = """
table ip lab {{
    chain postrouting {{
        type nat hook postrouting priority srcnat;
        oifname "eth0" {masquerade}
    }}
    chain forward {{
        type filter hook forward priority filter; policy drop;
        iifname "lan" accept
        ct state established,related accept
    }}
    chain input {{
        # Dropping here keeps strangers' packets from occupying the ports that a phone's traffic needs.
        type filter hook input priority filter; policy drop;
        iifname {{ "lan", "lo" }} accept
        ct state established,related accept
        icmp type echo-request accept
    }}
}}
"""


class Outside:
    """Machines around a lab, for the time of a `with` block. Needs root, or sudo without a password."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self._made: list[Namespace] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Remove every namespace that this object made."""
        while self._made:
            self._made.pop().close()

    def public(self, name: str) -> Namespace:
        """A machine with an address of the lab's subnet, reachable by the hosts."""
        full = self._new_name(name)
        address = self._connect(full)
        return self._keep(Namespace(full, address, address))

    def isolated(self, name: str) -> Namespace:
        """The same, with no way to anything but the lab; the caller has to close it."""
        full = self._new_name(name)
        address = self._connect(full, routed=False)
        return Namespace(full, address, address)

    def behind_nat(self, name: str, nat: Nat = "port-restricted", udp_timeout: int | None = None) -> Namespace:
        """A machine behind a router of its own, which hides it behind one public address.

        nat: the router's kind. udp_timeout: seconds after which the router forgets a silent UDP flow
        (RFC 4787 section 4.3 asks for two minutes or more, real routers often keep 30 s); None leaves the
        kernel's value.
        """
        if nat not in MASQUERADE:
            raise OperatorError(f"nat {nat!r} is unknown; use one of {', '.join(MASQUERADE)}")
        ensure_command("nft", "nftables")
        phone, router = self._new_name(name), self._new_name(f"{name}-nat")
        public = self._connect(router)
        number = public.rsplit(".", 1)[1]
        inside, gateway = f"10.77.{number}.2", f"10.77.{number}.1"
        try:
            add_namespace(phone)
            ip_in(router, "link", "add", "lan", "type", "veth", "peer", "name", "eth0", "netns", phone)
            set_address(router, "lan", gateway)
            set_address(phone, "eth0", inside)
            ip_in(phone, "route", "add", "default", "via", gateway)
            self._translate(router, nat, udp_timeout)
        except BaseException:
            Namespace(phone, inside, public, router).close()
            raise
        return self._keep(Namespace(phone, inside, public, router))

    def _translate(self, router: str, nat: Nat, udp_timeout: int | None) -> None:
        rules = RULES.format(masquerade=MASQUERADE[nat])
        run(as_root(["ip", "netns", "exec", router, "nft", "-f", "-"]), stdin=rules)
        set_sysctl(router, "net/ipv4/ip_forward", 1)
        # A router that rewrites SIP would hide our faults. Kernels since 6.0 have no such switch and do not.
        set_sysctl(router, "net/netfilter/nf_conntrack_helper", 0, optional=True)
        if udp_timeout is not None:
            set_sysctl(router, "net/netfilter/nf_conntrack_udp_timeout", udp_timeout)
            set_sysctl(router, "net/netfilter/nf_conntrack_udp_timeout_stream", udp_timeout)

    def _new_name(self, name: str) -> str:
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,30}", name):
            raise OperatorError(f"outside name {name!r}: use small letters, digits and hyphens")
        return f"sl-{self.lab.name}-{name}"

    def _connect(self, namespace: str, routed: bool = True) -> str:
        """Make a namespace on the lab's bridge and return its address, the first free one."""
        network = self.lab.network
        others = namespace_names(self.lab.name)
        if namespace in others:
            raise OperatorError(f"namespace {namespace} exists already; close it, or run `sipstack lab down`")
        taken = set().union(*map(addresses_in, others))
        free = (network.address(last) for last in range(FIRST_OUTSIDE, 255))
        address = next((candidate for candidate in free if candidate not in taken), None)
        if address is None:
            raise OperatorError(f"lab {self.lab.name!r} has no address left; close some namespaces")
        try:
            add_namespace(namespace)
            plug(namespace, network.bridge, address, network.gateway if routed else None, self.lab.state.played())
        except BaseException:
            remove_namespace(namespace)
            raise
        return address

    def _keep(self, made: Namespace) -> Namespace:
        self._made.append(made)
        return made
