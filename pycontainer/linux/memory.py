"""Memory at an address that machine code and system calls can be told. mmap(2); the module `mmap` does not tell it."""

import _thread
import errno
import os

from pycontainer.linux import ffi
from pycontainer.linux.libc import checked, declare

PROT_READ, PROT_WRITE, PROT_EXEC = 1, 2, 4
_MAP_PRIVATE, _MAP_ANONYMOUS, _MAP_FIXED_NOREPLACE = 0x02, 0x20, 0x100000

_MADV_DONTFORK, _MADV_DOFORK = 10, 11
_PAGE_BYTES = 4096
_RSEQ_BYTES = 32  # what is registered where libc says 0, or 20

_mmap = declare(
    "mmap", ffi.c_void_p, ffi.c_size_t, ffi.c_int, ffi.c_int, ffi.c_int, ffi.c_long, restype=ffi.c_long
)  # fmt: skip
_munmap = declare("munmap", ffi.c_void_p, ffi.c_size_t)
_madvise = declare("madvise", ffi.c_void_p, ffi.c_size_t, ffi.c_int)


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


class Spared:
    """Within, a child gets no copy of our memory other than of `kept`; a `with` statement, which is used again and again.

    The kernel has less to copy then; and we have not to copy each page anew that we write to while the child has it as well.
    The child runs on what is in `kept` alone: no stack, no library, no handler of a signal. What is mapped later is copied.
    """

    __slots__ = ("_ranges",)

    def __init__(self, kept: Area) -> None:
        fd = os.open("/proc/self/maps", os.O_RDONLY | os.O_CLOEXEC)
        try:
            text = b""
            while piece := os.read(fd, 65536):
                text += piece
        finally:
            os.close(fd)
        self._ranges = ranges_beside(text, [(kept.address, kept.address + kept.length_bytes), *_written_by_kernel()])

    def __enter__(self) -> None:
        self._advise(_MADV_DONTFORK)

    def __exit__(self, *_: object) -> None:
        self._advise(_MADV_DOFORK)

    def _advise(self, advice: int) -> None:
        for begin, end in self._ranges:
            while _madvise(begin, end - begin, advice) == -1 and ffi.get_errno() == errno.EAGAIN:
                continue  # no memory for the kernel's own list: who stayed spared would be missing to the next fork
            # ENOMEM is for the holes in the range, which are skipped.


def _written_by_kernel() -> list[tuple[int, int]]:
    """Return the pages in which the kernel writes when it runs a child of this thread: libc's area for rseq(2).

    A child to whom that is registered and missing is killed. Where it is libc says since 2.35, before which there is none:
    so far from the thread pointer, which pthread_self(3) is: behind it up to 2.40, before it since 2.41.
    """
    library, thread = ffi.open_library(None), _thread.get_ident()
    try:
        offset = ffi.c_long.from_address(ffi.address(library, "__rseq_offset")).value
        size = ffi.c_uint.from_address(ffi.address(library, "__rseq_size")).value
    except OSError:
        offset = size = 0
    begin = (thread + offset) & -_PAGE_BYTES
    end = (thread + offset + max(size, _RSEQ_BYTES) + _PAGE_BYTES - 1) & -_PAGE_BYTES
    return [(begin, end)]


def ranges_beside(maps: bytes, kept: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return as few ranges as hold all that `maps` lists and nothing of `kept` or the kernel's own. proc_pid_maps(5)"""
    first = last = 0
    walls = sorted(kept)
    for line in maps.splitlines():
        places, _, rest = line.partition(b" ")
        begin, end = (int(each, 16) for each in places.split(b"-"))
        if b"[v" in rest:  # vvar, vdso, vsyscall: MADV_DOFORK is refused there, and goes no further
            walls.append((begin, end))
        else:
            first, last = first or begin, end
    found = []
    for begin, end in sorted(walls):
        if first < min(begin, last):
            found.append((first, min(begin, last)))
        first = max(first, end)
    return [*found, (first, last)] if first < last else found
