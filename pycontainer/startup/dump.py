"""The file of a dump: a header, and segments of memory with the places they belong to.

    header      see _HEADER; the launcher maps it first and reads it
    segments    (address, length, protection, flags, offset) each, as mmap(2) takes them
    ranges      (address, length) each: of what nearly every start writes to, see `hot`
    files       (path, size, time of the last change) each: what the dump was made of, and their paths
    contents    page by page; long runs of zeros are no part of the file

Addresses are those that things had in the program that was dumped, which chose them at random. The launcher and the stack of
who goes on are at fixed ones: above each program and its heap (0x6555_5555_4000 and some, where the kernel places them with
the most chance that it has), so that the new heap, which begins behind the launcher, is above the dumped one, as libc wants
it; and below what else is mapped (0x6ffb_0000_0000 and more).
"""

import os
import struct
from typing import NamedTuple

PAGE_BYTES = 4096
STACK_ADDRESS, STACK_BYTES = 0x66F0_0000_0000, 8 << 20  # as long as the kernel's own may become, by default
LAUNCHER_ADDRESS = 0x6700_0000_0000
HEADER_ADDRESS, HEADER_BYTES = 0x66FF_0000_0000, 8 * PAGE_BYTES
PROT_READ, PROT_WRITE, PROT_EXEC = 1, 2, 4
_MAP_PRIVATE, _MAP_ANONYMOUS, _MAP_FIXED_NOREPLACE = 0x02, 0x20, 0x100000
_IN_FILE, _ZEROS = _MAP_PRIVATE | _MAP_FIXED_NOREPLACE, _MAP_PRIVATE | _MAP_FIXED_NOREPLACE | _MAP_ANONYMOUS
# key, boot id, files, where they are, segments, ranges, then registers
_HEADER = struct.Struct("<16s36s4xQQQQQQQQ")
_SEGMENT = struct.Struct("<QQQQQ")
_RANGE = struct.Struct("<QQ")
_FILE = struct.Struct("<QQQQ")
# What a launcher and a dump expect of one another.
LAYOUT = (
    f"{_HEADER.format} {_SEGMENT.format} {_RANGE.format} {_FILE.format} {STACK_ADDRESS} {HEADER_ADDRESS} {HEADER_BYTES}"
)
_HUGE_BYTES = 2 << 20  # what one entry of a page table's second level maps, if it lies in the file as it does in memory
_ZEROS_MIN_BYTES = 16 * PAGE_BYTES
_GAP_PAGES = 1  # between hot pages: to copy one more is cheaper than one more system call


class Memory(NamedTuple):
    """A piece of the program's memory."""

    address: int
    protection: int
    content: bytes

    def end(self) -> int:
        """Return the first address behind it."""
        return self.address + len(self.content)


class Registers(NamedTuple):
    """What is not memory, and where that is which the kernel tells each process anew."""

    stack_pointer: int
    thread_pointer: int
    thread_id_at: int
    heap_end_at: int


class File(NamedTuple):
    """What the dump was made of, as it was then."""

    path: str
    size: int
    mtime_ns: int


class Range(NamedTuple):
    """A piece of the address space."""

    address: int
    length: int


class Segment(NamedTuple):
    """What one mmap(2) puts in place."""

    address: int
    length: int
    protection: int
    flags: int
    offset: int

    def is_written_to(self) -> bool:
        """Say whether it comes out of the file and may change."""
        return bool(self.protection & PROT_WRITE) and self.flags == _IN_FILE


class Contents(NamedTuple):
    """All that a header says, but for whose it is."""

    files: list[File]
    segments: list[Segment]
    ranges: list[Range]
    registers: Registers


def write(path: str, memories: list[Memory]) -> list[Segment]:
    """Write what memory holds to the new file `path`, behind room for the header; return what is where. OSError"""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        segments: list[Segment] = []
        parts: list[tuple[int, memoryview]] = []
        offset = HEADER_BYTES
        for memory in joined(memories):
            for begin, end in _pieces(memory):
                address, length = memory.address + begin, end - begin
                if _is_zero(memory.content[begin:end]):
                    segments.append(Segment(address, length, memory.protection, _ZEROS, 0))
                    continue
                if length >= _HUGE_BYTES and not memory.protection & PROT_WRITE:
                    offset += (address - offset) % _HUGE_BYTES
                segments.append(Segment(address, length, memory.protection, _IN_FILE, offset))
                parts.append((offset, memoryview(memory.content)[begin:end]))
                offset += length
        _write_parts(fd, parts, offset)
    finally:
        os.close(fd)
    return segments


def write_header(path: str, contents: Contents, *, key: bytes, boot: bytes) -> None:
    """Write the header into the dump that is there. OSError; ValueError: it has no room for so much."""
    files, segments, ranges, registers = contents
    files_at = _HEADER.size + len(segments) * _SEGMENT.size + len(ranges) * _RANGE.size
    head = _HEADER.pack(key, boot, len(files), HEADER_ADDRESS + files_at, len(segments), len(ranges), *registers)
    head += b"".join([*(_SEGMENT.pack(*each) for each in segments), *(_RANGE.pack(*each) for each in ranges)])
    paths_at = files_at + len(files) * _FILE.size
    paths = b""
    for each in files:
        path_at = HEADER_ADDRESS + paths_at + len(paths)
        head += _FILE.pack(path_at, each.size, each.mtime_ns // 1_000_000_000, each.mtime_ns % 1_000_000_000)
        paths += os.fsencode(each.path) + b"\0"
    if len(head + paths) > HEADER_BYTES:
        raise ValueError(
            f"{len(files)} files, {len(segments)} segments and {len(ranges)} ranges: no header has so much room"
        )
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.pwrite(fd, head + paths, 0)
    finally:
        os.close(fd)


def is_true(path: str, *, key: bytes, boot: bytes) -> bool:
    """Say whether a dump is there which the launcher with this key would go on in."""
    try:
        with open(path, "rb") as file:
            head = file.read(HEADER_BYTES)
        if len(head) < HEADER_BYTES:
            return False
        found_key, found_boot, count, files_at, *_ = _HEADER.unpack_from(head)
        if (found_key, found_boot) != (key, boot):
            return False
        for at in range(count):
            path_at, size, seconds, nanoseconds = _FILE.unpack_from(head, files_at - HEADER_ADDRESS + at * _FILE.size)
            name = head[path_at - HEADER_ADDRESS :].partition(b"\0")[0]
            found = os.stat(name)
            if (found.st_size, found.st_mtime_ns) != (size, seconds * 1_000_000_000 + nanoseconds):
                return False
    except (OSError, struct.error):
        return False
    return True


def boot_of(path: str) -> bytes:
    """Return the id of the boot that a dump is of; empty for what is none."""
    with open(path, "rb") as file:
        head = file.read(_HEADER.size)
    return bytes(_HEADER.unpack(head)[1]) if len(head) == _HEADER.size else b""


def hot(pages: set[int]) -> list[Range]:
    """Return what to copy as the program begins: `pages`, by address, and the few between them."""
    found: list[Range] = []
    for page in sorted(pages):
        if found and page - (found[-1].address + found[-1].length) <= _GAP_PAGES * PAGE_BYTES:
            found[-1] = Range(found[-1].address, page + PAGE_BYTES - found[-1].address)
        else:
            found.append(Range(page, PAGE_BYTES))
    return found


def joined(memories: list[Memory]) -> list[Memory]:
    """Return the same memory in fewer pieces: each is a system call of every start, and another at its end.

    Pieces that follow one another become one if neither is writable, or both are: code and the constants beside it become
    one that can be executed, as linkers had it for decades. Nothing is ever both writable and executable.
    """
    found: list[Memory] = []
    for memory in sorted(memories):
        before = found[-1] if found else None
        if before is not None and before.end() == memory.address and _are_alike(before.protection, memory.protection):
            protection = before.protection | memory.protection
            found[-1] = Memory(before.address, protection, before.content + memory.content)
        else:
            found.append(memory)
    return found


def _are_alike(one: int, other: int) -> bool:
    return one & PROT_WRITE == other & PROT_WRITE and (one == other or not (one | other) & PROT_WRITE)


def _pieces(memory: Memory) -> list[tuple[int, int]]:
    """Return (begin, end) of what is in the file and of what is only zeros, in their order."""
    if not memory.protection & PROT_WRITE:
        return [(0, len(memory.content))]
    found: list[tuple[int, int]] = []
    begin = run = 0  # of the piece; of the zeros that we are in
    for at in range(0, len(memory.content), PAGE_BYTES):
        if _is_zero(memory.content[at : at + PAGE_BYTES]):
            continue
        if at - run >= _ZEROS_MIN_BYTES:
            if begin < run:
                found.append((begin, run))
            found.append((run, at))
            begin = at
        run = at + PAGE_BYTES
    length = len(memory.content)
    if length - run >= _ZEROS_MIN_BYTES:
        if begin < run:
            found.append((begin, run))
        found.append((run, length))
    else:
        found.append((begin, length))
    return found


def _write_parts(fd: int, parts: list[tuple[int, memoryview]], file_bytes: int) -> None:
    """Write a file of (offset, content), a huge page at a time; those of only zeros are holes.

    As much as is written at once may be one folio of the page cache, and whoever maps and unmaps a file does so by folios,
    not by pages: a start from a dump that was written page by page takes a third more time. ext4 from Linux 6.16 on.
    """
    for begin in range(0, file_bytes, _HUGE_BYTES):
        chunk = bytearray(min(_HUGE_BYTES, file_bytes - begin))
        end = begin + len(chunk)
        for offset, content in parts:
            first, last = max(begin, offset), min(end, offset + len(content))
            if first < last:
                chunk[first - begin : last - begin] = content[first - offset : last - offset]
        if not _is_zero(chunk) and os.pwrite(fd, chunk, begin) != len(chunk):
            raise OSError(28, "a short write of the dump")  # ENOSPC
    os.ftruncate(fd, file_bytes)


def _is_zero(content: bytes | bytearray) -> bool:
    return content.count(0) == len(content)
