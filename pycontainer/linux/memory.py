"""Memory at an address that machine code and system calls can be told. mmap(2); the module `mmap` does not tell it."""

import errno

from pycontainer.linux import ffi
from pycontainer.linux.libc import checked, declare

PROT_READ, PROT_WRITE, PROT_EXEC = 1, 2, 4
_MAP_PRIVATE, _MAP_ANONYMOUS, _MAP_FIXED_NOREPLACE = 0x02, 0x20, 0x100000

_mmap = declare(
    "mmap", ffi.c_void_p, ffi.c_size_t, ffi.c_int, ffi.c_int, ffi.c_int, ffi.c_long, restype=ffi.c_long
)  # fmt: skip
_munmap = declare("munmap", ffi.c_void_p, ffi.c_size_t)


class Area:
    """Zeroed memory of ours alone: a child has a copy. It is unmapped when nothing refers to the object any more."""

    __slots__ = ("address", "length_bytes")

    def __init__(self, length_bytes: int, protection: int, *, at: int = 0) -> None:
        """`at` is where it has to be; OSError(EEXIST) if something is there."""
        self.length_bytes = 0
        flags = _MAP_PRIVATE | _MAP_ANONYMOUS | (_MAP_FIXED_NOREPLACE if at else 0)
        self.address = checked(_mmap(at, length_bytes, protection, flags, -1, 0), "mmap")
        self.length_bytes = length_bytes
        if at and self.address != at:  # before 4.17 the kernel takes it as a wish
            raise OSError(errno.EEXIST, "mmap: the address is taken")

    def write(self, offset: int, data: bytes) -> None:
        """Put `data` there; ValueError where it does not fit."""
        if not 0 <= offset <= self.length_bytes - len(data):
            raise ValueError(f"{len(data)} bytes do not fit at {offset} of {self.length_bytes}")
        ffi.memmove(self.address + offset, data, len(data))

    def __del__(self) -> None:
        if self.length_bytes:
            _munmap(self.address, self.length_bytes)
