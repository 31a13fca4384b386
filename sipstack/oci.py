"""Commands in containers that never began: the engine lost its child on the way, as happens on a busy machine.

Nothing of such a command was done, so it may be tried again. Whatever else fails is its own failure and stays one.
"""


def never_began(said: str) -> bool:
    """Whether the engine says that of a command. said: what came with exit code 126 (exec) or 125 to 127 (run)."""
    # runc's pipe to the child, which the child closes at the moment when it becomes the command.
    return "OCI runtime" in said and "init-p" in said


def in_proxy(command: str) -> str:
    """A line of shell that runs a command in the proxy's container, and once more if it never began.

    126: the engine could not start it. Only for commands that may be given twice: what is no program ends so too.
    """
    line = f"docker exec vss-kamailio {command}"
    return f"{{ {line} || {{ [ $? -eq 126 ] && {line}; }}; }}"
