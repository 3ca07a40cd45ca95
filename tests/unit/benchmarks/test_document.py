"""What the document makes of rows: medians with their spread, verdicts on targets, and why something is not there."""

from typing import Any

from tests.benchmarks.figures import SUBJECT_LIBRARY, Row, absent, row
from tests.benchmarks.report import document
from tests.benchmarks.targets import TARGETS, judge

FACTS: dict[str, Any] = {
    "date": "today", "commit": "abc", "kernel": "6", "cpu": "fast", "cores": 2, "memory_bytes": 2**30, "cgroups": "v1",
    "file_system": "xfs", "python": "3.11", "load_before": [0.1], "load_after": [0.2], "seconds": 9,
    "peers": {"a": {"version": "1", "isolation": "all"}, "b": {"version": "2", "isolation": "none"}},
}  # fmt: skip


def found(rows: list[Row], *, quick: bool = False) -> dict[str, Any]:
    return {
        "facts": FACTS, "missing": {"c": "it is not\ninstalled"}, "broken": {}, "seconds": {}, "quick": quick,
        "command": "run.sh", "rows": [each._asdict() for each in rows],
        "measures": {"m": {"title": "Title", "text": "Text.", "compares": True}},
    }  # fmt: skip


def test_a_row_is_the_median_and_the_spread() -> None:
    made = row("m", "a", "x", "ms", [float(value) for value in range(11)])
    assert (made.median, made.p10, made.p90, made.rounds) == (5, 1, 9, 11)


def test_a_table_has_a_line_for_each_that_was_measured_or_not() -> None:
    rows = [row("m", "a", "x", "ms", [1, 2, 3]), absent("m", "b", "has none")]
    text = document(found(rows), rows, {"m": "m.png"})
    assert "## Title\n\nText.\n\n| | x, ms |\n|---|---|\n" in text
    assert "| a | 2.00 (1.00–3.00) |\n| b | has none |\n| c | not measured: it is not installed |\n" in text
    assert "![Title](performance/m.png)" in text


def test_a_measure_without_rows_broke() -> None:
    assert "This one broke." in document(found([]), [], {})


def test_a_quick_run_says_so() -> None:
    assert "quick run" in document(found([], quick=True), [], {})
    assert "quick run" not in document(found([]), [], {})


def test_targets_are_judged_by_figure_or_ratio() -> None:
    rows = [row("start-to-exit", SUBJECT_LIBRARY, "run", "ms", [5]), row("start-to-exit", "crun", "run", "ms", [10])]
    verdicts = {each.target.text: each for each in judge(rows)}
    assert len(verdicts) == len(TARGETS)
    below = verdicts["library, start to exit, with network: below crun, without"]
    assert (below.value, below.is_reached) == (0.5, True)
    lxc = verdicts["library, start to exit, with network: below lxc-start, without"]
    assert (lxc.value, lxc.is_reached) == (None, False)


def test_a_small_fleet_reaches_no_target_of_a_thousand() -> None:
    rows = [row("fleet", SUBJECT_LIBRARY, "memory of ours, each", "KB", [1])]
    assert all(each.value is None for each in judge(rows))
    rows.append(row("fleet", SUBJECT_LIBRARY, "starts per second up to 1000", "/s", [119]))
    reached = {each.target.text: each.is_reached for each in judge(rows) if each.value is not None}
    assert reached == {
        "1000 instances: at least 120 starts a second": False,
        "1000 instances: at most 16 KB of ours each": True,
    }
