"""A port of a host is reached through SSH: a real sshd on loopback, plain threads and a real pyinfra run.

The sshd is that of a lab host's image, on this machine's network: nothing is installed that would listen afterwards.
"""

import hashlib
import os
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import paramiko
import pytest

from sipstack.errors import OperatorError
from sipstack.lab.engine import ensure_engine
from sipstack.lab.image import ensure_host_image
from sipstack.lab.shell import ensure_command
from sipstack.tunnel import forward, transport_of
from tests.unit.postgres import throwaway_postgres

TEN_MB = 10_000_000
RUN_LIMIT_S = 90


@contextmanager
def sshd(folder: Path, *options: str) -> Iterator[tuple[int, Path]]:
    """An sshd of our own; gives its port and the key with which root may log in."""
    ensure_command("ssh-keygen", "openssh-client")
    ensure_engine()
    image = ensure_host_image()
    folder.mkdir(mode=0o700)
    for key in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key], check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = folder / "config"
    config.write_text(
        "\n".join(
            [
                f"Port {port}",
                "ListenAddress 127.0.0.1",
                f"HostKey {folder}/host",
                f"AuthorizedKeysFile {folder}/user.pub",
                "PidFile none",
                "StrictModes no",
                "PermitRootLogin yes",
                *options,
            ]
        )
    )
    # Where sshd locks its child up; the package's service makes it.
    start = f"mkdir -p /run/sshd && exec /usr/sbin/sshd -D -e -f {config}"
    container = ["docker", "run", "--rm", "--network", "host", "-v", f"{folder}:{folder}:ro", "--entrypoint", "sh"]
    server = subprocess.Popen([*container, image, "-c", start], stderr=subprocess.PIPE, text=True)
    try:
        assert server.stderr is not None
        for line in server.stderr:
            if "Server listening" in line:
                break
        else:
            raise RuntimeError("sshd does not start")
        threading.Thread(target=server.stderr.read, daemon=True).start()
        yield port, folder / "user"
    finally:
        server.terminate()
        server.wait()


@contextmanager
def logged_in(port: int, key: Path) -> Iterator[paramiko.Transport]:
    with paramiko.SSHClient() as client:
        client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
        client.connect("127.0.0.1", port, "root", key_filename=str(key), look_for_keys=False)
        transport = client.get_transport()
        assert transport is not None
        yield transport


@pytest.fixture(scope="module")
def ssh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    with sshd(tmp_path_factory.mktemp("ssh") / "sshd") as server:
        yield server


@pytest.fixture
def transport(ssh: tuple[int, Path]) -> Iterator[paramiko.Transport]:
    with logged_in(*ssh) as transport:
        yield transport


@contextmanager
def service(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """A TCP server on loopback; gives its port."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            answer(self.request)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@contextmanager
def through(transport: paramiko.Transport, answer: Callable[[socket.socket], None]) -> Iterator[socket.socket]:
    """A connection through the tunnel to a server of its own."""
    with (
        service(answer) as port,
        forward(transport, "127.0.0.1", port) as address,
        socket.create_connection(address, timeout=20) as connection,
    ):
        yield connection


def read_all(connection: socket.socket) -> bytes:
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


def send_all(connection: socket.socket, content: bytes) -> None:
    connection.sendall(content)
    connection.shutdown(socket.SHUT_WR)


def digest_of_all(connection: socket.socket) -> None:
    """Answers only when the client has said its last."""
    connection.sendall(hashlib.sha256(read_all(connection)).hexdigest().encode())


def echo(connection: socket.socket) -> None:
    while data := connection.recv(65536):
        connection.sendall(data)


def test_bytes_arrive_whole_and_the_end_of_each_direction_by_itself(transport: paramiko.Transport) -> None:
    content = os.urandom(TEN_MB)
    with through(transport, digest_of_all) as connection:
        send_all(connection, content)
        assert read_all(connection).decode() == hashlib.sha256(content).hexdigest()


def test_the_far_end_may_talk_much_and_hang_up_first(transport: paramiko.Transport) -> None:
    content = os.urandom(TEN_MB)
    with through(transport, lambda connection: connection.sendall(content)) as connection:
        assert read_all(connection) == content


def test_connections_at_the_same_time_do_not_mix(transport: paramiko.Transport) -> None:
    with service(echo) as port, forward(transport, "127.0.0.1", port) as address:

        def talk(number: int) -> bool:
            content = bytes([number]) * 300_000
            with socket.create_connection(address, timeout=20) as connection:
                threading.Thread(target=send_all, args=(connection, content)).start()
                return read_all(connection) == content

        with ThreadPoolExecutor(6) as pool:
            assert all(pool.map(talk, range(6)))


def test_afterwards_nothing_listens_and_no_thread_is_left(transport: paramiko.Transport) -> None:
    with service(echo) as port:
        with forward(transport, "127.0.0.1", port) as address:
            idle = socket.create_connection(address, timeout=20)
            idle.sendall(b"x")
            assert idle.recv(1) == b"x"
            assert len(forwarding_threads()) == 3
        assert forwarding_threads() == []
        assert idle.recv(1) == b""
        idle.close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address, timeout=20)
        assert transport.is_active()


def forwarding_threads() -> list[str]:
    names = ("_accept", "_send", "_receive")
    return [thread.name for thread in threading.enumerate() if any(f"({name})" in thread.name for name in names)]


def test_it_listens_on_loopback_only(transport: paramiko.Transport) -> None:
    with service(echo) as port, forward(transport, "127.0.0.1", port) as (host, _):
        assert host == "127.0.0.1"


def test_a_port_where_nothing_listens_is_said_at_once(transport: paramiko.Transport) -> None:
    with service(echo) as port:
        pass
    with pytest.raises(OperatorError, match=f"127.0.0.1:{port}: nothing answers"):
        forward(transport, "127.0.0.1", port).__enter__()


def test_an_sshd_that_does_not_forward_is_said(tmp_path: Path) -> None:
    with (
        sshd(tmp_path / "sshd", "AllowTcpForwarding no") as server,
        logged_in(*server) as transport,
        service(echo) as port,
        pytest.raises(OperatorError, match="AllowTcpForwarding yes"),
    ):
        forward(transport, "127.0.0.1", port).__enter__()


def test_a_connection_that_is_gone_is_said(transport: paramiko.Transport) -> None:
    with service(echo) as port, forward(transport, "127.0.0.1", port) as address:
        with socket.create_connection(address, timeout=20) as connection:
            transport.close()
            assert connection.recv(1) == b""
        with pytest.raises(OperatorError, match="SSH connection to its host is gone"):
            forward(transport, "127.0.0.1", port).__enter__()


def test_without_ssh_the_address_is_used_as_it_is() -> None:
    with forward(None, "127.0.0.1", 5432) as address:
        assert address == ("127.0.0.1", 5432)


# Written to the inventory's folder and run by pyinfra's own command line, which patches the standard library.
DEPLOY = """
from pathlib import Path
import psycopg
from pyinfra import host
from pyinfra.operations import python
from sipstack.tunnel import forward, transport_of

def copy():
    with forward(transport_of(host), "127.0.0.1", host.data.database_port) as (address, port):
        with psycopg.connect(host=address, port=port, user="postgres", dbname="postgres",
                             password=host.data.database_password, connect_timeout=20) as conn:
            with conn.cursor().copy("COPY received (host, line) FROM STDIN") as copy:
                for number in range(100_000):
                    copy.write_row((host.name, f"{number:0100d}"))
            mine = "COPY (SELECT line FROM received WHERE host = %s) TO STDOUT"
            with conn.cursor().copy(mine, (host.name,)) as copy:
                received = sum(len(block) for block in copy)
    tunnelled = port != host.data.database_port
    Path(host.data.answer).write_text(f"{received} tunnelled={tunnelled}")

python.call(name="Copy", function=copy)
"""


@pytest.mark.parametrize("connector", ["ssh", "local"])
def test_psycopg_copies_ten_megabytes_both_ways_inside_pyinfra(
    ssh: tuple[int, Path], tmp_path: Path, connector: str
) -> None:
    """Over SSH on three hosts at the same time, which are one here."""
    port, key = ssh
    names = [f"host{number}" for number in range(3)] if connector == "ssh" else ["@local"]
    with throwaway_postgres() as postgres, postgres.connect() as conn:
        conn.execute("CREATE TABLE received (host text, line text)")
        login = {
            "ssh_hostname": "127.0.0.1",
            "ssh_port": port,
            "ssh_user": "root",
            "ssh_key": str(key),
            "ssh_known_hosts_file": str(tmp_path / "known_hosts"),
            "ssh_strict_host_key_checking": "accept-new",
            "database_port": postgres.port,
            "database_password": postgres.password,
        }
        hosts = [(name, login | {"answer": str(tmp_path / name)}) for name in names]
        (tmp_path / "inventory.py").write_text(f"hosts = {hosts!r}\n")
        (tmp_path / "known_hosts").touch()
        (tmp_path / "deploy.py").write_text(DEPLOY)
        run = subprocess.run(
            [sys.executable, "-m", "pyinfra", "-y", "inventory.py", "deploy.py"],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
            capture_output=True,
            text=True,
            timeout=RUN_LIMIT_S,
        )
        assert run.returncode == 0, run.stdout + run.stderr
        assert conn.execute(
            "SELECT host, count(*), sum(length(line)) FROM received GROUP BY 1 ORDER BY 1"
        ).fetchall() == [(name, 100_000, TEN_MB) for name in names]
        answer = f"{TEN_MB + 100_000} tunnelled={connector == 'ssh'}"
        assert [(tmp_path / name).read_text() for name in names] == [answer] * len(names)


def test_other_connectors_are_refused() -> None:
    """A container's localhost is not ours."""
    from pyinfra.api.config import Config
    from pyinfra.api.inventory import Inventory
    from pyinfra.api.state import State

    inventory = Inventory((["@docker/debian:stable-slim", "@local"], {}))  # type: ignore[no-untyped-call]
    State(inventory, Config())  # type: ignore[no-untyped-call]
    with pytest.raises(OperatorError, match="only @ssh and @local"):
        transport_of(inventory.get_host("@docker/debian:stable-slim"))
    assert transport_of(inventory.get_host("@local")) is None
