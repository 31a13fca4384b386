"""What can become of a request: each error's text says in one line what was seen."""


class SipError(Exception):
    """Something did not go as it should; the text is for an operator."""


class NoAnswerError(SipError):
    """Nobody answered in time, or the transport failed (RFC 3261 sections 8.1.3.1 and 17.1.4).

    Attributes: alive: there was a provisional answer, so somebody is there.
    """

    def __init__(self, what: str, alive: bool = False) -> None:
        super().__init__(what)
        self.alive = alive


class RefusedError(SipError):
    """A final answer that is not 2xx.

    Attributes: code: the SIP status code.
    """

    def __init__(self, what: str, code: int, reason: str) -> None:
        super().__init__(f"{what} got {code} {reason}")
        self.code = code
