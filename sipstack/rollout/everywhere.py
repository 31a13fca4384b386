"""Every proxy of the fleet at once, also those that --limit leaves out."""

from concurrent.futures import ThreadPoolExecutor

from pyinfra.api.host import Host

from sipstack.errors import OperatorError
from sipstack.reach import reach
from sipstack.rollout.shell import COMMAND_SECONDS, Answer, run

# One that is not up yet reads everything when it starts.
_UNLESS_UP = "[ -z \"$(docker ps -q --filter name='^vss-kamailio$' --filter health=healthy)\" ]"


def on_proxies(host: Host, command: str, seconds: int = COMMAND_SECONDS) -> dict[str, Answer]:
    """Run a shell command on the host of every proxy that serves; what each said, by host.

    host: any host of the run. A proxy that cannot be reached has an Answer that is not ok.
    """

    def ask(proxy: Host) -> Answer:
        try:
            reach(proxy, "for what every proxy has to know")
        except OperatorError as error:
            return Answer(False, str(error), unreachable=True)
        return run(proxy, f"{_UNLESS_UP} || {{ {command}; }}", seconds=seconds)

    proxies = [proxy for proxy in host.state.inventory if "proxies" in proxy.groups]
    with ThreadPoolExecutor(max_workers=len(proxies) or 1) as pool:
        return dict(zip((proxy.name for proxy in proxies), pool.map(ask, proxies), strict=True))
