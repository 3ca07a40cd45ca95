"""A file whose file system (FUSE) lets it be opened and then never answers: who closes it waits until the server is gone.

Source: kernel include/uapi/linux/fuse.h.
"""

import contextlib
import ctypes
import os
import signal
import stat
import struct
import tempfile
from collections.abc import Iterator

_LOOKUP, _GETATTR, _OPEN, _INIT = 1, 3, 14, 26
_IN, _OUT = struct.Struct("<IIQQIIII"), struct.Struct("<IiQ")
_MNT_DETACH = 2
_libc = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def stuck_file() -> Iterator[str]:
    """Give the path of such a file, for a process to open that need not end; afterwards nobody waits any more."""
    directory = tempfile.mkdtemp(prefix="pct-stuck-", dir="/var/tmp")
    server_fd = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={server_fd},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
    try:
        if _libc.mount(b"stuck", directory.encode(), b"fuse", 0, options):
            raise OSError(ctypes.get_errno(), "mount of fuse")
        pid = os.fork()
        if pid == 0:
            try:
                _serve(server_fd)
            finally:
                os._exit(0)
        os.close(server_fd)
        server_fd = -1
        try:
            yield f"{directory}/file"
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            _libc.umount2(directory.encode(), _MNT_DETACH)
    finally:
        if server_fd >= 0:
            os.close(server_fd)
        os.rmdir(directory)


def _serve(fd: int) -> None:
    """Answer what leads to an open file, and nothing after that."""
    while True:
        request = os.read(fd, 1 << 17 | 4096)
        _, opcode, unique, node, *_ = _IN.unpack_from(request)
        if opcode == _INIT:
            _answer(fd, unique, struct.pack("<IIIIHHIIHH32x", 7, 31, 0, 0, 0, 0, 4096, 1, 0, 0))
        elif opcode == _GETATTR and node == 1:
            _answer(fd, unique, struct.pack("<QII", 3600, 0, 0) + _attributes(1, stat.S_IFDIR | 0o755))
        elif opcode == _LOOKUP:
            _answer(fd, unique, struct.pack("<QQQQII", 2, 0, 3600, 0, 0, 0) + _attributes(2, stat.S_IFREG | 0o666))
        elif opcode == _OPEN:
            _answer(fd, unique, struct.pack("<QII", 1, 0, 0))


def _attributes(number: int, mode: int) -> bytes:
    return struct.pack("<QQQQQQIIIIIIIIII", number, 0, 0, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


def _answer(fd: int, unique: int, body: bytes) -> None:
    os.write(fd, _OUT.pack(_OUT.size + len(body), 0, unique) + body)
