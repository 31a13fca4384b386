"""Opens a lab host to SSH: our key for root and for the user that the inventory names, and the port that it names."""

import time

from sipstack.errors import OperatorError
from sipstack.lab.machine import BOOT_SECONDS, LabHost
from sipstack.lab.wiring import Wiring

# $1 our key, $2 the user.
ADMIT = """
id "$2" >/dev/null 2>&1 || useradd --create-home --shell /bin/bash "$2" || exit
home=$(getent passwd "$2" | cut -d: -f6)
mkdir -p -m 700 "$home/.ssh"
file=$home/.ssh/authorized_keys
grep -qxF "$1" "$file" 2>/dev/null || echo "$1" >> "$file"
chown -R "$2": "$home/.ssh"
[ "$2" = root ] || echo "$2 ALL=(ALL) NOPASSWD: ALL" > /etc/sudoers.d/lab-user
"""
# $1 the port; the lab itself keeps using 22.
LISTEN = """
file=/etc/ssh/sshd_config.d/lab-port.conf
wanted=$(printf 'Port 22\\nPort %s' "$1")
[ "$wanted" = "$(cat $file 2>/dev/null)" ] && exit
echo "$wanted" > $file
until systemctl restart ssh; do sleep 0.2; done
"""


def admit(host: LabHost, key: str, wiring: Wiring) -> list[str]:
    """Let our public key into the host; return the host's public keys, `type base64`, read past the network.

    OperatorError if the host does not boot, or refuses the user or the port.
    """
    _await_systemd(host)
    for user in dict.fromkeys(["root", wiring.ssh_user]):
        host.exec("sh", "-c", ADMIT, "admit", key, user)
    if wiring.ssh_port != 22:
        host.exec("sh", "-c", LISTEN, "listen", str(wiring.ssh_port), timeout=BOOT_SECONDS)
    keys = host.exec("sh", "-c", "cat /etc/ssh/ssh_host_*_key.pub").stdout.splitlines()
    return [" ".join(line.split()[:2]) for line in keys]


def _await_systemd(host: LabHost) -> None:
    # The start script makes the host keys before it becomes systemd.
    deadline = time.monotonic() + BOOT_SECONDS
    while host.exec("cat", "/proc/1/comm", check=False).stdout.strip() != "systemd":
        if time.monotonic() > deadline:
            raise OperatorError(f"{host.name}: systemd did not start; see `docker logs {host.container}`")
        time.sleep(0.1)
