"""What is done on the host itself, in one piece: a run that is killed must not leave it half done."""

import shlex

from sipstack.oci import in_proxy
from sipstack.paths import COMPOSE_FILE, HOME

# The compose file that is in force has a well-known name.
LINK = f"{HOME}/{COMPOSE_FILE}"
# Every release that was put in force, the newest last (facts/releases.py); which configuration of the proxy has proved
# itself.
HISTORY_FILE = f"{HOME}/history"
PROVED_FILE = f"{HOME}/proved"
HISTORY = f"cut -f 1 {HISTORY_FILE} 2>/dev/null || true"
# The release in force, if its proxy runs.
SERVED = f"[ -z \"$(docker ps -q --filter name='^vss-kamailio$')\" ] || readlink {LINK} | cut -d/ -f2"
_BINDINGS = (
    f"echo bindings $({in_proxy('kamcmd stats.fetch usrloc.location_contacts')} | sed -n 's/.*location_contacts: *//p')"
)
# The Call-IDs of the calls in progress, answered and not over, a line each: module dialog keeps one for a while when it
# has ended. The release before this one has no `rpc`, and tells all that it has.
CALLS = (
    f"{{ {in_proxy('rpc dlg.briefing cSE')} 2>/dev/null | tr '}}' '\\n' |"
    ' sed -n \'s/.*"call-id":"\\(.*\\)","start_ts":[1-9][0-9]*,"end_ts":0$/\\1/p\';'
    f" {in_proxy('test -p /run/kamailio/rpc.fifo')} 2>/dev/null ||"
    f" {in_proxy('kamcmd dlg.briefing')} | sed -n 's/^[ \\t]*call-id: //p'; }} | sort -u"
)
# The calls in progress before a switch, and how many of these are still in progress after it.
_CALLS_BEFORE = "/run/vss-calls"
COUNT_BEFORE = f"{_BINDINGS}; {CALLS} >{_CALLS_BEFORE}; echo calls $(wc -l <{_CALLS_BEFORE})"
COUNT_AFTER = f"{_BINDINGS}; echo calls $({CALLS} | comm -12 - {_CALLS_BEFORE} | wc -l)"
# The verb of the history where a release that did not start was taken back.
FAILED = "back"
# How long a call that comes in during the last moments is left to its phone, which repeats it. Seconds; longer than a
# switch, shorter than what a phone waits for (RFC 3261 section 17.1.1.2, timer B).
HOLD_SECONDS = 8
# Most calls are answered or refused within this; only if some still ring then, new ones are refused. Seconds.
QUIET_SECONDS = 2

# What the scripts below ask of a proxy.
_ASK = f"""
k() {in_proxy('kamcmd "$@"')}
for_seconds() {{ k cfg.set_now_int config "$1" $(($(date +%s) + $2)) >/dev/null; }}
unanswered() {{ k dlg.stats_active | awk '$1 ~ /starting|connecting|answering/ {{ n += $2 }} END {{ print n + 0 }}'; }}
under_way() {{ k tm.stats | awk '/current:/ {{ n += $2 }} /waiting:/ {{ n -= $2 }} END {{ print n + 0 }}'; }}
# Three looks, for a call that was heard a moment ago is not counted until its proxy knows who is calling.
quiet_within() {{
    local until=$((SECONDS + $1)) still=0
    while ((still < 3)); do
        if (($(unanswered))); then still=0; else still=$((still + 1)); fi
        ((SECONDS < until || still)) || return 1
        sleep 0.1
    done
}}
pause() {{
    for_seconds pause_until {HOLD_SECONDS} 2>/dev/null || return 0
    for look in 1 2 3 4 5 6 7 8; do (($(under_way))) || break; sleep 0.05; done
}}
"""

_DRAIN = """
set -u
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
into_force {target} {about}
# Compose needs a moment until it stops what runs.
pause &
{first}
up && exit 0
echo "the last lines of its log:"
docker logs vss-kamailio 2>&1 | grep -v ' INFO: ' | tail -n 12
[ -z "$old" ] || [ "$old" = {target} ] || {{ into_force "$old" {failed}; up; }}
exit 1
"""


def pause() -> str:
    """Let a proxy hear nothing for a moment; what is under way ends first."""
    return _asking(f"for_seconds hold_until {HOLD_SECONDS}; quiet_within {QUIET_SECONDS}; pause")


def hear() -> str:
    """The end of a pause."""
    return _asking("for_seconds pause_until 0; for_seconds hold_until 0")


def _asking(script: str) -> str:
    return f"bash -c {shlex.quote(_ASK + script)}"


# How many calls rtpengine has, as it says itself (ng protocol). Its list of calls would not fit into one answer.
_RTPENGINE_CALLS = """
listen=$(sed -n "s/^listen-ng *= *//p" /etc/rtpengine/vss/rtpengine.conf)
exec 3<>"/dev/udp/${listen%:*}/${listen##*:}"
printf "calls d7:command10:statisticse" >&3
answer=$(timeout 3 dd bs=65536 count=1 status=none <&3 | tr -d "\\0")
[[ $answer =~ sessionstotali([0-9]+)e ]] && echo "${BASH_REMATCH[1]}"
"""
CALLS_OF = {
    "asterisk": "docker exec vss-asterisk asterisk -rx 'core show calls' | awk '/active call/ { print $1 }'",
    "rtpengine": f"docker exec vss-rtpengine bash -c {shlex.quote(_RTPENGINE_CALLS)}",
}


def wait_for_calls(count: str, patience: int) -> str:
    """Wait until `count` prints 0, `patience` seconds at most; prints how many there are then."""
    return (
        f"end=$(($(date +%s) + {patience})); "
        f'while n=$({count}); [ "${{n:-0}}" != 0 ] && [ $(date +%s) -lt $end ]; do sleep 0.5; done; echo "${{n:-0}}"'
    )


def for_a_while(command: str, undo: str, seconds: int) -> str:
    """A kamcmd that is undone by itself: a deploy that dies leaves nothing closed."""
    later = f"sleep {seconds}; kamcmd {undo}"
    return f"{in_proxy(f'kamcmd {command}')} && docker exec -d vss-kamailio sh -c {shlex.quote(later)}"


def service_up(service: str, compose: str, seconds: int, replace: bool) -> str:
    """Start a service from a compose file and wait until it is healthy.

    Just as it is done by hand: with other options Compose would remember another container than a hand's `up` wants.
    """
    first = f"docker compose -f {compose} rm --stop --force {service} && " if replace else ""
    up = f"docker compose -f {compose} up -d --wait --wait-timeout {seconds} {service}"
    # What keeps it from becoming healthy is in its log: the operator reads it here.
    log = f"echo 'the last log lines of vss-{service}:'; docker logs --tail 15 vss-{service} 2>&1"
    return f"{{ {first}{up}; }} 2>&1 || {{ {log}; exit 1; }}"


def service_back(service: str, compose: str, seconds: int) -> str:
    """Start a service from the compose file that is in force, if that is another one; fails if it is not."""
    up = f'docker compose -f "$old" up -d --wait --wait-timeout {seconds} {service} 2>&1'
    return f'old=$(readlink -f {LINK}) && [ -e "$old" ] && [ "$old" != {compose} ] && {up}'


def answers_within(uri: str, seconds: int) -> str:
    """Wait until a proxy takes a gateway for alive; fails if it does not. One that it does not use yet is let pass."""
    entry = f"{in_proxy('kamcmd dispatcher.list')} | grep -A 1 -F 'URI: {uri}'"
    dead = f"state=$({entry}) && ! echo $state | grep -q 'FLAGS: A'"
    return f"end=$(($(date +%s) + {seconds})); while {dead}; do [ $(date +%s) -lt $end ] || exit 1; sleep 0.5; done"


def into_force(name: str, said: str) -> str:
    """Make the well-known name lead to a release's compose file, and remember it.

    name, said (see provenance.about): as a shell reads them.
    """
    # A rename replaces the old link in one step.
    link = f"ln -sfn releases/{name}/{COMPOSE_FILE} {LINK}.new && mv -T {LINK}.new {LINK}"
    # Hosts that were deployed before there was a history: what they run is its beginning.
    begin = f"[ -s {HISTORY_FILE} ] || readlink {LINK} | cut -d/ -f2 >>{HISTORY_FILE}"
    note = f"printf '%s\\t%s\\t%s\\n' {name} $(date -u +%FT%TZ) {said} >>{HISTORY_FILE}"
    return f"{begin}; {link} && {note}"


def drain(patience: int) -> str:
    """Let no new call begin and wait until none is unanswered, `patience` seconds at most; prints how many are."""
    return _asking(_DRAIN.format(hold=HOLD_SECONDS, quiet=QUIET_SECONDS, patience=patience))


def switch(name: str, seconds: int, said: str, replace: bool = False) -> str:
    """Put a release of this host in force and start its proxy; if it is not healthy in time, what was there before.

    seconds: how long each of the two may take. said: what the history is to say of it (provenance.about). replace:
    remove the container first.
    """
    first = f"docker compose --progress quiet -f {LINK} rm --stop --force kamailio" if replace else ""
    script = _ASK + _SWITCH.format(
        link=LINK,
        into_force=into_force("$1", '"$2"'),
        target=name,
        about=shlex.quote(said),
        failed=shlex.quote(said.replace(said.partition("\t")[0], FAILED, 1)),
        seconds=seconds,
        first=first,
    )
    log = f"{HOME}/switch.log"
    return f"setsid -w bash -c {shlex.quote(script)} >{log} 2>&1 </dev/null; status=$?; cat {log}; exit $status"


def forget(name: str) -> str:
    """Take a release out of the history: `sipstack rollback` is not to go to it."""
    return f"sed -i '/^{name}\\b/d' {HISTORY_FILE}"


def note_proved(digest: str) -> str:
    """Remember that the proxy of that digest has proved itself."""
    return f"echo {digest} >{PROVED_FILE}"
