"""The connection: requests, errors, descriptors, what happens when nobody answers."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pycontainer.client import connection as module
from pycontainer.client.connection import Connection, ConnectionLost, NotRead, Pool
from pycontainer.errors import Busy, InvalidInput, NotPermitted, SupervisorUnavailable
from pycontainer.paths import HostPaths
from tests.unit.client.fake_supervisor import Exchange, FakeSupervisor, HangUp


def test_request_returns_the_result() -> None:
    with FakeSupervisor({"inspect": lambda exchange: {"version": "1", "got": exchange.args}}) as fake:
        connection = Connection(fake.paths)
        assert connection.request("inspect", {"container": "ä"}) == {"version": "1", "got": {"container": "ä"}}
        assert connection.is_idle
        connection.close()


def test_error_keeps_its_class_and_hint_and_the_connection_goes_on() -> None:
    def busy(exchange: Exchange) -> object:
        raise Busy("container 'web' is busy", hint="wait")

    with FakeSupervisor({"stop": busy, "ping": lambda exchange: 1}) as fake:
        connection = Connection(fake.paths)
        with pytest.raises(Busy, match=r"^container 'web' is busy$") as caught:
            connection.request("stop", {})
        assert caught.value.hint == "wait"
        assert connection.request("ping", {}) == 1
        connection.close()


def test_descriptors_travel_both_ways() -> None:
    def echo(exchange: Exchange) -> object:
        os.write(exchange.fds[0], b"from the fake")
        exchange.event({"started": 1}, [exchange.fds[0]])
        return {}

    with FakeSupervisor({"exec": echo}) as fake:
        connection = Connection(fake.paths)
        read_fd, write_fd = os.pipe()
        connection.send("exec", {}, [write_fd])
        is_result, payload, fds = connection.receive()
        assert (is_result, payload, len(fds)) == (False, {"started": 1}, 1)
        os.write(fds[0], b", and back")
        assert connection.receive() == (True, {}, [])
        assert os.read(read_fd, 100) == b"from the fake, and back"
        for fd in (read_fd, write_fd, *fds):
            os.close(fd)
        connection.close()


def test_lost_connection_names_the_verb() -> None:
    def hang_up(exchange: Exchange) -> object:
        raise HangUp

    with FakeSupervisor({"stop": hang_up}) as fake:
        connection = Connection(fake.paths)
        with pytest.raises(
            ConnectionLost, match=r"^the connection to the supervisor was lost during 'stop'$"
        ) as caught:
            connection.request("stop", {})
        assert caught.value.exit_code == 8
        connection.close()


def test_what_was_not_read_is_asked_again() -> None:
    """Of five supervisors, each of which is told to end at that very moment; then it is told."""
    with FakeSupervisor({"stop": lambda exchange: 1}) as fake:
        pool = Pool(fake.paths)
        fake.deaf_count = 4
        assert pool.request("stop", {}) == 1
        assert fake.requests == [("stop", {})]
        fake.deaf_count = 6
        pool.close()
        pool = Pool(fake.paths)
        with pytest.raises(NotRead, match=r"^the connection to the supervisor was lost during 'stop'$"):
            pool.request("stop", {})
        assert (fake.deaf_count, fake.requests) == (1, [("stop", {})])
        pool.close()


def test_what_was_read_is_never_asked_again() -> None:
    def hang_up(exchange: Exchange) -> object:
        raise HangUp

    with FakeSupervisor({"stop": hang_up}) as fake:
        pool = Pool(fake.paths)
        with pytest.raises(ConnectionLost) as caught:
            pool.request("stop", {})
        assert type(caught.value) is ConnectionLost
        assert fake.requests == [("stop", {})]
        pool.close()


@pytest.mark.parametrize("is_sent_before", [True, False])
def test_nobody_reads_the_request(tmp_path: Path, *, is_sent_before: bool) -> None:
    """Whoever listens goes without having accepted the connection."""
    paths = HostPaths(f"{tmp_path}")
    os.makedirs(paths.run_dir)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(paths.supervisor_socket)
        listener.listen()
        connection = Connection(paths, start=False)
        if is_sent_before:
            connection.send("ping", {})
    with pytest.raises(NotRead):
        connection.receive() if is_sent_before else connection.send("ping", {})
    connection.close()


def test_pool_uses_an_idle_connection_again_and_replaces_a_stale_one() -> None:
    with FakeSupervisor({"ping": lambda exchange: 1}) as fake:
        pool = Pool(fake.paths)
        pool.request("ping", {})
        pool.request("ping", {})
        assert fake.connection_count == 1
        connection = pool.take()
        connection._sock.shutdown(socket.SHUT_RDWR)  # what the end of the supervisor looks like
        pool.give_back(connection)
        assert pool.request("ping", {}) == 1
        assert fake.connection_count == 2
        pool.close()


def test_nobody_listens_and_nothing_may_be_started(tmp_path: object) -> None:
    with pytest.raises(SupervisorUnavailable, match="not running"):
        Connection(HostPaths(f"{tmp_path}/w"), start=False)


def test_long_root_is_refused_with_a_reason() -> None:
    with pytest.raises(InvalidInput, match="longer than 107 bytes"):
        Connection(HostPaths("/tmp/" + "x" * 120))


def test_not_root_is_told_so(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(NotPermitted, match=r"^pycontainer must run as root$") as caught:
        Connection(HostPaths(f"{tmp_path}/w"))
    assert "sudo" in caught.value.hint
    assert not os.path.exists(f"{tmp_path}/w")


FAKE_PROGRAM = """
import os, socket, sys
ready_fd = int(sys.argv[-1])
{body}
"""
SERVES_ONE_PING = """
import json, struct
listener = socket.socket(socket.AF_UNIX)
listener.bind({path!r})
listener.listen()
os.write(ready_fd, b"1")
os.close(ready_fd)
sock, _ = listener.accept()
sock.recv(4096)
fds = sorted(os.listdir("/proc/self/fd"))
facts = [os.getsid(0) != int({session}), os.getppid() != int({parent}), os.getcwd(), fds]
body = json.dumps({{"result": facts}}).encode()
sock.sendall(struct.pack(">I", len(body)) + body)
"""


def _use_program(monkeypatch: pytest.MonkeyPatch, directory: str, body: str) -> None:
    """Have the client start this instead of the supervisor."""
    program = f"{directory}/program.py"
    with open(program, "w") as file:
        file.write(FAKE_PROGRAM.format(body=body))
    run = subprocess.run

    def replaced(command: list[str], **options: object) -> object:
        at = command.index("-m")
        assert command[at - 2 : at + 2] == [sys.executable, "-I", "-m", "pycontainer.supervisor.main"]
        assert command[at + 2] == "--root"
        return run([*command[: at - 1], "-I", program, *command[at + 2 :]], **options)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "run", replaced)


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="starting the supervisor is refused to others")


@needs_root
def test_starts_the_supervisor_detached(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    paths = HostPaths(f"{tmp_path}/w")
    body = SERVES_ONE_PING.format(path=paths.supervisor_socket, session=os.getsid(0), parent=os.getpid())
    _use_program(monkeypatch, str(tmp_path), body)
    connection = Connection(paths)
    other_session, other_parent, directory, fds = connection.request("ping", {})
    connection.close()
    assert (other_session, other_parent, directory) == (True, True, "/")
    assert fds == [
        "0",
        "1",
        "2",
        "3",
        "4",
        "5",
    ]  # stdio, the listener, its client, and the listing itself: none of ours
    assert os.stat(paths.supervisor_log).st_mode & 0o777 == 0o600


@needs_root
def test_supervisor_that_fails_is_reported_with_its_last_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    paths = HostPaths(f"{tmp_path}/w")
    _use_program(monkeypatch, str(tmp_path), 'sys.exit("the kernel is too old")')
    with pytest.raises(
        SupervisorUnavailable, match="it ended before it was ready; it said: the kernel is too old$"
    ) as caught:
        Connection(paths)
    assert paths.supervisor_log in caught.value.hint


@needs_root
def test_supervisor_that_never_is_ready_is_not_waited_for_for_ever(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    paths = HostPaths(f"{tmp_path}/w")
    monkeypatch.setattr(module, "READY_TIMEOUT_SECONDS", 0.2)
    _use_program(monkeypatch, str(tmp_path), "sys.stdin.read(); import select; select.select([], [], [], 2)")
    with pytest.raises(SupervisorUnavailable, match="not ready after 0.2 seconds"):
        Connection(paths)
