"""Points in time as options take them."""

import time

from pycontainer.errors import InvalidInput
from pycontainer.units import parse_duration_seconds


def parse_time(text: str, *, field: str) -> float:
    """Return seconds since the epoch of "10m" or "1h30m" (ago), "2026-11-23T18:00:00Z", or the number itself."""
    if text.isascii() and text.replace(".", "", 1).isdigit():
        return float(text)
    if "-" in text:
        from datetime import datetime  # 1 ms that only a date pays

        try:
            return datetime.fromisoformat(text).timestamp()  # without a zone: the caller's own
        except ValueError:
            pass
    else:
        try:
            return time.time() - parse_duration_seconds(text)
        except InvalidInput:
            pass
    raise InvalidInput(
        f"'{text}' is not a time", hint="write 10m, 2h, 2026-11-23T18:00:00Z, or seconds since the epoch", field=field
    )
