"""Frames as the client reads them: a broken one is a lost connection, and no descriptor stays open (API-04)."""

import os
import resource
import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from pycontainer.api.messages import MAX_FRAME_BYTES, receive_frame, send_frame


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    here, there = socket.socketpair()
    with here, there:
        yield here, there


def test_frames_one_after_the_other(pair: tuple[socket.socket, socket.socket]) -> None:
    here, there = pair
    for message in ({"result": {"a": [1, "\udcff\u00e9"]}}, {}, None):
        send_frame(here, message)
    here.shutdown(socket.SHUT_WR)
    assert [receive_frame(there) for _ in range(4)] == [
        ({"result": {"a": [1, "\udcff\u00e9"]}}, []),
        ({}, []),
        (None, []),
        None,
    ]


def test_who_reads_a_frame_and_closes_has_read_it(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a request that was begun would be sent again."""
    here, there = pair
    send_fds = socket.send_fds

    def send_to_who_closes(*arguments: Any) -> int:
        sent = send_fds(*arguments)
        message, fds = receive_frame(there) or ({}, [])
        assert message == {"verb": "run"}
        os.close(*fds)
        there.close()
        return sent

    monkeypatch.setattr(socket, "send_fds", send_to_who_closes)
    send_frame(here, {"verb": "run"}, [here.fileno()])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\0\0", "connection closed in the middle of a frame"),
        (b"\0\0\0\5{}", "connection closed in the middle of a frame"),
        (b"\0\0\0\2{]", "a frame that is no JSON: Expecting property name enclosed in double quotes"),
        (b"\0\0\0\2\xff\xff", "a frame that is no JSON: 'utf-8' codec can't decode byte 0xff"),
        (b"\0\0\x27\x10" + b"[" * 10_000, "a frame that is no JSON: maximum recursion depth exceeded"),
        (struct.pack(">I", MAX_FRAME_BYTES + 1), "frame of 16777217 bytes, more than 16777216"),
    ],
)
def test_a_broken_frame(pair: tuple[socket.socket, socket.socket], data: bytes, message: str) -> None:
    here, there = pair
    read_fd, write_fd = os.pipe()
    socket.send_fds(here, [data], [write_fd])
    os.close(write_fd)
    here.shutdown(socket.SHUT_WR)
    with pytest.raises(ConnectionError) as caught:
        receive_frame(there)
    assert str(caught.value).startswith(message)
    os.set_blocking(read_fd, False)
    assert os.read(read_fd, 1) == b""  # the other end, which came with the frame, is closed
    os.close(read_fd)


def test_descriptors_for_which_there_is_no_room_are_missed(pair: tuple[socket.socket, socket.socket]) -> None:
    here, there = pair
    send_frame(here, {"verb": "run"}, [here.fileno()])
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(here.fileno())
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, limits[1]))
    try:
        with pytest.raises(ConnectionError, match="no room for the descriptors of a frame"):
            receive_frame(there)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
