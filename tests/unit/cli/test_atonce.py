"""Names are done at once, and told in their order."""

import threading

import click
import pytest

from pycontainer.cli.atonce import outcomes_of
from pycontainer.cli.report import for_each
from pycontainer.errors import NotFound


def test_all_are_at_work_at_the_same_time() -> None:
    barrier = threading.Barrier(3)
    assert list(outcomes_of(lambda name: barrier.wait(10), ["a", "b", "c"])) == [("a", None), ("b", None), ("c", None)]


def test_the_order_is_that_of_the_names(capsys: pytest.CaptureFixture[str]) -> None:
    last = threading.Event()

    def act(name: str) -> None:
        if name == "third":
            last.set()
        else:
            assert last.wait(10)
        if name == "second":
            raise NotFound("no container 'second'")

    with pytest.raises(click.exceptions.Exit) as caught:
        for_each(["first", "second", "third"], act, at_once=True)
    assert caught.value.exit_code == 3
    assert capsys.readouterr() == ("first\nthird\n", "pycontainer: no container 'second'\n")


def test_more_than_there_are_threads() -> None:
    names = [str(number) for number in range(100)]
    done: list[str] = []
    assert [name for name, _ in outcomes_of(done.append, names)] == names
    assert sorted(done) == sorted(names)


def test_a_fault_is_raised() -> None:
    def act(name: str) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        for_each(["a", "b"], act, at_once=True)
