"""How far long work is, on a terminal."""

import sys
from collections.abc import Callable
from typing import Any

from pycontainer.cli.report import printable, tell
from pycontainer.units import format_bytes_short

_BAR_CHARACTERS = 24


class Bar:
    """A line on a terminal that says how far long work is, redrawn in its place; nothing where no terminal is.

    pulling  [##########··············]   42%  63MiB of 150MiB
    """

    def __init__(self, doing: str) -> None:
        self._doing = doing
        self.update: Callable[[dict[str, Any]], None] | None = self._draw if sys.stderr.isatty() else None

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *exception: object) -> None:
        if self.update is not None:
            tell("\r\x1b[K", newline=False)

    def _draw(self, counters: dict[str, Any]) -> None:
        tell(f"\r\x1b[K{printable(line(str(counters.get('step') or self._doing), counters))}", newline=False)


def line(doing: str, counters: dict[str, Any]) -> str:
    """Return the text of a bar: a share where the whole is known, else what was done."""
    done, total = counters.get("bytes"), counters.get("total_bytes")
    if not isinstance(done, int):
        return doing
    if not isinstance(total, int) or total <= 0:
        return f"{doing}  {format_bytes_short(done)}"
    share = min(done / total, 1.0)
    filled = int(share * _BAR_CHARACTERS)
    bar = "#" * filled + "·" * (_BAR_CHARACTERS - filled)
    return f"{doing}  [{bar}]  {share:4.0%}  {format_bytes_short(done)} of {format_bytes_short(total)}"
