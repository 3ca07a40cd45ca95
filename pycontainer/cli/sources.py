"""`-` in place of an archive's name."""

import os

from pycontainer.errors import InvalidInput


def opened(source: str, written: str = "FILE") -> str | int:
    """Return the path as it is, and the descriptor of standard input for `-`; InvalidInput if that is a terminal.

    `written` is how the command wants a file named.
    """
    if source != "-":
        return source
    if os.isatty(0):
        raise InvalidInput(
            "an archive does not come from a terminal", hint=f"name it: {written}, or send it here from another program"
        )
    return 0
