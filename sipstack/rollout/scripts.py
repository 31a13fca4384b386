"""What is done on the host itself, in one piece: a run that is killed must not leave it half done."""

import shlex

from sipstack.oci import in_proxy
from sipstack.paths import COMPOSE_FILE, HOME

# The compose file that is in force has a well-known name.
LINK = f"{HOME}/{COMPOSE_FILE}"
# Every release that was put in force, the newest last; which configuration of the proxy has proved itself.
HISTORY_FILE = f"{HOME}/history"
PROVED_FILE = f"{HOME}/proved"
HISTORY = f"cat {HISTORY_FILE} 2>/dev/null || true"
# The release in force, if its proxy runs.
SERVED = f"[ -z \"$(docker ps -q --filter name='^vss-kamailio$')\" ] || readlink {LINK} | cut -d/ -f2"
_BINDINGS, _CALLS = in_proxy("kamcmd stats.fetch usrloc.location_contacts"), in_proxy("kamcmd dlg.stats_active")
COUNT = (
    f"echo bindings $({_BINDINGS} | sed -n 's/.*location_contacts: *//p');"
    f"echo calls $({_CALLS} | sed -n 's/.*ongoing: *//p')"
)
# How long a call that comes in during the last moments is left to its phone, which repeats it. Seconds; longer than a
# switch, shorter than what a phone waits for (RFC 3261 section 17.1.1.2, timer B).
HOLD_SECONDS = 8
# Most calls are answered or refused within this; only if some still ring then, new ones are refused. Seconds.
QUIET_SECONDS = 2

_DRAIN = """
set -u
k() {kamcmd}
for_seconds() {{ k cfg.set_now_int config "$1" $(($(date +%s) + $2)) >/dev/null; }}
unanswered() {{ k dlg.stats_active | awk '$1 ~ /starting|connecting|answering/ {{ n += $2 }} END {{ print n + 0 }}'; }}
quiet_within() {{
    local until=$((SECONDS + $1))
    while (($(unanswered))); do
        ((SECONDS < until)) || return 1
        sleep 0.1
    done
}}
for_seconds hold_until {hold}
if ! quiet_within {quiet}; then
    for_seconds refuse_until $(({patience} + {hold}))
    for_seconds hold_until 0
    quiet_within {patience}
    # What came in between the last look and now may still be answered.
    for_seconds hold_until {hold}
    quiet_within {quiet}
fi
echo "unanswered $(unanswered)"
"""

# Output goes to a file: a connection that breaks must not end this with SIGPIPE.
_SWITCH = """
exec 9>/run/lock/vss-switch && flock 9
old=$(readlink {link} | cut -d/ -f2)
into_force() {{ {into_force}; }}
up() {{ docker compose --progress quiet -f {link} up -d --wait --wait-timeout {seconds} kamailio; }}
into_force {target}
{first}
up && exit 0
echo "the last lines of its log:"
docker logs --tail 12 vss-kamailio
[ -z "$old" ] || [ "$old" = {target} ] || {{ into_force "$old"; up; }}
exit 1
"""


def into_force(name: str) -> str:
    """Make the well-known name lead to a release's compose file, and remember it. name may be a shell variable."""
    # A rename replaces the old link in one step.
    link = f"ln -sfn releases/{name}/{COMPOSE_FILE} {LINK}.new && mv -T {LINK}.new {LINK}"
    # Hosts that were deployed before there was a history: what they run is its beginning.
    begin = f"[ -s {HISTORY_FILE} ] || readlink {LINK} | cut -d/ -f2 >>{HISTORY_FILE}"
    return f"{begin}; {link} && echo {name} >>{HISTORY_FILE}"


def drain(patience: int) -> str:
    """Let no new call begin and wait until none is unanswered, `patience` seconds at most; prints how many are."""
    script = _DRAIN.format(kamcmd=in_proxy('kamcmd "$@"'), hold=HOLD_SECONDS, quiet=QUIET_SECONDS, patience=patience)
    return f"bash -c {shlex.quote(script)}"


def switch(name: str, seconds: int, replace: bool = False) -> str:
    """Put a release of this host in force and start its proxy; if it is not healthy in time, what was there before.

    seconds: how long each of the two may take. replace: remove the container first.
    """
    first = f"docker compose --progress quiet -f {LINK} rm --stop --force kamailio" if replace else ""
    script = _SWITCH.format(link=LINK, into_force=into_force("$1"), target=name, seconds=seconds, first=first)
    log = f"{HOME}/switch.log"
    return f"setsid -w bash -c {shlex.quote(script)} >{log} 2>&1 </dev/null; status=$?; cat {log}; exit $status"


def forget(name: str) -> str:
    """Take a release out of the history: `sipstack rollback` is not to go to it."""
    return f"sed -i '/^{name}$/d' {HISTORY_FILE}"


def note_proved(digest: str) -> str:
    """Remember that the proxy of that digest has proved itself."""
    return f"echo {digest} >{PROVED_FILE}"
