"""Whatever lab is up: the hosts that `sipstack lab up` made. SIPSTACK_LAB names another lab than `lab`."""

import json as _json
import os as _os

from pyinfra.api.exceptions import PyinfraError as _PyinfraError

from sipstack.lab.state import LabState as _LabState

_lab = _os.environ.get("SIPSTACK_LAB", "lab")
_folder = _LabState(_lab).folder
if not (_folder / "hosts.json").exists():
    raise _PyinfraError(f"no lab {_lab!r} is up; run `make demo` or `sipstack lab up --name {_lab}`")
_known = _json.loads((_folder / "hosts.json").read_text())


def _group(name: str) -> list[tuple[str, dict[str, str]]]:
    return [
        (
            host,
            {
                "address": _known["hosts"][host],
                "state": _folder.name,
                "ssh_hostname": _known["hosts"][host],
                "ssh_user": "root",
                "ssh_key": str(_folder / "id_ed25519"),
                "ssh_known_hosts_file": str(_folder / "known_hosts"),
                "ssh_strict_host_key_checking": "yes",
            },
        )
        for host in _known["groups"][name]
    ]


databases = _group("databases")
media = _group("media")
pbx = _group("pbx")
proxies = _group("proxies")
