"""Points in time as options take them."""

import time

import pytest

from pycontainer.cli.times import parse_time
from pycontainer.client.logs import format_time
from pycontainer.errors import InvalidInput


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1764000000", 1764000000.0), ("1764000000.5", 1764000000.5), ("2025-11-24T16:00:00Z", 1764000000.0), ("0", 0.0)],
)
def test_times(text: str, seconds: float) -> None:
    assert parse_time(text, field="since") == seconds


def test_a_while_ago() -> None:
    before = time.time()
    assert before - 90 <= parse_time("1m30s", field="since") <= time.time() - 90


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "-5",
        "1e9",
        "nan",
        "inf",
        "1_000",
        " 5",
        "5\n",
        "\u0661",
        "\u00b2",
        "9" * 12,
        "9" * 400,  # float() makes it infinity, gmtime() raises OverflowError
        "1.2.3",
        "0001-01-01",  # before the epoch: datetime.timestamp() raises
        "1969-12-31T23:59:59Z",
        "9999-12-31T23:59:59-23:59",  # the year 10000
        "2026-13-01",
    ],
)
def test_what_is_no_time(text: str) -> None:
    """VAL-02, VAL-03"""
    with pytest.raises(InvalidInput, match=r" is not a time$") as caught:
        parse_time(text, field="since")
    assert caught.value.field == "since"


@pytest.mark.parametrize("text", ["99999999999", "9999-12-31T23:59:59Z", "0"])
def test_every_time_can_be_compared_with_lines_of_a_log(text: str) -> None:
    assert len(format_time(parse_time(text, field="until"))) == 30
