"""The words of `up` and `down`: what is done, what failed, what would go."""

import pytest

from pycontainer.cli.hostingwords import Report, confirm_removal
from pycontainer.errors import InvalidInput, InvalidState
from pycontainer.hosting.apply import Outcome, Progress


def test_a_line_for_each_change_that_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report({"site a/b": "+ site a/b: 1 replica"})
    report(Progress("site a/b", "making replica 0", 0, 2))
    assert capsys.readouterr() == ("", "")  # no terminal
    report(Progress("site a/b", "done", 1, 2, is_finished=True))
    report(Progress("site a/c", "failed", 2, 2, is_finished=True, error=InvalidState("no")))
    assert capsys.readouterr() == ("+ site a/b: 1 replica\n", "")
    assert report.end(Outcome(["site a/b"])) is None
    failed = Outcome(
        ["site a/b"], [("site a/c", InvalidState("it is unhealthy", hint="look"))], ["site a/b: it is old"]
    )
    assert report.end(failed) == 1
    assert capsys.readouterr().err.splitlines() == [
        "pycontainer: warning: site a/b: it is old",
        "pycontainer: site a/c: it is unhealthy",
        "hint: look",
        "pycontainer: 1 of 2 changes failed; the others are done",
    ]


def test_a_removal_that_nobody_can_be_asked_about() -> None:
    confirm_removal([], "x", yes=False)
    confirm_removal(["a/b"], "x", yes=True)
    with pytest.raises(InvalidInput) as caught:
        confirm_removal([f"a/{number}" for number in range(25)], "x", yes=False)
    assert caught.value.message.startswith("these would be removed: a/0, a/1, ") and "--yes" in caught.value.hint
    assert caught.value.message.endswith("a/19 and 5 more")
