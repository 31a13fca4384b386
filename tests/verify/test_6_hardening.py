"""What a security engineer asks of each container and host: what it may do, what it shows, and who reaches it."""

import re
from collections.abc import Iterator

from sipstack.facts.firewall import Firewall, SshPorts
from sipstack.firewall import media, rules
from sipstack.images import all_images
from sipstack.operations.firewall import is_in_force
from sipstack.paths import HOME
from tests.verify.server import NotServed, Part, Server

# A shorter one may stand anywhere by chance.
SECRET_LENGTH = 12
# The kernel's words for no capability at all (capabilities(7)).
NOTHING = "0000000000000000"
# Folders of the host that would be a way out of a container.
WAYS_OUT = re.compile(r"^/$|^/(etc|proc|sys|dev|root|boot|usr|home)(/|$)|docker\.sock|containerd\.sock|^/(var/)?run$")
# The oldest build of Debian 13 in which what is known to be open to strangers is closed.
# CVE-2026-39863: a Content-Length beyond 32 bits over TCP.
FLOORS = {"kamailio": {"kamailio": "6.0.1-1+deb13u2"}}


def test_not_root(part: Part) -> None:
    users = set(part.server.run(f"docker top {part.container} -eo uid,pid").split()[2::2])
    assert "0" not in users, f"{part} has processes of root: its image needs USER, build it again"


def test_nothing_to_write_to(part: Part) -> None:
    config = part.inspected["HostConfig"]
    assert config["ReadonlyRootfs"], f"{part}: its root file system can be written to: deploy again"


def test_no_capabilities(part: Part) -> None:
    """Neither now nor by a program that would give them."""
    assert not part.inspected["HostConfig"]["Privileged"], f"{part} is privileged: deploy again"
    status = process_status(part)
    for kind in ("CapEff", "CapPrm", "CapBnd", "CapAmb"):
        assert status[kind] == NOTHING, f"{part} has capabilities ({kind} {status[kind]}): deploy again"
    assert status["NoNewPrivs"] == "1", f"{part}: a program of it may gain privileges: deploy again"


def test_limits(part: Part) -> None:
    """Of memory and processes, where its host can keep them."""
    config = part.inspected["HostConfig"]
    can = part.server.run("docker info -f '{{.MemoryLimit}} {{.PidsLimit}}'").split()
    if can[0] == "true" and part.server.node.settings.container_memory != "none":
        assert config["Memory"], f"{part} has no memory limit: set container_memory, or deploy again"
    if can[1] == "true":
        assert (config["PidsLimit"] or 0) > 0, f"{part} may start any number of processes: deploy again"


def test_no_way_out(part: Part) -> None:
    """No socket of the engine, no folder of the system, no name space of the host but its network."""
    config = part.inspected["HostConfig"]
    shared = [kind for kind in ("PidMode", "IpcMode", "UTSMode", "UsernsMode") if config[kind] == "host"]
    assert not shared, f"{part} shares the host's {', '.join(shared)}: deploy again"
    assert not config["Devices"], f"{part} has devices of the host: deploy again"
    mounts = [mount["Source"] for mount in part.inspected["Mounts"] if mount["Type"] == "bind"]
    out = sorted(source for source in mounts if WAYS_OUT.search(source))
    assert not out, f"{part} has {', '.join(out)} of the host: deploy again"


def test_no_secret_to_be_seen(part: Part) -> None:
    """Not in what the engine tells of it, nor in its command lines, its image's history and its log."""
    container = part.container
    places = {
        "environment, labels and command": f"docker inspect {container}",
        "image history": f"docker history --no-trunc $(docker inspect -f '{{{{.Image}}}}' {container})",
        "command lines": f"docker top {container} -eo pid,args",
        "log": f"docker logs {container} 2>&1",
        "log files": f"docker exec {container} sh -c 'cat /var/log/kamailio/* 2>/dev/null || true'",
    }
    for place, command in places.items():
        if place == "log files" and part.name != "kamailio":
            continue
        # What is looked for comes by standard input: a command line is for everyone to see.
        look = f"cat | {{ {{ {command} </dev/null; }} | grep -cF -f /dev/fd/3; }} 3<&0 || true"
        found = part.server.run(look, secrets(part.server)).strip()
        assert found == "0", (
            f"{part}: a secret is in its {place}: give the system another one, and say where it came from"
        )


def test_image_is_what_it_says(part: Part) -> None:
    """The tag names what it is made of, and the container runs just that; what was fixed in Debian is fixed in it."""
    wanted = all_images(part.server.node.settings)[part.name].tag
    assert part.inspected["Config"]["Image"] == wanted, f"{part} is not of image {wanted}: deploy again"
    tagged = part.server.run(f"docker image inspect -f '{{{{.Id}}}}' {wanted}").strip()
    assert part.inspected["Image"] == tagged, f"{part}: tag {wanted} was given to another image: deploy again"
    for package, floor in FLOORS.get(part.name, {}).items():
        version = part.run("dpkg-query", "-W", "-f", "${Version}", package).strip()
        try:
            part.run("dpkg", "--compare-versions", version, "ge", floor)
        except NotServed:
            raise AssertionError(
                f"{part} has {package} {version}, holes are closed in {floor}: set packages_as_of to today and deploy"
            ) from None


def test_sockets(part: Part) -> None:
    """It listens where it should, and nowhere else but on loopback. What asks others by UDP has any port of those."""
    pids = set(part.server.run(f"docker top {part.container} -eo pid").split()[1:])
    lines = part.server.run("ss -Hlntup").splitlines()
    allowed = set(expected_sockets(part))
    low, high = map(int, part.server.run("cat /proc/sys/net/ipv4/ip_local_port_range").split())
    for line in lines:
        if not pids & set(re.findall(r"pid=(\d+)", line)):
            continue
        transport, _, _, _, local = line.split()[:5]
        address, _, port = local.rpartition(":")
        asks = transport == "udp" and low <= int(port) <= high
        if not (asks or address.startswith(("127.", "[::1]")) or (transport, int(port)) in allowed):
            raise AssertionError(f"{part} listens on {transport}:{local}, which nobody asks: deploy again")


def test_files_of_secrets(server: Server) -> None:
    """Every file of the deployment in which a secret stands can be read by its owner only."""
    look = f"cat | {{ grep -rlF -f /dev/fd/3 {HOME} </dev/null | xargs -r stat -c '%a %n'; }} 3<&0"
    for line in server.run(look, secrets(server)).splitlines():
        mode, _, path = line.partition(" ")
        assert mode == "400", f"{server.name}: {path} has a secret in it and mode {mode}: deploy again"


def test_firewall(server: Server) -> None:
    """The rules that the inventory and the settings ask for are in force, also after a reboot."""
    ssh_ports = SshPorts().process(server.run(SshPorts().command()).splitlines()) | {server.ssh_port}
    wanted = rules(server.node, ssh_ports)
    state = Firewall().process(server.run(Firewall().command()).splitlines())
    if not wanted:
        assert not state.files, f"{server.name}: a firewall of ours that should be gone is there: deploy again"
        return
    if media(server.node):
        assert state.media, f"{server.name}: RTP is taken from anybody: deploy again, on all proxies at once"
    assert state.loaded, f"{server.name}: the firewall's rules are not in force: deploy again"
    assert is_in_force(state, wanted), f"{server.name}: the firewall is another one than the settings ask for: deploy"


def process_status(part: Part) -> dict[str, str]:
    """What the kernel says of the first process of a container."""
    pid = part.inspected["State"]["Pid"]
    lines = part.server.run(f"cat /proc/{pid}/status").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def expected_sockets(part: Part) -> Iterator[tuple[str, int]]:
    """Transport and port of all that it may have open on the network."""
    settings = part.server.node.settings
    yield from ((listener.transport, listener.port) for listener in part.listeners)
    if part.name == "kamailio":
        yield ("udp", settings.proxy_peer_port)
    if part.name == "rtpengine":
        yield from (("udp", port) for port in range(settings.rtp_port_min, settings.rtp_port_max + 1))
    if part.name == "asterisk":
        yield from (("udp", port) for port in range(settings.asterisk_rtp_port_min, settings.asterisk_rtp_port_max + 1))


def secrets(server: Server) -> str:
    """Everything that nobody may see who looks at this host, a line each."""
    return "".join(f"{value}\n" for value in server.node.all_secrets() if len(value) >= SECRET_LENGTH)
