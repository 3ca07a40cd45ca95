"""What a confined unpacker says is judged as if the archive's author had written it. IMG-05."""

import json
import os
from collections.abc import Callable, Iterator

import pytest

from pycontainer.errors import InvalidInput
from pycontainer.runtime.importer import _Child, _say_paths

Hear = Callable[[bytes], _Child]


@pytest.fixture
def hear() -> Iterator[Hear]:
    """Have a child's parent hear some bytes."""
    read_fd, write_fd = os.pipe()

    def hear(data: bytes) -> _Child:
        os.write(write_fd, data)
        child = _Child("pc-unpack", 0, read_fd)
        child.hear()
        return child

    yield hear
    os.close(read_fd)
    os.close(write_fd)


@pytest.mark.parametrize(
    "path",
    [
        "..",
        "a/../b",
        "../../etc/shadow",
        ".",
        "a/.",
        "/a",
        "a/",
        "a//b",
        "/",
        "a\0b",
        "a\ud800",
        "x" * 256,
        "a/" * 2048 + "a",
    ],
)
def test_names_that_lead_elsewhere(hear: Hear, path: str) -> None:
    for kind in ("opaque", "whiteouts", "implied"):
        with pytest.raises(InvalidInput, match="names nothing in a layer"):
            hear(json.dumps({"kind": kind, "paths": ["good", path]}).encode() + b"\n")


def test_names_of_layers(hear: Hear) -> None:
    """The root, bytes that are no UTF-8, dots that are no steps, the longest name."""
    names = {(), (b"a", b"b"), (b"\xff\xe4 \n",), (b"...", b"..a"), (b"x" * 255,)}
    said: list[bytes] = []
    _say_paths(lambda message: said.append(json.dumps(message).encode() + b"\n"), "implied", names)
    assert hear(b"".join(said)).notes().implied == names
