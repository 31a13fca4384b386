"""Whatever lab is up: SIPSTACK_LAB names one, else it is `lab`, else the only one that is up."""

from pyinfra.api.exceptions import PyinfraError as _PyinfraError

from sipstack.errors import OperatorError as _OperatorError
from sipstack.lab.state import LabState as _LabState
from sipstack.lab.state import current_lab as _current_lab
from sipstack.lab.wiring import Wiring as _Wiring
from sipstack.lab.wiring import as_wirings as _as_wirings

try:
    _state = _LabState(_current_lab())
except _OperatorError as _error:
    raise _PyinfraError(str(_error)) from None
_known = _state.read()
_wirings = _as_wirings(_known["wirings"])


def _group(name: str) -> list[tuple[str, dict[str, str]]]:
    return [
        (
            host,
            {
                # A host that plays a real one serves phones at the address of that one.
                "address": _wirings.get(host, _Wiring()).address(_known["hosts"][host]),
                "state": _state.folder.name,
                "ssh_hostname": _known["hosts"][host],
                "ssh_user": "root",
                "ssh_key": str(_state.key),
                "ssh_known_hosts_file": str(_state.known_hosts),
                "ssh_strict_host_key_checking": "yes",
            },
        )
        for host in _known["groups"][name]
    ]


databases = _group("databases")
media = _group("media")
pbx = _group("pbx")
proxies = _group("proxies")
