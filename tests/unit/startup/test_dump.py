"""The file of a dump: which memory becomes which segment, and where it lies."""

import os
import struct
from pathlib import Path

import pytest

from pycontainer.startup import dump
from pycontainer.startup.dump import PAGE_BYTES, PROT_EXEC, PROT_READ, PROT_WRITE, Contents, Memory, Range, Registers

RW, RX, R = PROT_READ | PROT_WRITE, PROT_READ | PROT_EXEC, PROT_READ
IN_FILE, ZEROS = 0x100002, 0x100022  # MAP_PRIVATE | MAP_FIXED_NOREPLACE, and MAP_ANONYMOUS: mmap(2)
BASE = 0x10000


def pages(*contents: int) -> bytes:
    return b"".join(bytes([each]) * PAGE_BYTES for each in contents)


def test_code_and_constants_that_follow_one_another_become_one() -> None:
    found = dump.joined(
        [
            Memory(BASE + PAGE_BYTES, RX, pages(2)),
            Memory(BASE, R, pages(1)),
            Memory(BASE + 2 * PAGE_BYTES, R, pages(3)),
            Memory(BASE + 3 * PAGE_BYTES, RW, pages(4)),
            Memory(BASE + 4 * PAGE_BYTES, RW, pages(5)),
            Memory(BASE + 6 * PAGE_BYTES, RW, pages(6)),
        ]
    )
    assert found == [
        Memory(BASE, RX, pages(1, 2, 3)),
        Memory(BASE + 3 * PAGE_BYTES, RW, pages(4, 5)),
        Memory(BASE + 6 * PAGE_BYTES, RW, pages(6)),
    ]


def test_nothing_becomes_both_writable_and_executable() -> None:
    kinds = (R, RX, RW, RX, RW, R)
    found = dump.joined([Memory(BASE + at * PAGE_BYTES, kind, pages(1)) for at, kind in enumerate(kinds)])
    assert all(each.protection & (PROT_WRITE | PROT_EXEC) != PROT_WRITE | PROT_EXEC for each in found)
    assert [each.protection for each in found] == [RX, RW, RX, RW, R]


def test_long_runs_of_zeros_are_not_in_the_file(tmp_path: Path) -> None:
    path = str(tmp_path / "dump")
    run = [0] * 16
    found = dump.write(
        path,
        [
            Memory(BASE, RW, pages(*run, 1, 0, 2, *run, 3)),
            Memory(0x1000000, RW, pages(4, *run)),
            Memory(0x2000000, RW, pages(*run)),
            Memory(0x3000000, R, pages(5, *run, 6)),
        ],
    )
    first = dump.HEADER_BYTES
    assert [(each.address, each.length // PAGE_BYTES, each.flags, each.offset) for each in found] == [
        (BASE, 16, ZEROS, 0),
        (BASE + 16 * PAGE_BYTES, 3, IN_FILE, first),
        (BASE + 19 * PAGE_BYTES, 16, ZEROS, 0),
        (BASE + 35 * PAGE_BYTES, 1, IN_FILE, first + 3 * PAGE_BYTES),
        (0x1000000, 1, IN_FILE, first + 4 * PAGE_BYTES),
        (0x1001000, 16, ZEROS, 0),
        (0x2000000, 16, ZEROS, 0),
        (0x3000000, 18, IN_FILE, first + 5 * PAGE_BYTES),
    ]
    data = Path(path).read_bytes()[first:]
    assert data == pages(1, 0, 2, 3, 4, 5, *run, 6)
    assert os.stat(path).st_mode & 0o777 == 0o600


def test_a_huge_page_of_zeros_is_a_hole(tmp_path: Path) -> None:
    path = str(tmp_path / "dump")
    zeros = [0] * (3 * (2 << 20) // PAGE_BYTES)  # wherever they begin, two whole ones are among them
    content = pages(5, *zeros, 6)
    (segment,) = dump.write(path, [Memory(0x3000000, R, content)])
    assert Path(path).read_bytes()[segment.offset :] == content
    assert os.stat(path).st_blocks * 512 < len(content)


def test_what_is_not_written_to_lies_in_the_file_as_in_memory(tmp_path: Path) -> None:
    """By its place within a huge page, if it is as large as that."""
    path = str(tmp_path / "dump")
    huge = 2 << 20
    code = pages(*(each % 251 + 1 for each in range(huge // PAGE_BYTES + 3)))
    text, data = 3 * huge + 5 * PAGE_BYTES, 10 * huge
    small, large, written = dump.write(
        path, [Memory(PAGE_BYTES, RX, pages(7)), Memory(text, RX, code), Memory(data, RW, code)]
    )
    assert (small.offset, large.offset, written.offset) == (
        dump.HEADER_BYTES,
        huge + 5 * PAGE_BYTES,
        huge + 5 * PAGE_BYTES + len(code),
    )
    found = Path(path).read_bytes()
    for each, content in ((small, pages(7)), (large, code), (written, code)):
        assert found[each.offset : each.offset + each.length] == content
    assert len(found) == written.offset + written.length


def test_what_is_there_is_not_written_into(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "file").touch()
    for name in ("link", "file"):
        with pytest.raises(FileExistsError):
            dump.write(str(tmp_path / name), [])
    assert not (tmp_path / "elsewhere").exists()


def test_the_header_is_as_the_launcher_reads_it(tmp_path: Path) -> None:
    path = str(tmp_path / "dump")
    segments = dump.write(path, [Memory(BASE, RW, pages(7))])
    files = [dump.File("/a", 11, 1_500_000_000_000_000_123), dump.File(os.fsdecode(b"/\xff"), 12, 5)]
    contents = Contents(files, segments, [Range(BASE, PAGE_BYTES)], Registers(0x51, 0x52, 0x53, 0x54))
    dump.write_header(path, contents, key=b"k" * 16, boot=b"b" * 36)
    head = Path(path).read_bytes()[: dump.HEADER_BYTES]
    words = struct.unpack_from("<8Q", head, 56)
    files_at = words[1] - dump.HEADER_ADDRESS
    assert head[:52] == b"k" * 16 + b"b" * 36
    assert words == (2, words[1], 1, 1, 0x51, 0x52, 0x53, 0x54)
    assert struct.unpack_from("<5Q", head, 120) == (BASE, PAGE_BYTES, RW, IN_FILE, dump.HEADER_BYTES)
    assert struct.unpack_from("<2Q", head, 160) == (BASE, PAGE_BYTES)
    assert files_at == 176
    for at, expected, name in ((0, (11, 1_500_000_000, 123), b"/a\0"), (1, (12, 0, 5), b"/\xff\0")):
        path_at, *rest = struct.unpack_from("<4Q", head, files_at + 32 * at)
        assert tuple(rest) == expected
        assert head[path_at - dump.HEADER_ADDRESS :].startswith(name)


def test_more_than_the_header_holds_is_refused(tmp_path: Path) -> None:
    path = str(tmp_path / "dump")
    dump.write(path, [])
    files = [dump.File("/" + "x" * 4000, 1, 1)] * 9
    with pytest.raises(ValueError, match="9 files, 0 segments and 0 ranges: no header has so much room"):
        dump.write_header(path, Contents(files, [], [], Registers(0, 0, 0, 0)), key=bytes(16), boot=bytes(36))


def test_hot_pages_become_ranges() -> None:
    at = [BASE + each * PAGE_BYTES for each in (0, 1, 3, 6, 9)]
    assert dump.hot(set(at)) == [
        Range(BASE, 4 * PAGE_BYTES),
        Range(BASE + 6 * PAGE_BYTES, PAGE_BYTES),
        Range(BASE + 9 * PAGE_BYTES, PAGE_BYTES),
    ]
    assert dump.hot(set()) == []
