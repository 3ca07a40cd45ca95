"""What `pycontainer check` says of one thing that it looked at."""

from enum import StrEnum
from typing import NamedTuple


class Status(StrEnum):
    """`degraded` works, but less well, or could not be tried."""

    OK = "ok"
    MISSING = "missing"
    DEGRADED = "degraded"


class Check(NamedTuple):
    """One thing that was looked at; without a `needed` one containers do not start."""

    name: str
    status: Status
    detail: str
    fix: str  # empty when ok
    needed: bool
    section: str = ""  # the heading it stands under
