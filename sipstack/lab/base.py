"""The Debian base image: reused, else pulled, else bootstrapped from the Debian mirror without a registry."""

import subprocess

from sipstack.errors import OperatorError
from sipstack.lab.shell import as_root, ensure_command, run

TAG = "sipstack-lab/debian:trixie"
UPSTREAM = "debian:trixie-slim"
PULL_SECONDS = 60
BOOTSTRAP_SECONDS = 900


def ensure_base_image() -> str:
    """Return the tag of a local Debian 13 image, making it if it is absent.

    OperatorError when there is neither a registry nor a Debian mirror.
    """
    if has_image(TAG):
        return TAG
    if not has_image(UPSTREAM):
        print(f"pulling {UPSTREAM}", flush=True)
        run(["docker", "pull", "--quiet", UPSTREAM], timeout=PULL_SECONDS, check=False)
    if has_image(UPSTREAM):
        run(["docker", "tag", UPSTREAM, TAG])
    else:
        _bootstrap()
    return TAG


def has_image(tag: str) -> bool:
    """Whether the engine has an image of this tag."""
    return run(["docker", "image", "inspect", tag], check=False).returncode == 0


def _bootstrap() -> None:
    print("no registry answers: bootstrapping Debian 13 with mmdebstrap (half a minute)", flush=True)
    ensure_command("mmdebstrap", "mmdebstrap", "debian-archive-keyring")
    # Named only when whole: a bootstrap that was cut short must not be reused.
    incomplete = f"{TAG}-incomplete"
    try:
        _stream_into(incomplete)
        run(["docker", "tag", incomplete, TAG])
    finally:
        run(["docker", "rmi", incomplete], check=False)


def _stream_into(tag: str) -> None:
    # As root, mmdebstrap needs no user namespaces, which containers and hardened kernels forbid.
    argv = as_root(["mmdebstrap", "--variant=minbase", "--quiet", "trixie"])
    pipe = subprocess.PIPE
    bootstrap = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe)
    imported = subprocess.Popen(
        ["docker", "import", "-", tag],
        stdin=bootstrap.stdout,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert bootstrap.stdout is not None
    bootstrap.stdout.close()  # the importer holds the only reading end, so its death ends the bootstrap
    try:
        _, complaint = bootstrap.communicate(timeout=BOOTSTRAP_SECONDS)
        _, refusal = imported.communicate(timeout=BOOTSTRAP_SECONDS)
    except subprocess.TimeoutExpired:
        bootstrap.kill()
        imported.kill()
        raise OperatorError(
            f"mmdebstrap did not finish within {BOOTSTRAP_SECONDS} s; is a Debian mirror reachable?"
        ) from None
    if bootstrap.returncode != 0:
        raise OperatorError(f"mmdebstrap failed: {_last_line(complaint)}; is a Debian mirror reachable?")
    if imported.returncode != 0:
        raise OperatorError(f"docker import failed: {_last_line(refusal)}")


def _last_line(output: bytes) -> str:
    lines = output.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "no message"
