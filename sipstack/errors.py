"""The one exception that operators see."""


class OperatorError(Exception):
    """A mistake that the operator can mend.

    The message is one line: what is wrong, where, and what to do instead. Front ends print it
    without a traceback and exit non-zero.
    """
