"""One host of the inventory, and what it must know of the others: addresses, roles, secrets."""

import hashlib
import zlib
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property

from sipstack import certificate
from sipstack.database.gateways import Gateway
from sipstack.errors import OperatorError
from sipstack.facts.fleet import Mark
from sipstack.memory import shared_mb
from sipstack.numbering import NumberingPlan, Slot
from sipstack.secrets import SecretStore
from sipstack.settings import Settings, endpoint

# In the order in which they are brought up.
ROLES = ("databases", "media", "pbx", "proxies")
DATABASE_PASSWORDS = ("postgres_password", "postgres_owner_password", "postgres_admin_password")
SECRETS = ("auth_secret", "digest_key", *DATABASE_PASSWORDS, "postgres_tls")
LOOPBACK = "127.0.0.1"
# Sets in table dispatcher.
GATEWAY_SET = 1
PROXY_SET = 2
# Asterisk reads them all as it starts.
MAILBOXES = 1000


@dataclass(frozen=True)
class Database:
    """Where PostgreSQL is, as one host sees it."""

    host: str
    port: int
    external: bool
    # Addresses of the proxies that are on other hosts: they, and only they, come over the network.
    remote_peers: tuple[str, ...]

    @property
    def over_network(self) -> bool:
        """Whether this host reaches our own server over the network: then by TLS only."""
        return not self.external and self.host != LOOPBACK


@dataclass(frozen=True)
class Member:
    """A host as the inventory has it."""

    name: str
    address: str
    roles: frozenset[str]
    # All groups of the inventory that it is in, roles among them.
    groups: frozenset[str] = frozenset()

    @property
    def server_id(self) -> int:
        """Kamailio's server_id of a host: stays with it when others come and go."""
        return zlib.crc32(self.name.encode()) % 2_000_000_000 + 1

    @property
    def schema(self) -> str:
        """The schema of the database that holds what only this proxy reads and writes."""
        return f"proxy_{self.server_id}"

    @property
    def trial_schema(self) -> str:
        """The schema of a release that is tried on this proxy, for the time of the trial."""
        return f"trial_{self.server_id}"


@dataclass(frozen=True, eq=False)
class Node:
    """What one host is to be. Made once a run, before anything changes; everything else takes it from here."""

    me: Member
    members: tuple[Member, ...]
    settings: Settings
    secrets: SecretStore = field(repr=False)
    plan: NumberingPlan
    # Every slot and the two probe users, each with its password.
    slots: tuple[Slot, ...] = field(repr=False)

    @property
    def name(self) -> str:
        return self.me.name

    @property
    def address(self) -> str:
        return self.me.address

    def has(self, role: str) -> bool:
        return role in self.me.roles

    def with_role(self, role: str) -> list[Member]:
        return [member for member in self.members if role in member.roles]

    def secret(self, name: str) -> str:
        return self.secrets.get(name)

    def sealed(self, name: str) -> str:
        """A secret where only its digest is needed: hexadecimal, so it needs no quoting anywhere."""
        return hashlib.sha256(self.secret(name).encode()).hexdigest()

    @property
    def mark(self) -> Mark:
        """What tells this fleet from others. The key is hashed: a mark says nothing of a secret."""
        state = hashlib.sha256(f"vss fleet {self.secret('digest_key')}".encode()).hexdigest()[:16]
        return Mark(state, self.secrets.name, self.settings.sip_domain, self.settings.sip_port)

    def database_secret(self, name: str) -> str:
        """A database password: the operator's where the server is the operator's, else generated once."""
        return self.secrets.get(name, generate=None) if self.settings.postgres_host else self.secret(name)

    def postgres_tls(self) -> tuple[bytes, bytes]:
        """Key and certificate of PostgreSQL, in PEM."""
        return certificate.split(self.secrets.get("postgres_tls", certificate.generate))

    def all_secrets(self) -> list[str]:
        """Every secret that there is, each as it stands in files: to look for it where it should not be."""
        values = []
        for name in ("auth_secret", "digest_key", *DATABASE_PASSWORDS):
            with suppress(OperatorError):
                values.append(self.secrets.get(name, generate=None))
        with suppress(OperatorError):
            key = certificate.split(self.secrets.get("postgres_tls", generate=None))[0].decode()
            values += [line for line in key.splitlines() if not line.startswith("-----")]
        return [*values, self.sealed("auth_secret"), *(slot.password for slot in self.slots if slot.password)]

    @property
    def shared_mb(self) -> int:
        """The shared memory of the proxy on this host, MB. Raises OperatorError if the settings cannot suffice."""
        return shared_mb(self.settings, len(self.slots))

    def check_secrets(self) -> None:
        """Find out now whether a secret that this host needs is missing or unusable. Raises OperatorError."""
        self.secret("digest_key")
        if self.has("proxies"):
            self.secret("auth_secret")
            self.database_secret("postgres_password")
        if self.provisions_database:
            self.database_secret("postgres_password")
            self.database_secret("postgres_owner_password")
        if self.database.over_network or self.database.remote_peers:
            self.postgres_tls()
        if self.has("databases") or (self.provisions_database and self.settings.postgres_admin):
            self.database_secret("postgres_admin_password")

    @property
    def provisions_database(self) -> bool:
        """Whether the database is set up through this host: the one that has it, else the first proxy."""
        through = self.with_role("databases") or self.with_role("proxies")
        return bool(through) and through[0].name == self.name

    @property
    def database_connections(self) -> int:
        """How many PostgreSQL has to take.

        Every Kamailio process keeps one: its workers for UDP and as many for TCP, and some that serve others. Each
        proxy is there twice while a release is tried beside the one that runs.
        """
        return 60 + 2 * len(self.proxies) * (2 * self.settings.kamailio_children + 40)

    @property
    def proxy_schemas(self) -> list[str]:
        return [proxy.schema for proxy in self.with_role("proxies")]

    @cached_property
    def proxies(self) -> list[str]:
        return [member.address for member in self.with_role("proxies")]

    @property
    def peers(self) -> list[Member]:
        """The other proxies."""
        return [proxy for proxy in self.with_role("proxies") if proxy.name != self.name]

    # --- who listens where: on loopback while all who ask are on the same host --------------------------

    def _bind(self, member: Member) -> str:
        others = [proxy for proxy in self.with_role("proxies") if proxy.name != member.name]
        return member.address if others else LOOPBACK

    @property
    def rtpengine_bind(self) -> str:
        return self._bind(self.me)

    @property
    def media_seconds(self) -> int:
        """How long rtpengine keeps a call without media: until the call is ended for that, or else for its length."""
        return self.settings.call_silence_seconds or self.settings.call_max_seconds + 60

    @property
    def gateway_bind(self) -> str:
        return self._gateway_bind(self.me)

    def _gateway_bind(self, member: Member) -> str:
        # A provider cannot reach loopback.
        return member.address if self.settings.asterisk_provider else self._bind(member)

    @property
    def probe_address(self) -> str:
        """Where phones on this host call from: not from a gateway's address, which need not authenticate.

        Their RTP comes from the host's own one: an rtpengine elsewhere has to reach it.
        """
        own_gateway = self.has("pbx") and self.gateway_bind == self.address
        return LOOPBACK if own_gateway else self.address

    @cached_property
    def database(self) -> Database:
        settings = self.settings
        if settings.postgres_host:
            return Database(settings.postgres_host, settings.postgres_port, True, ())
        server = self.with_role("databases")[0]
        host = LOOPBACK if server.name == self.name else server.address
        peers = tuple(proxy.address for proxy in self.with_role("proxies") if proxy.name != server.name)
        return Database(host, settings.postgres_port, False, peers)

    @cached_property
    def rtpengines(self) -> list[str]:
        """As Kamailio's rtpengine_sock wants them; the host's own first."""
        members = sorted(self.with_role("media"), key=lambda member: member.name != self.name)
        own = [f"udp:{self._bind(member)}:{self.settings.rtpengine_port}" for member in members]
        return own + [f"udp:{given}" for given in self.settings.rtpengines]

    @cached_property
    def gateways(self) -> list[Gateway]:
        own = [
            Gateway(
                GATEWAY_SET, f"sip:{self._gateway_bind(member)}:{self.settings.asterisk_port}", 0, 0, "", member.name
            )
            for member in self.with_role("pbx")
        ]
        given = [Gateway(GATEWAY_SET, f"sip:{address}", 0, 0, "", "settings") for address in self.settings.gateways]
        return own + given

    @cached_property
    def destinations(self) -> list[Gateway]:
        """What the proxies ask for signs of life: table dispatcher."""
        proxies = [
            Gateway(PROXY_SET, f"sip:{proxy.address}:{self.settings.sip_port}", 0, 0, "", proxy.name)
            for proxy in self.with_role("proxies")
        ]
        return self.gateways + proxies

    @cached_property
    def own_addresses(self) -> dict[str, str]:
        """Address -> name of each machine of this system that is given by address, but for gateways, which come and go
        without a restart. No phone is there."""
        outside = [endpoint(value)[0] for value in self.settings.rtpengines] + [self.settings.postgres_host]
        addresses = {host: "settings" for host in outside if host.replace(".", "").isdigit()}
        return addresses | {member.address: member.name for member in self.members}

    # --- numbers ---------------------------------------------------------------------------------------

    @property
    def slot_pattern(self) -> str:
        """Regular expression of every number that belongs to a slot: first digits and lengths of the plan."""
        parts = [f"[{digits}][0-9]{{{length - 1}}}" for length, digits in self._slot_shapes()]
        return f"^({'|'.join(parts)})$"

    @property
    def slot_extensions(self) -> list[str]:
        """The same as patterns of Asterisk's dial plan, without their underscore."""
        return [f"[{digits}]{'X' * (length - 1)}" for length, digits in self._slot_shapes()]

    @property
    def mailboxes(self) -> list[int]:
        """Numbers that have a mailbox in the demo's Asterisk: of each range of the plan the first MAILBOXES."""
        ranges = [numbers for kind in self.plan.ranges.values() for numbers in kind]
        return [
            number
            for numbers in ranges
            for number in range(numbers.first, min(numbers.last, numbers.first + MAILBOXES - 1) + 1)
        ]

    def _slot_shapes(self) -> list[tuple[int, str]]:
        """Length of slots' numbers -> the first digits that they may have."""
        shapes: dict[int, set[str]] = {}
        for ranges in self.plan.ranges.values():
            for numbers in ranges:
                first, last = str(numbers.first), str(numbers.last)
                for length in range(len(first), len(last) + 1):
                    low = first[0] if length == len(first) else "1"
                    high = last[0] if length == len(last) else "9"
                    shapes.setdefault(length, set()).update(map(str, range(int(low), int(high) + 1)))
        return [(length, "".join(sorted(digits))) for length, digits in sorted(shapes.items())]
