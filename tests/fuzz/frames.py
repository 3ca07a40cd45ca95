"""Requests on the control socket, and frames as they arrive (supervisor/call.py, api/messages.py)."""

import json
import math
import socket

from pycontainer.api.messages import receive_frame
from pycontainer.errors import InvalidInput
from pycontainer.supervisor.call import Call, parse_request
from tests.fuzz.inputs import check_message, encoded

SEEDS = (
    *encoded(
        (
            {"verb": "stop", "args": {"container": "web", "timeout_seconds": 5}},
            {"verb": "x", "args": {"container": "web\0", "timeout_seconds": 5, "force": True, "command": ["a"]}},
            {"verb": "create", "args": {"spec": {"image": "a", "mounts": [{"type": "bind"}]}}},
            {"verb": "x", "args": {"rows": 1e30, "columns": -1, "container": None}},
            {"verb": 5, "args": []},
        )
    ),
    b'{"verb": "a", "verb": "b"}',
    b'{"verb": "a", "args": {"x": NaN, "y": 1e999}}',
    b'{"verb": "\\ud800", "args": {"container": "\\u0000"}}',
    b"[" * 60,
    b'{"verb": "a", "args": {"x": ' + b"9" * 100 + b"}}",
)
MAX_BYTES = 1000

_KEYS = ("container", "spec", "command", "force", "timeout_seconds", "rows", "columns")


async def _no_reply(event: object, fds: list[int]) -> None:
    raise AssertionError("nothing is sent here")


def try_one(data: bytes) -> None:
    try:
        verb, arguments, _ = parse_request(data)
    except ValueError as error:
        check_message(InvalidInput(f"not a request: {error}"))
    else:
        assert isinstance(verb, str)
        call = Call(verb, arguments, [], _no_reply)
        for key in _KEYS:
            for get in (call.text, call.flag, call.number, call.texts, call.mapping):
                try:
                    value = get(key)
                except InvalidInput as error:
                    check_message(error)
                else:
                    json.dumps(value, allow_nan=False)
                    assert not isinstance(value, float) or math.isfinite(value)
        try:
            call.window()
        except InvalidInput as error:
            check_message(error)
    _receive(data)


def _receive(data: bytes) -> None:
    """Let the client's side read the bytes as frames: a broken one ends the connection and nothing else."""
    here, there = socket.socketpair()
    with here, there:
        here.sendall(data)
        here.shutdown(socket.SHUT_WR)
        try:
            while (frame := receive_frame(there)) is not None:
                assert frame[1] == []
        except ConnectionError as error:
            assert str(error)
