"""Points in time as `logs --since` takes them (cli/times.py)."""

from pycontainer.cli.times import parse_time
from pycontainer.client.logs import format_time
from tests.fuzz.inputs import parsed, text_of

SEEDS = (
    b"10m",
    b"1764000000.5",
    b"2026-11-23T18:00:00Z",
    b"2026-11-23",
    b"0001-01-01",
    b"9999-12-31T23:59:59-23:59",
    b"9" * 40,
)
MAX_BYTES = 60


def try_one(data: bytes) -> None:
    seconds = parsed(lambda text: parse_time(str(text), field="since"), text_of(data))
    if seconds is not None:
        assert isinstance(seconds, float) and len(format_time(seconds)) == 30
