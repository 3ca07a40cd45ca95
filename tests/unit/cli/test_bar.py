"""What a bar shows."""

from pycontainer.cli.bar import Bar, line


def test_lines() -> None:
    assert line("pulling", {"bytes": 50 << 20, "total_bytes": 100 << 20}) == (
        "pulling  [############············]   50%  50MiB of 100MiB"
    )
    assert line("pulling", {"bytes": 5, "total_bytes": 4}).partition("]")[0] == "pulling  [########################"
    assert line("packing", {}) == "packing"
    assert line("unpacking", {"bytes": 1 << 20, "total_bytes": 0}) == "unpacking  1MiB"
    assert line("unpacking", {"bytes": 1 << 20}) == "unpacking  1MiB"


def test_nothing_without_a_terminal() -> None:
    assert Bar("pulling").update is None
