"""Descriptors that no other program inherits."""

import os
import resource
import socket
import subprocess
import sys

import pytest

from pycontainer.linux.descriptors import receive_fds


def test_what_is_received_is_closed_on_exec() -> None:
    """Python's own recv_fds does not hand on the flag."""
    first, second = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with first, second:
        read_fd, write_fd = os.pipe()
        socket.send_fds(first, [b"two"], [read_fd, write_fd])
        data, fds = receive_fds(second, 16, 4)
        try:
            assert (data, len(fds)) == (b"two", 2)
            assert not any(map(os.get_inheritable, fds))
            os.write(fds[1], b"x")
            assert os.read(read_fd, 1) == b"x"
        finally:
            for fd in (read_fd, write_fd, *fds):
                os.close(fd)
        first.close()
        assert receive_fds(second, 16, 4) == (b"", [])


@pytest.mark.parametrize("is_full", [True, False])
def test_without_all_that_came_nothing_is_taken(*, is_full: bool) -> None:
    """More than was expected, or than there are numbers for: none of them stays open."""
    first, second = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with first, second:
        socket.send_fds(first, [b"three"], [0] * 3)
        free = os.dup(0)
        os.close(free)
        if is_full:
            resource.setrlimit(resource.RLIMIT_NOFILE, (free + 1, limits[1]))
        try:
            with pytest.raises(ConnectionError, match="no room for the descriptors"):
                receive_fds(second, 16, 4 if is_full else 2)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert os.dup(0) == free
        os.close(free)


def test_all_are_closed_on_exec_but_the_standard_ones() -> None:
    program = (
        "import os; from pycontainer.linux.descriptors import close_all_on_exec\n"
        "fd = os.open('/dev/null', os.O_RDONLY); os.set_inheritable(fd, True)\n"
        "close_all_on_exec(); print([os.get_inheritable(each) for each in (0, 1, 2, fd)])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[True, True, True, False]"


def test_a_table_is_made_as_large_as_it_may_be() -> None:
    program = (
        "import os, resource; from pycontainer.linux.descriptors import make_room\n"
        "def table():\n"
        "    status = open('/proc/self/status').read()\n"
        "    return int(status.partition('FDSize:')[2].split()[0]), len(os.listdir('/proc/self/fd'))\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (700, 700)); before = table()\n"
        "make_room(8192); print(*before, *table())\n"
        "os.dup2(0, 699); make_room(8192); print(*table())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL
    )
    small, count, large, same, again, more = map(int, done.stdout.split())
    assert small < 700 <= large == again <= 1024 and (same, more) == (count, count + 1)
