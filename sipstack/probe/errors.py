"""The error of a probe: one line that says what the system under proof did instead."""

from sipstack.errors import OperatorError


class ProbeError(OperatorError):
    """The probed system did not do what was asked of it; the message names the peer and its answer."""
