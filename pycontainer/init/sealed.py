"""The sealed program: a table of system calls as an executable that lives in memory alone.

An ELF of one segment, written into a memfd and sealed against every change. The child executes it (execveat), so that
between clone and execve no Python runs, nothing of the monitor's memory is mapped, and there is no file of ours that a
container could open and overwrite (the class of CVE-2019-5736). memfd_create(2), fcntl(2) F_ADD_SEALS, elf(5).
"""

import fcntl
import os
import struct

from pycontainer.init.machine import CODES, Code
from pycontainer.init.table import BASE, Table

_EHDR = struct.Struct("<16sHHIQQQIHHHHHH")
_PHDR = struct.Struct("<IIQQQQQQ")
HEADER_BYTES = 128  # both headers (120), rounded up so that the code is aligned
_F_ADD_SEALS = 1033
_ALL_SEALS = 0x0001 | 0x0002 | 0x0004 | 0x0008  # SEAL SHRINK GROW WRITE
_MFD_CLOEXEC, _MFD_ALLOW_SEALING, _MFD_EXEC = 1, 2, 0x10


def new_memfd() -> int:
    """Return an empty memfd to be filled by `write_program`; the child may already hold it."""
    try:
        return os.memfd_create("pycontainer-init", _MFD_CLOEXEC | _MFD_ALLOW_SEALING | _MFD_EXEC)
    except OSError:  # before 6.3 the kernel does not know MFD_EXEC and every memfd is executable
        return os.memfd_create("pycontainer-init", _MFD_CLOEXEC | _MFD_ALLOW_SEALING)


def build(table: Table, machine: str) -> tuple[bytes, int]:
    """Return the whole program for `machine` and the address of its first row."""
    code = CODES.get(machine, _NO_CODE)
    body, report, rows = table.layout(bytes(HEADER_BYTES) + code.data, BASE)
    image = bytearray(body)
    entry = BASE + HEADER_BYTES + code.program_offset
    image[0:64] = _EHDR.pack(
        b"\x7fELF\x02\x01\x01".ljust(16, b"\0"), 2, code.elf_machine, 1, entry, 64, 0, 0, 64, 56, 1, 0, 0, 0
    )
    image[64:120] = _PHDR.pack(1, 7, 0, BASE, BASE, len(image), len(image), 0x1000)
    for word, value in ((code.rows_word, rows), (code.report_word, report)):
        struct.pack_into("<Q", image, HEADER_BYTES + word, value)
    return bytes(image), rows


def addresses(image: bytes, machine: str) -> tuple[int, int]:
    """Return (first row, report) of a program built for `machine`; the interpreter starts from here."""
    code = CODES.get(machine, _NO_CODE)
    rows = struct.unpack_from("<Q", image, HEADER_BYTES + code.rows_word)[0]
    report = struct.unpack_from("<Q", image, HEADER_BYTES + code.report_word)[0]
    return rows, report


def write_program(memfd: int, image: bytes) -> None:
    """Fill and seal `memfd`; from here on nobody can change a byte of it."""
    written = os.pwrite(memfd, image, 0)
    if written != len(image):
        raise OSError(28, "memfd: short write")
    fcntl.fcntl(memfd, _F_ADD_SEALS, _ALL_SEALS)


# A machine without code: just the two address words, for the interpreter.
_NO_CODE = Code("00" * 16, elf_machine=0, program_offset=0, rows_word=0, report_word=8)
