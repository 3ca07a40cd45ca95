"""Errors on their way to people: over the wire, and to a terminal."""

import pytest

from pycontainer.errors import (
    InvalidInput,
    NotFound,
    PycontainerError,
    StartFailed,
    Unsupported,
    did_you_mean,
    from_wire,
)


@pytest.mark.parametrize(
    "error",
    [
        PycontainerError("a", hint="b"),
        InvalidInput("one\ntwo", hint="b", source="f:1", field="memory"),
        NotFound("a"),
        Unsupported("a", feature="nft"),
        StartFailed("a", step="execve", errno=2),
    ],
)
def test_the_wire_keeps_class_and_fields(error: PycontainerError) -> None:
    again = from_wire(error.to_wire())
    assert type(again) is type(error) and again.to_wire() == error.to_wire()
    assert again.exit_code == error.exit_code


def test_a_name_cannot_speak_to_the_terminal() -> None:
    """API-06: escape sequences, carriage returns, and marks that turn the order of letters round are shown escaped."""
    error = NotFound("no file '\x1b]0;x\x07\r\x9b2J\u202e\ud800\nhint: run this' in é", hint="\x1b[2J\n")
    assert error.message == "no file '\\x1b]0;x\\x07\\r\\x9b2J\\u202e\\ud800\\nhint: run this' in é"
    assert error.hint == "\\x1b[2J\\n"
    assert InvalidInput("one\ntwo\x1b").message == "one\ntwo\\x1b"
    assert from_wire({"class": "Nonsense", "message": "\x1b"}).message == "\\x1b"


def test_did_you_mean() -> None:
    assert did_you_mean("memroy", ["cpus", "memory"]) == ", did you mean 'memory'?"
    assert did_you_mean("x", ["cpus", "memory"]) == ""
    assert did_you_mean("SIGTREM", ["SIGTERM", "SIGHUP"], prefix="SIG") == ", did you mean 'SIGTERM'?"
    assert did_you_mean("memory" * 20, ["memory" * 20]) == ""
