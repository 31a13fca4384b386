"""Mistakes that an operator may make in a file of the project."""

from dataclasses import dataclass
from pathlib import Path

CFG = "files/kamailio/etc/kamailio.cfg"
ROUTES = "files/kamailio/etc/routes"
PARAMETERS = "files/kamailio/etc/parameters.cfg"


@dataclass(frozen=True)
class Fault:
    """says: what the run has to tell of it."""

    path: str
    old: str
    new: str
    says: str

    def make(self, project: Path) -> None:
        """Put it into a copy of the project."""
        file = project / self.path
        text = file.read_text()
        assert self.old in text, f"{self.path} has no {self.old!r}"
        file.write_text(text.replace(self.old, self.new, 1))


def in_route(file: str, route: str, line: str, says: str) -> Fault:
    """A line more at the beginning of a route."""
    head = f"route[{route}] {{\n"
    return Fault(f"{ROUTES}/{file}.cfg", head, f"{head}\t{line}\n", says)


TO_SLOT = "if ($rU =~ SLOT_NUMBER) route(TO_SLOT);"
OUTSIDE = "$rU =~ OUTSIDE_NUMBER) route(TO_GATEWAY);"
OFFER = 'route(MEDIA_OFFER);\n\tt_on_branch("TO_PHONE");'
MODULES = 'include_file "modules.cfg"'
TABLE = 'modparam("dispatcher", "table_name", "nowhere")'

# Found by the check of the configuration, or when it starts.
UNFIT = {
    "syntax": Fault(CFG, "route(NAT_DETECT);", "route(NAT_DETECT;", "syntax error"),
    "module": Fault(CFG, MODULES, f'{MODULES}\nloadmodule "nosuch.so"', "nosuch"),
    "table": Fault(PARAMETERS, 'modparam("dispatcher", "flags", 2)', TABLE, "does not start"),
    "address": Fault(CFG, "log_stderror=yes", "log_stderror=yes\nlisten=udp:203.0.113.77:5999", "does not start"),
}
# Starts, and does not do what a proxy is for.
WRONG = {
    "to the gateway": Fault(f"{ROUTES}/call.cfg", TO_SLOT, TO_SLOT.replace("TO_SLOT", "TO_GATEWAY"), "calls"),
    "nowhere": Fault(f"{ROUTES}/call.cfg", TO_SLOT, "", "calls"),
    "no outside": Fault(f"{ROUTES}/call.cfg", OUTSIDE, "0) route(TO_GATEWAY);", "9002"),
    "no ACK": in_route("dialog", "WITHIN_DIALOG", 'if (is_method("ACK")) exit;', "ACK"),
    "no BYE": in_route("dialog", "WITHIN_DIALOG", 'if (is_method("BYE")) exit;', "BYE"),
    "no re-INVITE": in_route("dialog", "WITHIN_DIALOG", 'if (is_method("INVITE")) exit;', "INVITE"),
    "silent": Fault(f"{ROUTES}/rtpengine.cfg", '" trust-address"', '" media-address=203.0.113.9"', "hear"),
    "past rtpengine": in_route("media", "MEDIA_OFFER", "return;", "9002"),
    "slots past rtpengine": Fault(f"{ROUTES}/call.cfg", OFFER, OFFER.partition(";")[2], "through rtpengine"),
    "no CDR": Fault(PARAMETERS, '"cdr_enable", 1', '"cdr_enable", 0', "acc_cdrs"),
    "everybody": in_route("auth", "AUTHENTICATE", "return;", "password"),
    "forgets": in_route("register", "STORE", "$var(saved) = 1; return;", "binding"),
}
# Right on trial, where there are no peers, and wrong where it counts.
LATE = Fault(f"{ROUTES}/call.cfg", TO_SLOT, f"#!ifndef PEERS\n\t{TO_SLOT}\n#!endif", "does not serve calls")
# An Asterisk that is healthy and hears nobody.
DEAF = Fault(
    "templates/asterisk/pjsip.conf.j2",
    "bind = {{ node.gateway_bind }}",
    "bind = 127.0.0.9",
    "does not answer sip1, sip2, sip3",
)
# One that answers OPTIONS, and takes no call.
MUTE = Fault(
    "templates/asterisk/extensions.conf.j2",
    "exten => 9002,1,Answer()\n same => n,Echo()",
    "exten => 9002,1,Hangup(21)",
    "does not take a call to 9002 from sip1",
)
