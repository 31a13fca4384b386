"""`make demo`: a fresh host on this machine, deployed by the command operators use, and proved with calls."""

import subprocess
import sys
import time
from pathlib import Path

from sipstack import inventory, verify
from sipstack.errors import OperatorError
from sipstack.lab.hosts import Lab
from sipstack.paths import COMPOSE_FILE, HOME, ROOT

INVENTORY = "inventories/lab.py"


def run() -> int:
    """Bring up, deploy, verify, and say what is there now. Raises OperatorError when a step fails."""
    begun = time.monotonic()
    print("== A fresh Debian 13 host", flush=True)
    host = Lab().up(["sip1"])[0]
    print(f"== Deploy: pyinfra {INVENTORY} deploy.py", flush=True)
    # The command that operators use, not a way of our own into the deploy.
    deploy = subprocess.run([Path(sys.executable).parent / "pyinfra", INVENTORY, "deploy.py", "-y"], cwd=ROOT)
    if deploy.returncode:
        raise OperatorError("the deploy failed, see above; `make demo` again goes on from there")
    print("== Verify: real registrations and calls", flush=True)
    if failed := verify.main(INVENTORY, []):
        return failed
    print(_what_now(host.address, time.monotonic() - begun))
    return 0


def _what_now(address: str, seconds: float) -> str:
    node = inventory.load(INVENTORY).hosts[0].node
    settings = node.settings
    probes = node.plan.probe_numbers()
    one, other, *_ = (slot for slot in node.slots if slot.number not in probes)
    return f"""
A SIP service runs on sip1, {address}. It took {seconds:.0f} s to deploy and prove it.

  phones       SIP server {address}, port {settings.sip_port}, UDP or TCP, domain {settings.sip_domain}
               user {one.username}, password {one.password}
               user {other.username}, password {other.password}
               all {len(node.slots) - 2} slots: .venv/bin/sipstack passwords {INVENTORY}
  call         {other.number} another slot   9002 echo   9004 the time   +1234567890 the far end, a tone
  look inside  ssh -F .state/lab/ssh_config sip1
               docker compose -f {HOME}/{COMPOSE_FILE} ps
               docker exec vss-kamailio kamcmd ul.show
  change it    group_data/lab.py (as in group_data/all.py), then .venv/bin/pyinfra {INVENTORY} deploy.py
  prove it     make verify INVENTORY={INVENTORY}
  remove it    .venv/bin/sipstack lab down   (make clean removes every lab of this machine)
"""
