"""Routes of many sites: one configuration for all that wait, and each waits until its own is served."""

import threading
from collections.abc import Sequence

import pytest

from pycontainer.errors import InvalidInput
from pycontainer.hosting.publishing import Board, backend
from pycontainer.hosting.routes import Backend, SiteRoute


def route(name: str, *addresses: str) -> SiteRoute:
    return SiteRoute(
        (f"{name}.example",), tuple(Backend(address, 80) for address in addresses), None, None, f"t/{name}"
    )


class SlowDoor:
    """One whose `apply` ends when it is let."""

    def __init__(self, *routes: SiteRoute) -> None:
        self.served: tuple[SiteRoute, ...] = routes
        self.applied: list[tuple[str, ...]] = []
        self.may_end = threading.Semaphore(0)
        self.began = threading.Semaphore(0)
        self.refused: set[str] = set()

    def start(self) -> bool:
        return False

    def routes(self) -> Sequence[SiteRoute]:
        return self.served

    def apply(self, routes: Sequence[SiteRoute]) -> None:
        names = tuple(sorted(each.name for each in routes))
        self.applied.append(names)
        self.began.release()
        self.may_end.acquire()
        if self.refused & set(names):
            raise InvalidInput("refused")
        self.served = tuple(routes)


def put(board: Board, name: str) -> threading.Thread:
    thread = threading.Thread(target=board.put, args=(f"t/{name}", route(name, "10.0.0.1")))
    thread.start()
    return thread


def test_who_comes_while_one_is_made_waits_for_the_next() -> None:
    door = SlowDoor()
    board = Board(door, ())
    first = put(board, "a")
    door.began.acquire()
    others = [put(board, name) for name in ("b", "c", "d")]
    while board._asked < 4:  # until all of them wait
        threading.Event().wait(0.001)
    assert door.applied == [("t/a",)] and first.is_alive()
    door.may_end.release()
    first.join(5)
    door.began.acquire()
    assert not first.is_alive() and all(thread.is_alive() for thread in others)
    door.may_end.release()
    for thread in others:
        thread.join(5)
        assert not thread.is_alive()
    assert door.applied == [("t/a",), ("t/a", "t/b", "t/c", "t/d")]


def test_what_is_served_already_is_not_served_anew() -> None:
    door = SlowDoor(route("a", "10.0.0.1"))
    board = Board(door, [route("a", "10.0.0.1")])
    board.settle()
    board.put("t/a", route("a", "10.0.0.1"))
    board.put("t/b", None)
    assert door.applied == []
    door.may_end.release(2)
    board.put("t/a", route("a", "10.0.0.2"))
    board.put("t/a", None)
    assert door.applied == [("t/a",), ()] and door.served == ()


def test_what_nobody_wants_goes_when_all_is_settled() -> None:
    door = SlowDoor(route("a", "10.0.0.1"), route("gone", "10.0.0.9"))
    door.may_end.release()
    Board(door, [route("a", "10.0.0.1")]).settle()
    assert door.served == (route("a", "10.0.0.1"),)


def test_a_refusal_reaches_those_whose_routes_were_in_it_alone() -> None:
    door = SlowDoor()
    board = Board(door, ())
    door.may_end.release(3)
    board.put("t/a", route("a", "10.0.0.1"))
    door.refused = {"t/b"}
    with pytest.raises(InvalidInput, match="refused"):
        board.put("t/b", route("b", "10.0.0.1"))
    door.refused = set()
    board.put("t/c", route("c", "10.0.0.1"))
    assert [each.name for each in door.served] == ["t/a", "t/b", "t/c"]


def test_where_a_container_answers() -> None:
    assert backend("10.0.0.1", 80) == Backend("10.0.0.1", 80)
    assert backend("", 80) is None and backend("10.0.0.1", 0) is None
