"""Memory at known addresses."""

import errno
import os
from pathlib import Path

import pytest

from pycontainer.init.birth import Bearer
from pycontainer.init.table import Table
from pycontainer.linux import ffi
from pycontainer.linux.libc import MACHINE, syscall_number
from pycontainer.linux.memory import PROT_READ, PROT_WRITE, Area, ranges_beside


def is_mapped(address: int) -> bool:
    with open("/proc/self/maps") as maps:
        ranges = (line.split()[0].split("-") for line in maps)
        return any(int(first, 16) <= address < int(end, 16) for first, end in ranges)


def test_an_area_is_where_it_was_asked_for_and_goes_with_its_object() -> None:
    at = Area(8192, PROT_READ).address  # free again at once; what else is mapped is different in each process
    assert not is_mapped(at)
    area = Area(8192, PROT_READ | PROT_WRITE, at=at)
    assert area.address == at and is_mapped(at)
    with pytest.raises(OSError) as caught:
        Area(4096, PROT_READ, at=at)
    assert caught.value.errno == errno.EEXIST
    assert is_mapped(at)
    del area
    assert not is_mapped(at)


def test_what_is_written_stays_within_it() -> None:
    area = Area(4096, PROT_READ | PROT_WRITE)
    area.write(4093, b"end")
    assert ffi.string_at(area.address + 4092, 4) == b"\0end"
    for offset, data in ((4094, b"end"), (-1, b"x"), (0, bytes(4097))):
        with pytest.raises(ValueError, match="do not fit"):
            area.write(offset, data)


def test_a_child_writes_into_its_own_copy() -> None:
    area = Area(4096, PROT_READ | PROT_WRITE)
    pid = os.fork()
    if pid == 0:
        area.write(0, b"child")
        os._exit(0)
    os.waitpid(pid, 0)
    assert ffi.string_at(area.address, 5) == bytes(5)


MAPS = b"""\
00400000-00500000 r-xp 00000000 08:01 1 /usr/bin/python
00600000-00700000 rw-p 00000000 00:00 0 [heap]
10000000-10010000 rw-p 00000000 00:00 0
10010000-10020000 rwxp 00000000 00:00 0
10020000-10030000 rw-p 00000000 00:00 0
7f0000000000-7f0000008000 r--p 00000000 00:00 0 [vvar]
7f0000008000-7f000000a000 r-xp 00000000 00:00 0 [vdso]
7f000000a000-7f000000b000 rw-p 00000000 08:01 2 /usr/lib/ld.so
7ffc00000000-7ffc00021000 rw-p 00000000 00:00 0 [stack]
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]
"""


def test_what_a_child_is_spared_is_all_but_what_is_kept_and_the_kernels_own() -> None:
    kept = (0x10010000, 0x10020000)
    assert ranges_beside(MAPS, [kept]) == [
        (0x400000, 0x10010000),
        (0x10020000, 0x7F0000000000),
        (0x7F000000A000, 0x7FFC00021000),
    ]
    first, last = (0x400000, 0x500000), (0x7FFC00000000, 0x7FFC00021000)
    assert ranges_beside(MAPS, [first, last]) == [
        (0x500000, 0x7F0000000000),
        (0x7F000000A000, 0x7FFC00000000),
    ]


def test_a_child_has_only_what_is_kept() -> None:
    """Borne by machine code, it waits in a system call; who bore it has all its memory, and forks as ever."""
    read_fd, write_fd = os.pipe()
    table = Table(-1)
    table.call("wait", syscall_number("read"), read_fd, bytes(8), 1)
    table.call("end", syscall_number("exit_group"), 7)
    bearer = Bearer(MACHINE)
    if not bearer.runs_programs():
        pytest.skip("no machine code for this machine")
    pid, pidfd = bearer.bear(table, flags=0, cgroup_fd=-1, program_fd=-1, owner=0)
    try:
        lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
        places = [line.split()[0].split("-") for line in lines if "[v" not in line]
        assert sum(int(end, 16) - int(begin, 16) for begin, end in places) <= (1 << 16) + 2 * 4096
        assert not any(word in line for line in lines for word in ("[stack]", "[heap]", "/python"))
        handlers = [
            line.split()[1] for line in Path(f"/proc/{pid}/status").read_text().splitlines() if "SigCgt" in line
        ]
        assert [int(each, 16) for each in handlers] == [0]
    finally:
        os.write(write_fd, b"x")
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
        for fd in (read_fd, write_fd, pidfd):
            os.close(fd)
    forked = os.fork()
    if forked == 0:
        os._exit(8)
    assert os.waitstatus_to_exitcode(os.waitpid(forked, 0)[1]) == 8
