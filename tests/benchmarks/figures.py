"""What a measure finds: rows, each of one subject and one item, as numbers that JSON holds."""

import statistics
from collections.abc import Sequence
from typing import NamedTuple

SUBJECT_LIBRARY, SUBJECT_COMMAND, SUBJECT_OCI = "pycontainer, library", "pycontainer, command", "pycontainer-oci"


class Row(NamedTuple):
    """The median of `rounds` rounds, between the 10th and the 90th percentile; or, without values, why there are none."""

    measure: str
    subject: str
    item: str
    unit: str
    median: float | None = None
    p10: float | None = None
    p90: float | None = None
    rounds: int = 0
    note: str = ""


def row(measure: str, subject: str, item: str, unit: str, values: Sequence[float], note: str = "") -> Row:
    """Sum up the values of all rounds."""
    ordered = sorted(values)
    low, high = (ordered[round(share * (len(ordered) - 1))] for share in (0.1, 0.9))
    return Row(measure, subject, item, unit, statistics.median(ordered), low, high, len(ordered), note)


def absent(measure: str, subject: str, note: str) -> Row:
    """A row that says why there is nothing."""
    return Row(measure, subject, "", "", note=note)
