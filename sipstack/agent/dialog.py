"""Dialogs: who the two sides are, and by which way they reach each other (RFC 3261 section 12)."""

from dataclasses import dataclass

from .message import Address, Message, parameter, place_of, uri_in


@dataclass
class Dialog:
    """One side's view of a dialog.

    Attributes:
        call_id: its Call-ID.
        local, remote: From and To of what this side sends, tags included.
        target: the other side's Contact.
        routes: values of Route, the next hop first.
        cseq: number of this side's last request.
    """

    call_id: str
    local: str
    remote: str
    target: str
    routes: list[str]
    cseq: int

    @classmethod
    def of_caller(cls, invite: Message, reply: Message) -> "Dialog":
        """The caller's, from its INVITE and the reply that made the dialog (section 12.1.2)."""
        return cls(
            call_id=invite.get("Call-ID"),
            local=invite.get("From"),
            remote=reply.get("To"),
            target=uri_in(reply.get("Contact")) or invite.uri,
            routes=reply.all("Record-Route")[::-1],
            cseq=invite.cseq,
        )

    @classmethod
    def of_called(cls, invite: Message, tag: str) -> "Dialog":
        """The called side's, from the INVITE and the tag of its own replies (section 12.1.1)."""
        return cls(
            call_id=invite.get("Call-ID"),
            local=f"{invite.get('To')};tag={tag}",
            remote=invite.get("From"),
            target=uri_in(invite.get("Contact")),
            routes=invite.all("Record-Route"),
            cseq=0,
        )

    @property
    def remote_tag(self) -> str:
        return parameter(self.remote, "tag")

    @property
    def hop(self) -> Address:
        """Where this side's requests go: the first route, else the other side itself."""
        return place_of(uri_in(self.routes[0]) if self.routes else self.target)

    def request(self, method: str, *headers: tuple[str, str], body: bytes = b"") -> Message:
        """A request inside the dialog (section 12.2.1.1); an ACK has the number of what it acknowledges."""
        if method != "ACK":
            self.cseq += 1
        target, routes = self.target, self.routes
        if routes and not _is_loose(routes[0]):
            # A strict router wants to be addressed itself, with the target behind all others.
            target, routes = uri_in(routes[0]), [*routes[1:], f"<{self.target}>"]
        fixed = [
            ("Max-Forwards", "70"),
            *(("Route", route) for route in routes),
            ("From", self.local),
            ("To", self.remote),
            ("Call-ID", self.call_id),
            ("CSeq", f"{self.cseq} {method}"),
        ]
        return Message(f"{method} {target} SIP/2.0", [*fixed, *headers], body)


def _is_loose(route: str) -> bool:
    return any(part.split("=")[0].strip().lower() == "lr" for part in uri_in(route).split(";")[1:])
