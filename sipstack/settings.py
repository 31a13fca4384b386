"""What group_data may say: one typed field a key, with meaning and bounds. The defaults: group_data/all.py."""

import difflib
import ipaddress
import re
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator
from pyinfra.api.arguments import all_argument_meta
from pyinfra.connectors.ssh import SSHConnector

from sipstack.errors import OperatorError
from sipstack.paths import ROOT

# Keys that belong to the inventory or to pyinfra's connectors, not to this collection.
HOST_KEYS = ("address", "state")
CONNECTOR_PREFIXES = ("docker_", "podman_", "chroot_", "local_")
# What pyinfra itself reads: a name of this kind that it does not know is a typing mistake, and would pass unseen.
PYINFRA_KEYS = frozenset((*SSHConnector.data_cls.__annotations__, *all_argument_meta))

Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[int, Field(ge=1, le=86400)]
SlotItems = list[int | str]

# What all hosts of an inventory must agree on, by the beginning of the key: one host reads what another one does.
SHARED = (
    *("sip_", "proxy_peer_port", "slot", "postgres_", "rtpengine", "gateways"),
    *("asterisk_port", "asterisk_provider", "secrets_file", "limit_", "ban_", "trusted_"),
)

ENDPOINT = re.compile(r"(?P<host>[A-Za-z0-9.-]+):(?P<port>[0-9]{1,5})")
# What a host name or domain is made of (RFC 1123 §2.1); nothing that would need quoting in Kamailio or SQL.
NAME = r"^[A-Za-z0-9]([A-Za-z0-9.-]{0,188}[A-Za-z0-9])?$"
IDENTIFIER = r"^[a-z_][a-z0-9_]{0,62}$"
OPTIONAL_IDENTIFIER = r"^([a-z_][a-z0-9_]{0,62})?$"
IMAGE = r"^[a-z0-9][a-z0-9._/:-]*$"
TELEPHONE_NUMBER = r"^[+]?[0-9]{1,15}$"
MEMORY = r"^(none|[1-9][0-9]*[kmg])?$"
# A pattern of numbers is written into Kamailio's configuration between double quotes, and is read there as a POSIX
# extended expression (regcomp(3)): neither quotes, backslashes nor Python's (?...) have a place in it.
NUMBER_PATTERN = re.compile(r"[][0-9A-Za-z+*.,?^$(){}|_-]+")


class Settings(BaseModel):
    """Every setting of one host. Immutable; made by `parse`."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    sip_domain: str = Field(pattern=NAME, description="SIP domain and digest realm of the platform")
    sip_port: Port = Field(description="UDP and TCP port of the proxies")
    sip_allow_move: bool = Field(description="allow a run that changes sip_domain or sip_port under the phones")
    proxy_peer_port: Port = Field(description="UDP port on which the proxies tell each other their bindings")

    slot_numbers_auto: str = Field(description="numbers that kind AUTO may use")
    slot_numbers_mf: str = Field(description="numbers that kind MF may use")
    slot_numbers_ls: str = Field(description="numbers that kind LS may use")
    slots_auto: SlotItems = Field(description="AUTO slots that exist: numbers and ranges")
    slots_mf: SlotItems = Field(description="MF slots that exist")
    slots_ls: SlotItems = Field(description="LS slots that exist")
    slots_csv: str = Field(description="CSV file with more slots, columns number,password")
    slots_allow_mass_removal: bool = Field(description="allow a run that removes more than half of the slots")
    slots_allow_new_passwords: bool = Field(
        description="allow a run that gives slots other passwords without knowing the ones that they have"
    )

    register_default_seconds: Seconds = Field(description="expiry of a binding whose phone asks for none")
    register_min_seconds: Seconds = Field(description="shortest expiry that is granted")
    register_max_seconds: Seconds = Field(description="longest expiry that is granted")
    register_max_contacts: int = Field(
        ge=1, le=100, description="bindings that one slot may have; a new one takes the place of the oldest"
    )
    register_account_refreshes: bool = Field(description="account each refresh of a binding, not only changes")

    call_ring_seconds: int = Field(ge=5, le=600, description="how long a phone may ring")
    call_max_seconds: int = Field(ge=60, le=86400, description="a call longer than this is hung up")
    call_silence_seconds: int = Field(
        ge=0, le=86400, description="a call without RTP and RTCP of either side for so long is hung up; 0: never"
    )
    call_outside_pattern: str = Field(description="regular expression of the numbers that Asterisk is asked for")
    call_premium_pattern: str = Field(description="regular expression of those that nobody may call; empty: none")
    call_max_at_once: int = Field(ge=1, le=1000, description="calls that one slot may place at once")
    call_max_outside_a_day: int = Field(
        ge=0,
        le=1_000_000,
        description="calls outside that one slot may make on a day (UTC); unanswered ones do not count",
    )
    limit_requests_a_second: int = Field(
        ge=10, le=100_000, description="messages of an address, UDP and TCP apart; more are dropped"
    )
    limit_strangers_a_minute: int = Field(
        ge=5,
        le=100_000,
        description="unanswered challenges, where no phone of ours is; then only what is sent again",
    )
    limit_failures_a_minute: int = Field(
        ge=3, le=1000, description="wrong passwords for a slot from one address; then a ban"
    )
    limit_registrations_a_minute: int = Field(ge=5, le=10_000, description="registrations of a slot; more are refused")
    limit_messages_a_minute: int = Field(
        ge=5, le=10_000, description="text messages of a slot, and subscriptions of its lamp; more are refused"
    )
    limit_connections: int = Field(ge=10, le=8000, description="TCP connections of an address; more are refused")
    ban_seconds: int = Field(ge=10, le=30 * 86400, description="how long a ban lasts")
    trusted_networks: list[str] = Field(description="networks that are never banned, as address/bits")

    drain_seconds: int = Field(ge=0, le=600, description="how long a proxy waits for unanswered calls before a restart")
    service_drain_seconds: int = Field(
        ge=0, le=86400, description="how long an rtpengine or Asterisk waits for its calls to end before a restart"
    )
    trial_port: Port = Field(description="SIP port on which a release is tried beside the running one")
    nat_keepalive_seconds: int = Field(ge=5, le=300, description="interval of the OPTIONS to phones behind NAT")

    kamailio_debug: int = Field(ge=0, le=4, description="log level: 0 errors, 1 warnings, 2 notices, 3 info, 4 all")
    kamailio_children: int = Field(ge=1, le=256, description="worker processes per transport")
    kamailio_shm_mb: int = Field(ge=0, le=65536, description="shared memory of a proxy, MB; 0: what the next two need")
    kamailio_bindings: int = Field(
        ge=0, le=10_000_000, description="bindings that a proxy holds, those of the others among them; 0: one a slot"
    )
    kamailio_calls: int = Field(ge=1, le=1_000_000, description="calls at once that a proxy holds")
    kamailio_pkg_mb: int = Field(ge=8, le=1024, description="private memory per process, MB")

    postgres_host: str = Field(description="the operator's own server; empty: the host of group databases")
    postgres_port: Port = Field(description="port of PostgreSQL")
    postgres_db: str = Field(pattern=IDENTIFIER, description="database")
    postgres_user: str = Field(pattern=IDENTIFIER, description="role of the proxies; cannot change the schema")
    postgres_owner: str = Field(pattern=IDENTIFIER, description="role that owns the schema; used by the deploy only")
    postgres_admin: str = Field(pattern=OPTIONAL_IDENTIFIER, description="superuser that creates the roles")

    rtpengines: list[str] = Field(description="rtpengines beside group media, as address:port")
    rtpengine_port: Port = Field(description="control (ng) port of rtpengine")
    rtp_port_min: Port = Field(description="first media port of rtpengine")
    rtp_port_max: Port = Field(description="last media port of rtpengine")
    rtp_open_networks: list[str] = Field(description="networks that may send RTP without being named in the signalling")

    gateways: list[str] = Field(description="gateways beside group pbx, as address:port")
    gateway_answer_ms: int = Field(ge=200, le=10000, description="a gateway silent for longer is passed over, ms")
    asterisk_port: Port = Field(description="SIP port of the demo Asterisk")
    asterisk_rtp_port_min: Port = Field(description="first media port of the demo Asterisk")
    asterisk_rtp_port_max: Port = Field(description="last media port of the demo Asterisk")
    asterisk_provider: str = Field(description="where the demo Asterisk sends external numbers, address:port")

    base_image_source: Literal["auto", "pull", "bootstrap", "archive"] = Field(
        description="where the Debian base image comes from"
    )
    base_image: str = Field(pattern=IMAGE, description="name of the Debian base image")
    base_image_archive: str = Field(description="tar of that image, for base_image_source = archive")
    packages_as_of: str = Field(description="a new date rebuilds the images with today's packages")
    releases_kept: int = Field(ge=2, le=50, description="releases kept on a host, to go back to")
    disk_free_gb: int = Field(ge=1, le=1_000_000, description="a host with less free disk is refused, GB")
    log_mb: int = Field(ge=1, le=10000, description="size at which a log file is rotated, MB")
    log_files: int = Field(ge=1, le=100, description="log files kept")
    firewall_closed: bool = Field(description="only SIP, RTP, SSH and firewall_open_ports are open to the world")
    firewall_open_ports: list[str] = Field(description="what else is open: port/tcp or port/udp, and from where")
    container_memory: str = Field(
        pattern=MEMORY, description="memory limit a container; empty: what it is made for; none: none"
    )
    container_cpus: float = Field(ge=0, le=256, description="CPU limit a container; 0: none")

    verify_external_number: str = Field(
        pattern=TELEPHONE_NUMBER, description="number that `make verify` calls to prove the way outside"
    )

    verify_numbers: list[Annotated[str, Field(pattern=TELEPHONE_NUMBER)]] = Field(
        description="numbers that a proof calls, too: each has to ring, to be answered, or to say that nobody is there"
    )
    verify_setup_ms: int = Field(
        ge=50, le=10_000, description="how long the quickest call of a proof may take to reach its phone, ms"
    )

    secrets_file: str = Field(description="age-encrypted file with the operator's own secrets")

    @field_validator("rtpengines", "gateways")
    @classmethod
    def _endpoints(cls, values: list[str]) -> list[str]:
        for value in values:
            endpoint(value)
        return values

    @field_validator("rtp_open_networks", "trusted_networks")
    @classmethod
    def _networks(cls, values: list[str]) -> list[str]:
        for value in values:
            try:
                ipaddress.IPv4Network(value)
            except ValueError:
                raise ValueError("write address/bits, such as 192.0.2.0/24") from None
        return values

    @field_validator("firewall_open_ports")
    @classmethod
    def _open_ports(cls, values: list[str]) -> list[str]:
        for value in values:
            open_port(value)
        return values

    @field_validator("asterisk_provider")
    @classmethod
    def _provider(cls, value: str) -> str:
        if value and not endpoint(value)[0].replace(".", "").isdigit():
            raise ValueError("write an address, the firewall knows no names, such as 192.0.2.10:5060")
        return value

    @field_validator("postgres_host")
    @classmethod
    def _host(cls, value: str) -> str:
        if value and not _is_host(value):
            raise ValueError("write an address or a host name, without a port")
        return value

    @field_validator("call_outside_pattern", "call_premium_pattern")
    @classmethod
    def _pattern(cls, value: str, info: ValidationInfo) -> str:
        if not value and info.field_name == "call_premium_pattern":
            return value
        if not NUMBER_PATTERN.fullmatch(value) or "(?" in value:
            raise ValueError("write a POSIX regular expression of numbers, without quotes, spaces and backslashes")
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"write a regular expression: {error}") from None
        return value

    @field_validator("packages_as_of")
    @classmethod
    def _date(cls, value: str) -> str:
        try:
            plain = date.fromisoformat(value).isoformat()
        except ValueError:
            plain = ""
        if value != plain:
            raise ValueError("write a date, such as 2026-11-23")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> "Settings":
        for low, high in (
            ("rtp_port_min", "rtp_port_max"),
            ("asterisk_rtp_port_min", "asterisk_rtp_port_max"),
            ("register_min_seconds", "register_default_seconds"),
            ("register_default_seconds", "register_max_seconds"),
        ):
            if getattr(self, low) > getattr(self, high):
                raise ValueError(f"{low} is {getattr(self, low)}, more than {high} ({getattr(self, high)}): change one")
        if (self.base_image_source == "archive") != bool(self.base_image_archive):
            raise ValueError("base_image_archive goes with base_image_source = 'archive': set both or neither")
        if self.base_image_archive and not (ROOT / self.base_image_archive).is_file():
            raise ValueError(f"base_image_archive = {self.base_image_archive!r}: no such file: correct the path")
        if self.asterisk_rtp_port_min <= self.rtp_port_max and self.rtp_port_min <= self.asterisk_rtp_port_max:
            raise ValueError(
                "rtp_port_min-rtp_port_max overlaps asterisk_rtp_port_min-asterisk_rtp_port_max: move one of them"
            )
        for low, high in (("rtp_port_min", "rtp_port_max"), ("asterisk_rtp_port_min", "asterisk_rtp_port_max")):
            for key in ("sip_port", "trial_port", "proxy_peer_port", "rtpengine_port", "asterisk_port"):
                if getattr(self, low) <= getattr(self, key) <= getattr(self, high):
                    raise ValueError(f"{key} is {getattr(self, key)}, which {low}-{high} contains: move one of them")
        keys = ("sip_port", "trial_port", "proxy_peer_port", "rtpengine_port", "asterisk_port", "postgres_port")
        ports = {key: getattr(self, key) for key in keys}
        for key, port in ports.items():
            if list(ports.values()).count(port) > 1:
                raise ValueError(f"{key} is {port}, and so is another port: give each service a port of its own")
        people = (self.postgres_user, self.postgres_owner, self.postgres_admin)
        if len(set(people)) < len(people):
            raise ValueError("postgres_user, postgres_owner and postgres_admin must differ: rename one of them")
        return self

    @property
    def csv_path(self) -> Path | None:
        """The file of setting slots_csv; relative names are beside deploy.py."""
        return ROOT / self.slots_csv if self.slots_csv else None

    @property
    def secrets_path(self) -> Path | None:
        """The file of setting secrets_file; relative names are beside deploy.py."""
        return ROOT / self.secrets_file if self.secrets_file else None


def endpoint(value: str) -> tuple[str, int]:
    """Split `address:port`. Raises ValueError, which pydantic turns into an error that names the key."""
    match = ENDPOINT.fullmatch(value)
    if not match or not _is_host(match["host"]) or not 1 <= int(match["port"]) <= 65535:
        raise ValueError(f"{value!r} is not address:port: write it as 192.0.2.10:5060")
    return match["host"], int(match["port"])


def open_port(value: str) -> tuple[str, str, str]:
    """Split an entry of firewall_open_ports into transport, port or range, and network ("": everybody).

    Raises ValueError, which pydantic turns into an error that names the key.
    """
    ports, _, rest = value.partition("/")
    transport, _, source = rest.partition(" ")
    bounds = [int(bit) if bit.isdigit() else 0 for bit in ports.split("-")]
    fits = len(bounds) <= 2 and bounds == sorted(bounds) and bounds[0] >= 1 and bounds[-1] <= 65535
    if not fits or transport not in ("tcp", "udp"):
        raise ValueError(f"{value!r}: write a port such as '9100/tcp', or '9100/tcp 192.0.2.0/24'")
    return transport, ports, str(ipaddress.ip_network(source)) if source else ""


def parse(data: Mapping[str, Any]) -> Settings:
    """Turn the data of one host into settings.

    Raises OperatorError with every mistake in one line: unknown, missing, badly typed, out of bounds.
    """
    ours = {key: value for key, value in data.items() if not _foreign(key)}
    try:
        return Settings.model_validate(ours)
    except ValidationError as error:
        # A value that may have several types has a fault for each of them: one line says it all.
        raise OperatorError("; ".join(dict.fromkeys(_explain(fault) for fault in error.errors()))) from None


def shared(settings: Settings) -> dict[str, object]:
    """What must be the same on all hosts of an inventory."""
    return {key: value for key, value in settings if key.startswith(SHARED)}


def _is_host(value: str) -> bool:
    """Whether a text is an IPv4 address, or a name that cannot be mistaken for one (RFC 1123 section 2.1)."""
    if value.replace(".", "").isdigit():
        try:
            ipaddress.IPv4Address(value)
        except ValueError:
            return False
        return True
    return bool(re.fullmatch(NAME, value)) and ".." not in value


def _foreign(key: str) -> bool:
    return key in HOST_KEYS or key in PYINFRA_KEYS or key.startswith(CONNECTOR_PREFIXES)


def _explain(fault: Any) -> str:
    """One fault in the words of somebody who writes group_data."""
    key = str(fault["loc"][0]) if fault["loc"] else ""
    if fault["type"] == "extra_forbidden":
        # Its value is not shown: it may be a secret in the wrong place.
        if any(word in key for word in ("password", "secret")):
            return f"unknown setting {key}: secrets are no settings: remove it and set SIPSTACK_SECRET_{key.upper()}"
        close = difflib.get_close_matches(key, [*Settings.model_fields, *HOST_KEYS, *PYINFRA_KEYS], n=1)
        return f"unknown setting {key}: " + (f"did you mean {close[0]}?" if close else "remove it")
    if fault["type"] == "missing":
        return f"setting {key} is missing: group_data/all.py has its default"
    if not key:
        return str(fault["msg"]).removeprefix("Value error, ")
    where, value = f"{key} = {fault['input']!r}", fault["input"]
    if len(fault["loc"]) > 1:  # an element of a list
        where = f"{key}, element {fault['loc'][1] + 1} ({value!r})"
    return f"{where}: {_what_to_write(fault, key)} ({Settings.model_fields[key].description})"


def _what_to_write(fault: Any, key: str) -> str:
    context = fault.get("ctx", {})
    match fault["type"]:
        case "value_error":
            return str(context["error"])
        case "greater_than_equal":
            return f"write {context['ge']} or more"
        case "less_than_equal":
            return f"write {context['le']} or less"
        case "literal_error":
            return f"write {context['expected']}"
        case "string_pattern_mismatch":
            return _PATTERN_WORDS[context["pattern"]]
        case "int_type" | "string_type" if key.startswith("slots_") and len(fault["loc"]) > 1:
            return "write a number or a range, such as 6050 or '6001-6010'"
        case kind if kind in _TYPE_WORDS:
            return _TYPE_WORDS[kind]
    return str(fault["msg"]).lower()


_PATTERN_WORDS = {
    NAME: "write a host name or domain, such as vss.internal",
    IDENTIFIER: "write small letters, digits and _, a letter first",
    OPTIONAL_IDENTIFIER: "write small letters, digits and _, a letter first, or nothing",
    IMAGE: "write the name of an image, such as debian:trixie-slim",
    TELEPHONE_NUMBER: "write a number to call, such as '9002', in quotes",
    MEMORY: "write an amount of memory, such as '512m' or '1g', or none, or nothing",
}
_TYPE_WORDS = {
    "int_type": "write a whole number, without quotes",
    "int_from_float": "write a whole number",
    "float_type": "write a number, without quotes",
    "finite_number": "write a number",
    "string_type": "write a text in quotes",
    "bool_type": "write True or False",
    "list_type": "write a list in brackets, such as []",
}
