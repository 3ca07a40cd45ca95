"""The control socket against clients that send anything: an error each, and the supervisor goes on (API-04, API-06)."""

import json
import os
import re
import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from pycontainer.api.messages import MAX_FRAME_BYTES, receive_frame
from tests.integration.conftest import IMAGE
from tests.support.poll import SLOWNESS, poll_until
from tests.support.world import World


@pytest.fixture
def connection(world: World) -> Iterator[socket.socket]:
    """A client that is no client of ours; afterwards the same supervisor still serves others."""
    world.ok("info")
    pid = world.supervisor_pid()
    with connect(world) as sock:
        yield sock
    assert json.loads(world.ok("info", "--format", "json"))["supervisor_pid"] == pid == world.supervisor_pid()


def connect(world: World) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(30 * SLOWNESS)
    sock.connect(world.paths.supervisor_socket)
    return sock


def frame(body: object) -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return struct.pack(">I", len(data)) + data


def answer(sock: socket.socket) -> dict[str, Any]:
    """Return the next reply; closed is an empty one."""
    received = receive_frame(sock)
    if received is None:
        return {}
    message, fds = received
    for fd in fds:  # the terminal of an exec
        os.close(fd)
    assert isinstance(message, dict)
    return message


def ask(sock: socket.socket, verb: str, **arguments: object) -> dict[str, Any]:
    sock.sendall(frame({"verb": verb, "args": arguments}))
    return answer(sock)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not JSON at character 0: Expecting value"),
        (b"{", "not JSON at character 1: Expecting property name enclosed in double quotes"),
        (b"[]", "it is not an object with verb and args"),
        (b'{"verb": "ping", "verb": "shutdown"}', "a key is given twice"),
        (b'{"verb": "ping", "extra": 1}', "it is not an object with verb and args"),
        (b'{"verb": 5}', "verb, args or trace of a wrong type"),
        (b'{"verb": "stop", "args": {"timeout_seconds": NaN}}', "NaN is not JSON"),
        (b'{"verb": "stop", "args": {"timeout_seconds": ' + b"9" * 5000 + b"}}", "a number of 5000 digits"),
        (b'{"verb": "ping", "args": {"a": ' + b"[" * 10_000, "more than 32 levels deep"),
        (b'{"a":' * 10_000, "more than 32 levels deep"),
        (b"[" + b"1," * (2 << 20) + b"1]", "more than 1048576 values"),
        (b'{"verb": "\xff"}', "not UTF-8 at byte 10"),
        ('{"verb": "ping"}'.encode("utf-16"), "not UTF-8 at byte 0"),
        (b"\0" * 4096, "not JSON at character 0: Expecting value"),
    ],
)
def test_frames_that_are_no_request(connection: socket.socket, body: bytes, reason: str) -> None:
    """API-04"""
    connection.sendall(frame(body))
    assert answer(connection)["error"]["message"] == f"not a request: {reason}"
    assert "version" in ask(connection, "ping")["result"]  # and the connection goes on


def test_a_verb_that_is_none(connection: socket.socket) -> None:
    """API-04"""
    for verb, shown in (
        ("frobnicate", "'frobnicate'"),
        ("\x1b[2J\ud800", "'\\x1b[2J\\ud800'"),
        ("__class__", "'__class__'"),
    ):
        connection.sendall(frame({"verb": verb}))
        assert answer(connection)["error"]["message"] == f"unknown verb {shown}"


def test_requests_in_pieces_and_in_one(connection: socket.socket) -> None:
    """API-04: split writes, pipelining, half-close."""
    request = frame({"verb": "ping"})
    for at in range(len(request)):
        connection.sendall(request[at : at + 1])
    assert "result" in answer(connection)
    connection.sendall(request * 20 + frame(b"nonsense") + request)
    replies = [answer(connection) for _ in range(22)]
    assert ["error" in reply for reply in replies] == [False] * 20 + [True, False]
    connection.sendall(request)
    connection.shutdown(socket.SHUT_WR)
    assert "result" in answer(connection) and answer(connection) == {}


@pytest.mark.parametrize(
    "data", [b"", b"\0", b"\0\0\0", b"\0\0\0\5{}", struct.pack(">I", MAX_FRAME_BYTES), frame({"verb": "wait"})[:-1]]
)
def test_clients_that_leave_in_the_middle(world: World, connection: socket.socket, data: bytes) -> None:
    """API-04"""
    for _ in range(20):
        with connect(world) as other:
            other.sendall(data)
    assert "result" in ask(connection, "ping")


def test_a_frame_beyond_the_limit_ends_the_connection(world: World, connection: socket.socket) -> None:
    """API-04"""
    with connect(world) as other:
        other.sendall(struct.pack(">I", MAX_FRAME_BYTES + 1))
        said = answer(other)["error"]["message"]
        assert said == f"a request of {MAX_FRAME_BYTES + 1} bytes; the most is {MAX_FRAME_BYTES}"
        assert other.recv(1) == b""
    assert "result" in ask(connection, "ping")


HOSTILE: tuple[object, ...] = (
    True,
    -1,
    1e300,
    "",
    "a\0b",
    "\ud800",
    "../x",
    "-x",
    "$(id)",
    "a\nb\x1b[2J",
    "%n%s",
    "x" * 100_000,
    [],
    [1],
    [""],
    ["a\0b", "\ud800"],
    [[]],
    {},
    {"a": {"b": []}},
    {"image": "a", "\x1b": [None]},
)
# Verb -> what makes it a request that would be carried out, but for the one argument that is replaced
REQUESTS: dict[str, dict[str, object]] = {
    "create": {"spec": {"image": IMAGE}},
    "start": {"container": "nobody", "attach": False, "rows": 1, "columns": 1},
    "stop": {"container": "nobody", "timeout_seconds": 1},
    "restart": {"container": "nobody", "timeout_seconds": 1},
    "kill": {"container": "target", "signal": "USR1"},
    "rm": {"container": "nobody", "force": True},
    "list": {"all": True, "filters": {"name": ["x"]}},
    "inspect": {"container": "target"},
    "wait": {"container": "nobody"},
    "rename": {"container": "nobody", "name": "target"},
    "exec": {
        "container": "target",
        "command": ["true"],
        "env": ["A=1"],
        "user": "root",
        "workdir": "/",
        "tty": True,
        "privileged": False,
        "rows": 1,
        "columns": 1,
    },
    "attach": {"container": "nobody"},
    "logs": {"container": "target"},
    "set": {"container": "target", "spec": {"pids": 500}, "transient": True, "force": False},
    "limits": {"containers": ["target"], "tenants": [], "recent": True},
    "stats": {"containers": ["target"]},
    "top": {"container": "target"},
    "pause": {"container": "nobody"},
    "unpause": {"container": "nobody"},
    "cp_from": {"container": "target", "path": "/etc/passwd"},
    "cp_to": {"container": "target", "path": "/tmp"},
    "image_list": {},
    "image_import": {"source": "/nowhere", "name": "x", "config": {}},
    "image_rm": {"image": "nobody"},
    "network_create": {"name": "target", "driver": "none", "subnet": "", "subnet6": ""},
    "network_set": {"network": "nobody", "fast_path": True},
    "network_list": {},
    "network_inspect": {"network": "nobody"},
    "network_rm": {"network": "nobody"},
    "network_connect": {"network": "nobody", "container": "target", "ip": "", "ip6": ""},
    "network_disconnect": {"network": "nobody", "container": "target"},
    "tenant_create": {"name": "target", "spec": {"image": "a"}},
    "tenant_list": {},
    "tenant_inspect": {"tenant": "nobody"},
    "tenant_set": {"tenant": "nobody", "spec": {}, "transient": False, "force": False},
    "tenant_rm": {"tenant": "nobody"},
    "info": {},
    "ping": {},
}


def test_every_verb_with_arguments_that_are_none(world: World) -> None:
    """API-04, API-06, VAL-01: one clear error or a harmless answer; no internal error, nothing made, nothing left."""
    world.ok("run", "-d", "--name", "target", IMAGE, "payload", "sleep", "0")
    pid = world.supervisor_pid()
    before = what_is_there(world)
    bad = []
    for verb, proper in REQUESTS.items():
        for key in (*proper, "more"):
            for value in HOSTILE:
                with connect(world) as sock:
                    reply = ask(sock, verb, **{**proper, key: value})
                    while "event" in reply:
                        reply = answer(sock)
                message = reply["error"]["message"] if "error" in reply else "done"
                if (not message.isprintable() and key != "spec") or BAD.search(message):
                    bad.append(f"{verb} {key}={value!r:.40}: {message}")
                if key == "more":
                    assert message == f"not a request: '{verb}' takes no argument 'more'"
                if "result" in reply and verb == "create":
                    world.ok("rm", "-f", reply["result"]["id"])
                elif "result" in reply and verb == "tenant_create":
                    world.ok("tenant", "rm", reply["result"]["name"])
    assert bad == []
    assert pid == world.supervisor_pid()
    assert world.status("target") == "running"
    assert what_is_there(world) == before
    world.ok("rm", "-f", "target")
    poll_until(lambda: world.ok("ps", "-aq") == "", what="all are gone")


BAD = re.compile(r"internal error|ended without a result|Error\b|^$")


def what_is_there(world: World) -> dict[str, Any]:
    with connect(world) as sock:
        return {verb: ask(sock, verb)["result"] for verb in ("image_list", "network_list", "tenant_list")} | {
            "containers": [row["id"] for row in ask(sock, "list", all=True)["result"]]
        }
