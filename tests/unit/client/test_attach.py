"""The attach relay, and starting with output connected, against a fake monitor on the other end of the socket."""

import os
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable

import pytest

from pycontainer.api.messages import (
    ATTACH_END,
    ATTACH_RESIZE,
    ATTACH_STDERR,
    ATTACH_STDIN,
    ATTACH_STDIN_END,
    ATTACH_STDOUT,
)
from pycontainer.client.attach import relay_attach
from pycontainer.client.client import Client
from pycontainer.client.feed import Feed
from pycontainer.client.terminal import DetachKeys
from pycontainer.errors import NotFound, PycontainerError, StartFailed
from tests.support.world import PROGRAM
from tests.unit.client.fake_supervisor import Exchange, FakeSupervisor, HangUp, Verb, container_info

BIG = os.urandom(1_000_000)


def relayed(monitor: Callable[[socket.socket], None], feed: Feed | None) -> tuple[bool, bytes, bytes]:
    """Run the relay against `monitor`; return (ended, stdout, stderr)."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    out: list[bytes] = []
    err: list[bytes] = []
    thread = threading.Thread(target=monitor, args=(theirs,))
    thread.start()
    with ours:
        ended = relay_attach(ours, feed, out.append, err.append)
    thread.join()
    theirs.close()
    return ended, b"".join(out), b"".join(err)


def packet(kind: int, data: bytes = b"") -> bytes:
    return bytes((kind,)) + data


def test_output_until_the_end() -> None:
    def monitor(sock: socket.socket) -> None:
        sock.send(packet(ATTACH_STDOUT, b"out"))
        sock.send(packet(ATTACH_STDERR, b"err"))
        sock.send(packet(ATTACH_STDOUT, b"put"))
        sock.send(packet(ATTACH_END))

    assert relayed(monitor, None) == (True, b"output", b"err")


def test_input_and_its_end_arrive_while_output_flows() -> None:
    got = bytearray()

    def monitor(sock: socket.socket) -> None:
        while (received := sock.recv(1 << 16))[0] == ATTACH_STDIN:
            assert len(received) <= 32768
            got.extend(received[1:])
            sock.send(packet(ATTACH_STDOUT, received[1:]))
        assert received == packet(ATTACH_STDIN_END)
        sock.send(packet(ATTACH_END))

    assert relayed(monitor, Feed(data=BIG)) == (True, BIG, b"")
    assert bytes(got) == BIG


def test_a_socket_that_closes_without_an_end_is_told_of() -> None:
    """All that was sent before is delivered; what the monitor left unread, which the kernel tells first, is no end."""
    out: list[bytes] = []
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.send(packet(ATTACH_STDIN, b"unread"))
    theirs.send(packet(ATTACH_STDOUT, b"last"))
    theirs.send(packet(ATTACH_STDOUT, b" words"))
    theirs.close()
    with ours, pytest.raises(PycontainerError, match="output ends here"):
        relay_attach(ours, None, out.append, out.append)
    assert out == [b"last", b" words"]


def test_detach_keys_deliver_what_was_typed_before() -> None:
    read_fd, write_fd = os.pipe()
    os.write(write_fd, b"ls\x10\x11never")
    got: list[bytes] = []
    feed = Feed(source_fd=read_fd, detach_keys=DetachKeys())
    assert relayed(lambda sock: got.append(sock.recv(100)), feed) == (False, b"", b"")
    assert got == [packet(ATTACH_STDIN, b"ls")]
    os.close(read_fd)
    os.close(write_fd)


def test_size_of_the_terminal_is_sent_first() -> None:
    import fcntl
    import termios

    master_fd, slave_fd = os.openpty()
    fcntl.ioctl(slave_fd, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 101, 0, 0))
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    theirs.send(packet(ATTACH_END))
    assert relay_attach(ours, None, print, print, terminal_fd=slave_fd)
    assert theirs.recv(100) == packet(ATTACH_RESIZE, struct.pack("HH", 33, 101))
    for fd in (master_fd, slave_fd):
        os.close(fd)
    ours.close()
    theirs.close()


def started(exchange: Exchange) -> object:
    """Play the container: echo its input in capitals, then end."""
    sock = socket.socket(fileno=exchange.fds.pop())

    def monitor() -> None:
        with sock:
            while (received := sock.recv(1 << 16))[0] == ATTACH_STDIN:
                sock.send(packet(ATTACH_STDOUT, received[1:].upper()))
            sock.send(packet(ATTACH_STDERR, b"bye"))
            sock.send(packet(ATTACH_END))

    threading.Thread(target=monitor).start()
    return container_info()


def ran(exit_code: int, **fields: object) -> Verb:
    """Answer `run` as the supervisor does: at the start, and at the end."""

    def answer(exchange: Exchange) -> object:
        started(exchange)
        exchange.event({"started": container_info(status="created", **fields)})
        return {"exit_code": exit_code}

    return answer


def test_run_and_wait_returns_output_and_exit_code() -> None:
    with FakeSupervisor({"run": ran(7, stdin_open=True)}) as fake, Client(fake.root) as host:
        done = host.run("busybox", ["cat"], detach=False, stdin=b"hello", name="web")
    assert (done.exit_code, done.stdout, done.stderr) == (7, "HELLO", "bye")
    spec = {"name": "web", "stdin_open": True, "image": "busybox", "command": ["cat"]}
    assert fake.requests == [("run", {"spec": spec, "attach": True})]


def test_the_supervisor_goes_away_while_it_runs() -> None:
    """The next one is asked how it ended; of a container that is gone by then nobody knows."""

    def die(exchange: Exchange) -> object:
        started(exchange)
        exchange.event({"started": container_info(stdin_open=True)})
        raise HangUp

    def gone(exchange: Exchange) -> object:
        raise NotFound("no container")

    with FakeSupervisor({"run": die, "wait": lambda exchange: {"exit_code": 3}}) as fake, Client(fake.root) as host:
        assert host.run("busybox", detach=False).exit_code == 3
        assert fake.requests[1:] == [("wait", {"container": "0123456789ab"})]
        fake.verbs["wait"] = gone
        with pytest.raises(PycontainerError, match="exit code could not be learnt"):
            host.run("busybox", detach=False)


def test_exit_code_of_a_container_that_removes_itself() -> None:
    removed = threading.Event()

    def events(exchange: Exchange) -> object:
        exchange.event({"type": "listening"})
        removed.wait(10)
        for kind, details in (("exec", {}), ("die", {"exit_code": 9}), ("remove", {})):
            exchange.event({"type": kind, "id": "0123456789ab", "name": "web", **details})
        return {}

    def start(exchange: Exchange) -> object:
        removed.set()  # it has ended and is gone before the client hears that it started
        return started(exchange)

    def wait(exchange: Exchange) -> object:
        raise NotFound("no container")

    info = container_info(status="created", auto_remove=True, stdin_open=True)
    verbs = {"create": lambda x: info, "list": lambda x: [info], "start": start, "wait": wait, "events": events}
    with FakeSupervisor(verbs) as fake, Client(fake.root) as host:
        assert host.create("busybox", auto_remove=True).start_captured().exit_code == 9


def test_container_that_cannot_start_is_removed() -> None:
    def start(exchange: Exchange) -> object:
        raise StartFailed("no such file", step="execve", errno=2)

    verbs = {"create": lambda x: container_info(status="created"), "start": start, "rm": lambda exchange: {}}
    with FakeSupervisor(verbs) as fake, Client(fake.root) as host:
        container = host.create("busybox", ["nosuch"])
        with pytest.raises(StartFailed):
            container.start()
        assert [verb for verb, _ in fake.requests] == ["create", "start"]
        with pytest.raises(StartFailed):
            container.start(remove_on_failure=True)
        assert fake.requests[-1] == ("rm", {"container": "0123456789ab", "force": True})


@pytest.mark.parametrize("detach", [True, False])
def test_what_cannot_run_is_one_request(detach: bool) -> None:
    """The supervisor leaves nothing of it: there is nothing for us to remove."""

    def run(exchange: Exchange) -> object:
        raise StartFailed("no such file", step="execve", errno=2)

    with FakeSupervisor({"run": run}) as fake, Client(fake.root) as host:
        with pytest.raises(StartFailed, match="no such file"):
            host.run("busybox", ["nosuch"], detach=detach)  # type: ignore[call-overload]
        assert [verb for verb, _ in fake.requests] == ["run"]


def test_an_interrupt_takes_a_run_back_that_has_not_begun() -> None:
    """And what is to be passed on waits until there is somebody to pass it on to."""
    asked, hung_up, passed = threading.Event(), threading.Event(), threading.Event()

    def never(exchange: Exchange) -> object:
        asked.set()
        if exchange.sock.recv(1) == b"":
            hung_up.set()
        raise HangUp

    def later(exchange: Exchange) -> object:
        asked.set()
        may_begin.wait(10)
        with socket.socket(fileno=exchange.fds.pop()) as sock:
            exchange.event({"started": container_info(status="created")})
            passed.wait(10)
            sock.send(packet(ATTACH_END))
        return {"exit_code": 5}

    def kill(exchange: Exchange) -> object:
        assert exchange.args["signal"] == "SIGUSR1"
        passed.set()
        return {}

    may_begin = threading.Event()
    with FakeSupervisor({"run": never, "kill": kill}) as fake:
        command = [PROGRAM, "--root", fake.root, "run", "busybox"]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert asked.wait(10)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130 and hung_up.wait(10)
        asked.clear()
        fake.verbs["run"] = later
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert asked.wait(10)
        process.send_signal(signal.SIGUSR1)
        time.sleep(0.1)
        may_begin.set()
        assert process.wait(10) == 5 and passed.wait(10)
