"""Requests as they come from the socket, and typed access to what they hold (API-04)."""

import asyncio
import inspect
import json
import re
import socket

import pytest

from pycontainer.api.messages import VERBS
from pycontainer.errors import InvalidInput
from pycontainer.supervisor import server
from pycontainer.supervisor.call import ARGUMENTS, Call, parse_request


async def silent(event: object, fds: list[int]) -> None:
    raise AssertionError(event)


def call(**arguments: object) -> Call:
    return Call("x", arguments, [], silent)


def test_a_request() -> None:
    assert parse_request(b'{"verb": "stop", "args": {"container": "web"}}') == ("stop", {"container": "web"}, False)
    assert parse_request(b'{"verb": "ping"}') == ("ping", {}, False)
    assert parse_request(b'{"verb": "ping", "trace": true}') == ("ping", {}, True)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not JSON at character 0: Expecting value"),
        (b"{", "not JSON at character 1: Expecting property name enclosed in double quotes"),
        (b"[]", "it is not an object with verb and args"),
        (b"null", "it is not an object with verb and args"),
        (b'{"verb": "ping", "arg": {}}', "it is not an object with verb and args"),
        (b"{}", "verb, args or trace of a wrong type"),
        (b'{"verb": "ping", "trace": 1}', "verb, args or trace of a wrong type"),
        (b'{"verb": 5}', "verb, args or trace of a wrong type"),
        (b'{"verb": "ping", "args": null}', "verb, args or trace of a wrong type"),
        (b'{"verb": "ping", "args": []}', "verb, args or trace of a wrong type"),
        (b'{"verb": "ping", "verb": "shutdown"}', "a key is given twice"),
        (b'{"verb": "create", "args": {"spec": {"image": "a", "image": "b"}}}', "a key is given twice"),
        (b'{"verb": "stop", "args": {"timeout": 5}}', "'stop' takes no argument 'timeout'"),
        (b'{"verb": "ping", "args": {"\\u001b": 5}}', "'ping' takes no argument '\\x1b'"),
        (b'{"verb": "stop", "args": {"timeout_seconds": NaN}}', "NaN is not JSON"),
        (b'{"verb": "stop", "args": {"timeout_seconds": 1e999}}', "a number that is too large or too long"),
        (b'{"verb": "stop", "args": {"timeout_seconds": ' + b"9" * 5000 + b"}}", "a number of 5000 digits"),
        (b'{"verb": "ping", "args": {"a": ' + b"[" * 10_000, "more than 32 levels deep"),
        (b'{"verb": "\xff"}', "not UTF-8 at byte 10"),
        ('{"verb": "ping"}'.encode("utf-16"), "not UTF-8 at byte 0"),
    ],
)
def test_what_is_no_request(data: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match="^") as caught:
        parse_request(data)
    assert str(caught.value) == reason


def test_the_arguments_of_each_verb_are_those_that_it_reads() -> None:
    """The table in api/messages.py is what is told to people; the modules of the verbs are what happens."""
    for verb, function in server.VERBS.items():
        source = inspect.getsource(inspect.getmodule(function) or server if verb.startswith("cp_") else function)
        read = set(re.findall(r"call\.(?:text|flag|number|texts|mapping)\(\s*\"(\w+)\"", source))
        read |= {"rows", "columns"} if "call.window()" in source else set()
        assert read == ARGUMENTS[verb], verb
    assert set(ARGUMENTS) == set(VERBS) == set(server.VERBS)


@pytest.mark.parametrize("value", ["a\0b", "\ud800", "\x00"])
def test_text_that_nothing_can_be_called(value: str) -> None:
    """API-06: what the kernel would cut at NUL is refused wherever text is asked for; other bytes come through."""
    with pytest.raises(InvalidInput, match="^'key': "):
        call(key=value).text("key")
    with pytest.raises(InvalidInput, match="^'key': "):
        call(key=["a", value]).texts("key")
    assert call(key="\udcff\n\x1b -x $(id) %n").text("key") == "\udcff\n\x1b -x $(id) %n"


def test_arguments_of_the_right_type() -> None:
    asked = call(container="web", force=True, timeout_seconds=5, command=["a"], spec={"a": 1}, rows=24, columns=80.0)
    assert (asked.text("container"), asked.text("name", "x"), asked.flag("force"), asked.flag("all")) == (
        "web",
        "x",
        True,
        False,
    )
    assert (asked.number("timeout_seconds"), asked.number("none"), asked.texts("command")) == (5.0, None, ["a"])
    assert (asked.mapping("spec"), asked.window()) == ({"a": 1}, (24, 80))


@pytest.mark.parametrize("value", [0, 1, 1.5, "yes", [], {}, [1]])
@pytest.mark.parametrize("kind", ["text", "flag", "number", "texts", "mapping"])
def test_arguments_of_another_type(kind: str, value: object) -> None:
    own = {"text": (str,), "flag": (bool,), "number": (int, float), "texts": (list,), "mapping": (dict,)}[kind]
    if isinstance(value, own) and value != [1]:
        assert getattr(call(key=value), kind)("key") == value
        return
    with pytest.raises(InvalidInput, match=r"^'key' must be ") as caught:
        getattr(call(key=value), kind)("key")
    assert caught.value.field == "key"


@pytest.mark.parametrize("value", [True, 10**30, -(10**30), float("nan"), float("inf"), "5"])
def test_numbers_are_finite_and_none_of_them_is_a_truth(value: object) -> None:
    with pytest.raises(InvalidInput, match=r"^'key' must be a number$"):
        call(key=value).number("key")


@pytest.mark.parametrize("rows", [0, -1, 65536, 0.5, 1e8])
def test_a_window_that_is_none(rows: float) -> None:
    found = call(rows=rows, columns=80).window()
    assert found is None


def test_descriptors_that_nobody_took_are_closed() -> None:
    one, two = socket.socketpair()
    with two:
        asked = Call("x", {}, [one.detach()], silent)
        asked.close()
        assert two.recv(1) == b""


def test_events_go_to_the_client() -> None:
    sent: list[object] = []

    async def keep(event: object, fds: list[int]) -> None:
        sent.append((json.dumps(event), fds))

    asyncio.run(Call("x", {}, [], keep).event({"a": 1}))
    assert sent == [('{"a": 1}', [])]
