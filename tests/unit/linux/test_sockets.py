"""Who is at the other end of a unix socket."""

import os
import socket

import pytest

from pycontainer.linux.sockets import peer_groups, peer_ids


def test_our_own_other_end() -> None:
    """API-01"""
    first, second = socket.socketpair(socket.AF_UNIX)
    with first, second:
        assert peer_ids(first.fileno()) == (os.geteuid(), os.getegid())
        assert sorted(peer_groups(first.fileno())) == sorted(os.getgroups())


def test_what_is_no_socket() -> None:
    read_fd, write_fd = os.pipe()
    try:
        with pytest.raises(OSError, match="getsockopt: Socket operation on non-socket"):
            peer_ids(read_fd)
    finally:
        os.close(read_fd)
        os.close(write_fd)
