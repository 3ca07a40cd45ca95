"""Points in time as options take them."""

import re
import time

from pycontainer.errors import InvalidInput
from pycontainer.units import parse_duration_seconds, shown

_SECONDS = re.compile(r"[0-9]{1,11}(?:\.[0-9]{0,9})?", re.ASCII)
_YEAR_10000 = 253402300800


def parse_time(text: str, *, field: str) -> float:
    """Return seconds since the epoch of "10m" or "1h30m" (ago), "2026-11-23T18:00:00Z", or the number itself."""
    if _SECONDS.fullmatch(text):
        return float(text)
    if "-" in text:
        from datetime import datetime  # 1 ms that only a date pays

        try:
            seconds = datetime.fromisoformat(text).timestamp()  # without a zone: the caller's own
            if 0 <= seconds < _YEAR_10000:
                return seconds
        except (ValueError, OverflowError):
            pass
    else:
        try:
            return time.time() - parse_duration_seconds(text)
        except InvalidInput:
            pass
    raise InvalidInput(
        f"{shown(text)} is not a time",
        hint="write 10m, 2h, 2026-11-23T18:00:00Z, or seconds since the epoch",
        field=field,
    )
