"""Pseudo terminals: what a failure leaves open."""

import os
import struct

import pytest

from pycontainer.linux.tty import open_pty


def test_a_slave_that_cannot_be_given_away_is_closed() -> None:
    """One that stays open is a terminal less for the whole host, and a container's root can make it fail."""
    ptmx_fd = os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        before = os.listdir("/proc/self/fd")
        with pytest.raises(struct.error):
            open_pty(ptmx_fd, window=(1 << 16, 80))
        assert os.listdir("/proc/self/fd") == before
    finally:
        os.close(ptmx_fd)
