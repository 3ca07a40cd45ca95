"""Failpoints: what is armed, and that each name is one place in the code."""

import ast
import os
import signal
import sys
from collections import Counter
from pathlib import Path

import pytest

import pycontainer
from pycontainer import failpoints
from pycontainer.failpoints import NAMES, VARIABLE, arm, environment, reach

ROOT = Path(pycontainer.__file__).parent


@pytest.fixture(autouse=True)
def disarmed() -> object:
    yield
    arm({})


def places() -> Counter[str]:
    """Return how often each name is reached in the package; a name that is not a literal fails."""
    found: Counter[str] = Counter()
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "reach":
                (argument,) = node.args
                assert isinstance(argument, ast.Constant), f"{path}:{node.lineno}"
                found[str(argument.value)] += 1
    return found


def test_each_name_is_one_place() -> None:
    """FLT-01"""
    assert places() == Counter(NAMES)


def test_nothing_dies_unless_told() -> None:
    for name in NAMES:
        reach(name)
    assert environment("") == {}


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("create:range", "create:range:1"),
        ("create:range:3", "create:range:3"),
        ("record:written:12", "record:written:12"),
    ],
)
def test_armed_by_the_environment(text: str, kept: str) -> None:
    arm({VARIABLE: text})
    assert environment("") == {VARIABLE: kept}
    assert environment("monitor:") == {}


@pytest.mark.parametrize(
    "text", ["create:nowhere", "create:range:0", "create:range:-1", "create:range:x", ":1", "3", "create"]
)
def test_unknown_ones_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no failpoint"):
        arm({VARIABLE: text})


@pytest.mark.parametrize("visits", [1, 3])
def test_dies_at_the_visit_that_was_asked_for(visits: int) -> None:
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if not pid:
        os.dup2(write_fd, 2)
        arm({VARIABLE: f"rm:renamed:{visits}"})
        for _ in range(visits - 1):
            reach("rm:renamed")
            reach("rm:range")
        os.write(write_fd, b"alive\n")
        reach("rm:renamed")
        os._exit(0)
    os.close(write_fd)
    _, status = os.waitpid(pid, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert os.read(read_fd, 100) == b"alive\nfailpoint rm:renamed: killed\n"
    os.close(read_fd)


def test_imports_next_to_nothing() -> None:
    """The monitor has it, whose start is short."""
    tree = ast.parse(Path(failpoints.__file__).read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert imported <= {"os", "signal"} <= set(sys.modules)
