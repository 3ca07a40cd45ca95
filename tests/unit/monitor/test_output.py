"""The pump between a container's streams, its log and attached clients, over real pipes and sockets."""

import contextlib
import fcntl
import json
import os
import select
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from pycontainer.monitor.logfile import LogFile
from pycontainer.monitor.output import Output
from pycontainer.monitor.poller import Poller


class Pump:
    def __init__(self, directory: Path) -> None:
        (directory / "c").mkdir()
        self.log_path = directory / "c/log"
        self.poller = Poller()
        out_read, self.stdout = os.pipe()
        err_read, self.stderr = os.pipe()
        self.stdin, in_write = os.pipe()
        log = LogFile(os.open(directory, os.O_PATH), "c", max_bytes=1 << 30, files=3)
        self.output = Output(self.poller, log, {out_read: 1, err_read: 2}, in_write, is_tty=False)

    def attach(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.output.attach(theirs)
        return ours

    def turn(self, until: Callable[[], bool] = lambda: True, rounds: int = 2000) -> None:
        for _ in range(rounds):
            self.poller.wait(0.01)
            if until():
                return
        raise AssertionError("the pump did not get there")


@pytest.fixture
def pump(tmp_path: Path) -> Pump:
    return Pump(tmp_path)


def test_streams_stay_apart(pump: Pump) -> None:
    client = pump.attach()
    os.write(pump.stdout, b"out")
    pump.turn()
    os.write(pump.stderr, b"err")
    pump.turn()
    assert [client.recv(100), client.recv(100)] == [b"\x01out", b"\x02err"]
    assert b"stdout P out" in pump.log_path.read_bytes()


def test_end_comes_after_all_output(pump: Pump) -> None:
    client = pump.attach()
    os.write(pump.stdout, b"last words")
    os.close(pump.stdout)
    os.close(pump.stderr)
    pump.output.drain()
    assert [client.recv(100), client.recv(100)] == [b"\x01last words", b"\x00"]
    late = pump.attach()
    assert late.recv(100) == b"\x00"


def test_who_outside_has_the_other_end_keeps_nobody_at_the_end(pump: Pump, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be a host's process, or one that got it over a socket; it writes faster than we read."""
    reads = list[int]()

    def read(output: Output, fd: int) -> int:
        reads.append(fd)
        assert len(reads) < 1000
        return 1 << 15

    monkeypatch.setattr(Output, "_read", read)
    fcntl.fcntl(pump.stdout, fcntl.F_SETPIPE_SZ, 1 << 19)
    pump.output.drain()
    assert pump.output.ended and not pump.output.sources
    assert len(reads) == (1 << 19 >> 15) + (1 << 16 >> 15), "of each of the two what its pipe holds"


def test_input_and_its_end(pump: Pump) -> None:
    client = pump.attach()
    client.send(b"\x03hello")
    client.send(b"\x04")
    pump.turn()
    pump.turn()
    assert os.read(pump.stdin, 100) == b"hello"
    assert os.read(pump.stdin, 100) == b""


def test_slow_client_loses_nothing_and_holds_the_source(pump: Pump) -> None:
    """What a client cannot take yet waits; the container's pipe fills, as with any pipe."""
    client = pump.attach()
    os.set_blocking(pump.stdout, False)
    sent = received = b""
    piece = bytes(range(256)) * 64
    for _ in range(400):
        try:
            sent += piece[: os.write(pump.stdout, piece)]
        except BlockingIOError:
            pump.poller.wait(0)
    assert len(sent) < 400 * len(piece), "the source was never held"
    os.close(pump.stdout)
    client.settimeout(0)
    while len(received) < len(sent):
        pump.poller.wait(0.01)
        try:
            received += client.recv(65536)[1:]
        except BlockingIOError:
            continue
    assert received == sent


def test_large_input_is_written_as_the_container_reads(pump: Pump) -> None:
    client = pump.attach()
    client.setblocking(False)
    data, got = os.urandom(300_000), b""
    sent = 0
    os.set_blocking(pump.stdin, False)
    while len(got) < len(data):
        if sent < len(data):
            try:
                client.send(b"\x03" + data[sent : sent + 20_000])
                sent += 20_000
            except BlockingIOError:
                pass
        pump.poller.wait(0.01)
        try:
            got += os.read(pump.stdin, 65536)
        except BlockingIOError:
            continue
    assert got == data


def test_no_more_is_taken_than_can_be_written_also_after_output_was_slow(pump: Pump) -> None:
    client, packet = pump.attach(), b"\x03" + bytes(30_000)
    client.setblocking(False)
    while not pump.output.handed_over()["input_pending"]:  # nobody reads it
        client.send(packet)
        pump.poller.wait(0)
    while not pending(pump):  # the client reads nothing, either
        os.write(pump.stdout, bytes(30_000))
        pump.poller.wait(0)
    while pending(pump):
        client.recv(1 << 16)
        pump.poller.wait(0)
    sent = 0
    with pytest.raises(BlockingIOError):
        while sent < 4_000_000:
            sent += client.send(packet)
            pump.poller.wait(0)
    assert len(str(pump.output.handed_over()["input_pending"])) <= 2 * 2 * len(packet)  # two digits for each byte


def pending(pump: Pump) -> list[str]:
    """Return the packets that the only client could not take yet."""
    (client,) = cast(list[dict[str, Any]], pump.output.handed_over()["clients"])
    return list(client["pending"])


def test_what_a_client_has_sent_before_it_left_goes_in(pump: Pump) -> None:
    """It left output unread: the kernel tells of that first, and only then what was sent."""
    client = pump.attach()
    os.write(pump.stdout, b"unread")
    pump.turn()
    client.send(b"\x03typed")
    client.close()
    pump.turn(lambda: pump.output.handed_over()["clients"] == [])
    assert os.read(pump.stdin, 100) == b"typed"


def test_a_client_that_leaves_is_forgotten(pump: Pump) -> None:
    client, other = pump.attach(), pump.attach()
    client.close()
    pump.turn()
    os.write(pump.stdout, b"on")
    pump.turn()
    assert other.recv(10) == b"\x01on"


def test_more_than_many_are_turned_away(pump: Pump) -> None:
    """Each takes a descriptor, and those are everybody's."""
    clients = [pump.attach() for _ in range(64)]
    with pump.attach() as late:
        assert late.recv(100) == b""
    os.write(pump.stdout, b"x")
    pump.turn()
    assert all(client.recv(100) == b"\x01x" for client in clients)
    clients.pop().close()
    pump.turn()
    clients.append(pump.attach())
    os.write(pump.stdout, b"y")
    pump.turn()
    for client in clients:
        assert client.recv(100) == b"\x01y"
        client.close()


def test_nonsense_from_a_client_is_ignored(pump: Pump) -> None:
    client = pump.attach()
    for packet in (b"\x63what", b"\x05", b"\x05abcd", b"\x03still here"):
        client.send(packet)
    for _ in range(6):
        pump.turn()
    assert os.read(pump.stdin, 100) == b"still here"


def test_a_terminal_that_nobody_has_open_is_not_at_its_end(tmp_path: Path) -> None:
    """As an init leaves its console, and a login opens it again; meanwhile it is no work for anybody."""
    (tmp_path / "c").mkdir()
    poller = Poller()
    master, slave = os.openpty()
    name = os.ttyname(slave)
    log = LogFile(os.open(tmp_path, os.O_PATH), "c", max_bytes=1 << 30, files=3)
    output = Output(poller, log, {master: 1}, os.dup(master), is_tty=True)
    for word in (b"booting", b"login:", b"bye"):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        output.attach(theirs)
        os.write(slave, word)
        os.close(slave)
        for _ in range(2000):  # the kernel passes a terminal's words on in its own time
            poller.wait(0.01)
            if select.select([ours], [], [], 0)[0] and not poller._epoll.poll(0):
                break
        assert ours.recv(100, socket.MSG_DONTWAIT) == b"\x01" + word
        assert not output.ended
        assert poller._epoll.poll(0) == [], "nobody is called for nothing"
        slave = os.open(name, os.O_RDWR | os.O_NOCTTY)
        ours.close()
    os.close(slave)
    output.drain()
    assert output.ended


def test_the_next_program_goes_on_where_the_last_one_left_off(pump: Pump, tmp_path: Path) -> None:
    """What a client has not taken and what the container has not read go along, and no byte comes twice."""
    client = pump.attach()
    sent = b"".join(b"%07d\n" % number for number in range(100_000))

    def feed() -> None:
        with open(pump.stdout, "wb", closefd=False) as file:
            file.write(sent)

    feeder = threading.Thread(target=feed)
    feeder.start()
    pump.turn(lambda: any(each["pending"] for each in pump.output.handed_over()["clients"]))  # type: ignore[attr-defined]
    large = b"x" * 30000
    for _ in range(4):
        client.send(b"\x03" + large)
    pump.turn(lambda: bool(pump.output.handed_over()["input_pending"]))
    state, before = pump.output.handed_over(), pump.output
    log = LogFile(os.open(tmp_path, os.O_PATH), "c", max_bytes=1 << 30, files=3)
    poller = Poller()
    output = Output.taken_over(poller, log, json.loads(json.dumps(state)))
    received, read = b"", b""
    client.setblocking(False)
    os.set_blocking(pump.stdin, False)
    while len(received) < len(sent) or len(read) < 4 * len(large):
        poller.wait(0.01)
        with contextlib.suppress(BlockingIOError):
            while True:
                received += client.recv(65536)[1:]
        with contextlib.suppress(BlockingIOError):
            while True:
                read += os.read(pump.stdin, 65536)
    feeder.join()
    assert received == sent
    assert read == 4 * large
    logged = b"".join(line.split(b" ", 3)[3] for line in pump.log_path.read_bytes().splitlines())
    assert logged == sent.replace(b"\n", b"")
    assert output.fds() == before.fds()
