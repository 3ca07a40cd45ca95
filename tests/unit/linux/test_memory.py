"""Memory at known addresses."""

import errno
import os

import pytest

from pycontainer.linux import ffi
from pycontainer.linux.memory import PROT_READ, PROT_WRITE, Area


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
