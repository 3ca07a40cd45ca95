"""What a container may be after some operations, of which the last one may or may not have happened.

A journal holds two lines for each operation: one before it is asked, one with the answer. An answer makes the state certain
again, as far as it can be: whoever was not answered does not know. So there is a set of states that are possible; what is
found in the end must be among them.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple


class State(NamedTuple):
    """A container as an operation leaves it; None instead of one is a container that does not exist."""

    memory_mib: int
    token: str  # what its file holds
    is_running: bool
    snapshots: frozenset[tuple[str, str]]  # (name, what the file held)


Possible = frozenset[State | None]
ABSENT: Possible = frozenset([None])


def after(operation: str, args: Mapping[str, Any], state: State | None) -> State | None:
    """Return what a state becomes if the operation succeeds; ValueError if it cannot succeed in that state."""
    if operation == "create":
        if state is not None:
            raise ValueError("it exists")
        return State(args["memory_mib"], "", False, frozenset())
    if state is None:
        raise ValueError("it does not exist")
    if operation == "rm":
        return None
    if operation in ("start", "restart"):
        return state._replace(is_running=True)
    if operation == "stop":
        return state._replace(is_running=False)
    if operation == "set":
        return state._replace(memory_mib=args["memory_mib"])
    if operation == "write":
        return state._replace(token=args["token"])
    if operation == "snapshot":
        return state._replace(snapshots=state.snapshots | {(args["snapshot"], state.token)})
    held = dict(state.snapshots)
    if args["snapshot"] not in held:
        raise ValueError("it has no such snapshot")
    if operation == "unsnapshot":
        return state._replace(snapshots=state.snapshots - {(args["snapshot"], held[args["snapshot"]])})
    assert operation == "restore", operation
    return state._replace(token=held[args["snapshot"]], is_running=False)


def succeeded(operation: str, args: Mapping[str, Any], possible: Possible) -> Possible:
    """Return what is possible once an operation was answered; AssertionError if it cannot have succeeded."""
    found = set()
    for state in possible:
        try:
            found.add(after(operation, args, state))
        except ValueError:
            continue
    assert found, f"{operation} {args} was answered, which is impossible in {possible}"
    return frozenset(found)


def begun(operation: str, args: Mapping[str, Any], possible: Possible) -> Possible:
    """Return what is possible when nobody knows whether an operation was done, or how far."""
    found = set(possible)
    for state in possible:
        if state is not None and operation in ("stop", "restart", "rm", "restore"):  # which stop it first
            found.add(state._replace(is_running=False))
        try:
            found.add(after(operation, args, state))
        except ValueError:
            continue
    return frozenset(found)


class Line(NamedTuple):
    """One operation of a journal; `answer` is None, "ok", or what was said instead."""

    container: str
    operation: str
    args: dict[str, Any]
    answer: str | None


def read(path: str) -> Iterator[Line]:
    """Yield the operations of a journal in order; the last line may have been cut off."""
    asked: tuple[str, str, dict[str, Any]] | None = None
    with open(path, encoding="utf-8") as file:
        for text in file:
            if not text.endswith("\n"):
                break
            entry = json.loads(text)
            if "answer" in entry:
                assert asked is not None
                yield Line(*asked, entry["answer"])
                asked = None
            else:
                assert asked is None
                asked = entry["container"], entry["operation"], entry["args"]
    if asked is not None:
        yield Line(*asked, None)


def replay(lines: Iterable[Line]) -> dict[str, Possible]:
    """Return what is possible of each container. One that ends by itself, as killed ones do, is not counted here."""
    found: dict[str, Possible] = {}
    for line in lines:
        possible = found.get(line.container, ABSENT)
        step = succeeded if line.answer == "ok" else begun
        found[line.container] = step(line.operation, line.args, possible)
    return found
