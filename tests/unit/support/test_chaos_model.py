"""The model of the chaos run: what is possible after answers, and after none."""

from pathlib import Path

import pytest

from tests.chaos.model import ABSENT, Line, State, begun, read, replay, succeeded

MADE = State(32, "", False, frozenset())
RUNNING = MADE._replace(is_running=True)


def test_answers_make_it_certain() -> None:
    lines = [
        Line("c", "create", {"memory_mib": 32}, "ok"),
        Line("c", "start", {}, "ok"),
        Line("c", "write", {"token": "t"}, "ok"),
        Line("c", "snapshot", {"snapshot": "s"}, "ok"),
        Line("c", "write", {"token": "u"}, "ok"),
        Line("c", "restore", {"snapshot": "s"}, "ok"),
    ]
    assert replay(lines) == {"c": {State(32, "t", False, frozenset({("s", "t")}))}}
    assert replay([*lines, Line("c", "rm", {}, "ok")]) == {"c": ABSENT}


@pytest.mark.parametrize("answer", [None, "unavailable", "StartFailed: no"])
def test_without_an_answer_both_are_possible(answer: str | None) -> None:
    asked = Line("c", "create", {"memory_mib": 32}, answer)
    assert replay([asked]) == {"c": {None, MADE}}
    assert replay([asked, Line("c", "start", {}, "ok")]) == {"c": {RUNNING}}
    assert replay([asked, Line("c", "rm", {}, answer)]) == {"c": {None, MADE}}


def test_what_stops_first_may_end_there() -> None:
    held = RUNNING._replace(token="u", snapshots=frozenset({("s", "t")}))
    assert begun("restore", {"snapshot": "s"}, frozenset({held})) == {
        held,
        held._replace(is_running=False),
        held._replace(is_running=False, token="t"),
    }


@pytest.mark.parametrize("operation", ["start", "rm", "set"])
def test_the_impossible_is_told(operation: str) -> None:
    with pytest.raises(AssertionError, match="which is impossible"):
        succeeded(operation, {"memory_mib": 32}, ABSENT)


def test_a_journal_that_was_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    one = '{"container": "c", "operation": "start", "args": {}}\n'
    path.write_text(one + '{"answer": "ok"}\n' + one + '{"ans')
    assert list(read(str(path))) == [Line("c", "start", {}, "ok"), Line("c", "start", {}, None)]
