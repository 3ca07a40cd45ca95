"""Our NamedTuple beside that of `typing`: the same text makes the same class."""

import copy
import pickle
import typing
from typing import Any

import pytest

from pycontainer.linux import named


def _made_of(base: Any) -> Any:
    class Rule(base):  # type: ignore[misc]
        names: tuple[str, ...]
        action: int
        comparisons: tuple[int, ...] = ()

        def is_first(self) -> bool:
            return self.action == 0

    Rule.__qualname__ = "Rule"
    return Rule


OURS, THEIRS = _made_of(named.NamedTuple), _made_of(typing.NamedTuple)


class Pair(named.NamedTuple):
    first: int
    second: str = "x"


@pytest.mark.parametrize(
    ("values", "by_name"),
    [
        ((("read",), 0), {}),
        ((("read",), 1, (2,)), {}),
        ((), {"action": 5, "names": ()}),
        ((("a", "b"),), {"action": 5, "comparisons": (1,)}),
    ],
)
def test_records_are_the_same(values: tuple[object, ...], by_name: dict[str, object]) -> None:
    ours, theirs = OURS(*values, **by_name), THEIRS(*values, **by_name)
    assert ours == theirs == tuple(theirs) and hash(ours) == hash(theirs) and repr(ours) == repr(theirs)
    assert (ours.names, ours.action, ours.comparisons) == theirs
    assert ours._asdict() == theirs._asdict() and ours._replace(action=9) == theirs._replace(action=9)
    assert ours.is_first() == theirs.is_first() and ours[:2] == theirs[:2]
    assert isinstance(ours._replace(names=()), OURS)


@pytest.mark.parametrize(
    ("values", "by_name"),
    [
        ((), {}),
        ((("read",),), {}),
        (((), 1, (), 2), {}),
        (((), 1), {"action": 2}),
        (((), 1), {"nonesuch": 2}),
        (((), 1, ()), {"nonesuch": 2}),
    ],
)
def test_wrong_arguments_are_refused(values: tuple[object, ...], by_name: dict[str, object]) -> None:
    for each in (OURS, THEIRS):
        with pytest.raises(TypeError):
            each(*values, **by_name)


def test_a_record_cannot_be_changed() -> None:
    record = Pair(1)
    for name in ("first", "third"):
        with pytest.raises(AttributeError):
            setattr(record, name, 2)
    assert Pair._fields == ("first", "second") and Pair._field_defaults == {"second": "x"}


def test_copies_and_patterns() -> None:
    record = Pair(1, "y")
    for again in (copy.deepcopy(record), pickle.loads(pickle.dumps(record))):
        assert again == record and type(again) is Pair
    match record:
        case Pair(first, second):
            assert (first, second) == (1, "y")
