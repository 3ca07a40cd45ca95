"""Connections to a replica: as the kernel lists them, and the wait for their end."""

import socket
import threading
from pathlib import Path

import pytest

from pycontainer.hosting.drain import connections, wait_until_drained

# From a kernel, shortened: listening, established to 127.0.0.1:8080, in TIME_WAIT to it, to another port.
TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   1: 0100007F:B2C4 0100007F:1F90 01 00000000:00000000 00:00000000 00000000     0        0 2 1 0 20 4 30 10 -1
   2: 0100007F:B2C6 0100007F:1F90 06 00000000:00000000 03:00000176 00000000     0        0 0 3 0
   3: 0100007F:B2C8 0100007F:1F91 01 00000000:00000000 00:00000000 00000000     0        0 3 1 0 20 4 30 10 -1
"""
TABLE6 = """\
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when
   0: 00000000000000000000000001000000:B2C4 B80D0120000000000000000002000000:0050 01 00000000:00000000 00:00000000
"""


def test_the_tables_of_the_kernel(tmp_path: Path) -> None:
    (tmp_path / "tcp").write_text(TABLE)
    (tmp_path / "tcp6").write_text(TABLE6)
    tables = (str(tmp_path / "tcp"), str(tmp_path / "tcp6"), str(tmp_path / "missing"))
    assert connections("127.0.0.1", 8080, tables) == 1
    assert connections("127.0.0.1", 8082, tables) == 0
    assert connections("2001:db8::2", 80, tables) == 1


@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_connection_of_ours(family: int, address: str) -> None:
    with socket.socket(family) as server:
        try:
            server.bind((address, 0))
        except OSError:
            pytest.skip("no such loopback here")
        server.listen()
        port = server.getsockname()[1]
        assert connections(address, port) == 0
        with socket.create_connection((address, port)):
            assert connections(address, port) == 1
            assert not wait_until_drained(address, port, 0.05, threading.Event())
        assert wait_until_drained(address, port, 0.05, threading.Event())
        stop = threading.Event()
        stop.set()
        assert not wait_until_drained(address, port, 60, stop)
