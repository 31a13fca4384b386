"""What is wrong with a host that runs, in words: beyond its containers, what its proxy sees and what is running out."""

from sipstack import certificate
from sipstack.facts.firewall import FirewallState
from sipstack.facts.vitals import Vitals
from sipstack.facts.watch import WatchState
from sipstack.firewall import FORGETTER, SERVICE
from sipstack.node import Node
from sipstack.watch import services

# Per cent. While a disk is full, records are lost and no container starts; memory that is full costs calls.
DISK_FULL, MEMORY_FULL = 90, 85
# Seconds. Nonces, bans and records of several hosts are compared.
CLOCK_APART = 3.0
CERTIFICATE_DAYS = 30
DAY = 86400


def host_faults(vitals: Vitals, here: float) -> list[str]:
    """What any host can have. here: this machine's clock while the host was asked, seconds since the epoch."""
    faults = []
    for disk in vitals.disks:
        if max(disk.used, disk.inodes) >= DISK_FULL:
            what = "room" if disk.used >= disk.inodes else "inodes"
            faults.append(f"disk {disk.path} is full to {max(disk.used, disk.inodes)} % ({what}): make room")
    if vitals.now is not None and abs(vitals.now - here) > CLOCK_APART:
        faults.append(f"its clock is {vitals.now - here:+.0f} s from this machine's: see chrony or systemd-timesyncd")
    return faults


def proxy_faults(vitals: Vitals, node: Node) -> list[str]:
    """What a proxy can have."""
    faults = []
    if vitals.cut_off:
        faults.append(
            "PostgreSQL is silent or slow, the watch keeps the proxy from it: journalctl -u vss-database-watch"
        )
    elif vitals.database:
        faults.append(f"the proxy cannot ask PostgreSQL: {vitals.database}")
    elif vitals.database is None:
        faults.append("the proxy cannot be asked about its database")
    if vitals.memory and vitals.memory[0] * 100 >= vitals.memory[1] * MEMORY_FULL:
        used, of = (octets // 2**20 for octets in vitals.memory)
        faults.append(f"shared memory is full to {used * 100 // of} % ({used} of {of} MB): see kamailio_shm_mb")
    for peer in node.peers:
        if (status := vitals.peers.get(peer.address, "unknown")) != "active":
            port = f"{node.settings.proxy_peer_port}/udp"
            faults.append(f"proxy {peer.name} does not answer it (DMQ: {status}): see port {port} on both")
    if node.database.over_network and vitals.now is not None:
        days = (certificate.ends(node.postgres_tls()[1]) - vitals.now) / DAY
        if days < CERTIFICATE_DAYS:
            faults.append(f"the certificate of PostgreSQL ends in {days:.0f} days: give another postgres_tls")
    return faults


def guard_faults(firewall: FirewallState, watch: WatchState, node: Node) -> list[str]:
    """What keeps strangers out, and a silent database from holding the proxy up: whether it runs."""
    faults = []
    if firewall.files and not (firewall.loaded and firewall.enabled):
        state = "is not in force" if not firewall.loaded else "would not come back after a reboot, or forgets no call"
        faults.append(f"the firewall {state}: systemctl restart {SERVICE} {FORGETTER}, or deploy again")
    if missing := [unit for unit in services(node) if unit not in watch.active & watch.enabled]:
        faults.append(f"{', '.join(missing)} does not run: systemctl enable --now {' '.join(missing)}")
    return faults
