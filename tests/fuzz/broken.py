"""A parser that breaks at `!`: by it the harness is tested."""

SEEDS = (b"good", b"b4d", b"ba", b"x")
MAX_BYTES = 8


def try_one(data: bytes) -> None:
    assert b"!" not in data, "BAD"
