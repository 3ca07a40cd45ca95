"""Text files: bounded, UTF-8, no control characters."""

from pathlib import Path

import pytest

from pycontainer.errors import InvalidInput
from pycontainer.spec.textfile import MAX_BYTES, decode_text, read_text_file


def test_a_text_file_and_its_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes("\ufeffé\tx\r\n".encode())
    assert read_text_file(str(path)) == "é\tx\r\n"


@pytest.mark.parametrize(
    ("data", "message", "source"),
    [
        (b"a\n\xff", "f:2: the file is not UTF-8", "f:2"),
        ("a: b\n".encode("utf-16"), "f:1: the file is not UTF-8", "f:1"),
        (b"a\n\nb\0", "f:3: control character '\\x00'", "f:3"),
        (b"\x1b[2J", "f:1: control character '\\x1b'", "f:1"),
        (b"x" * (MAX_BYTES + 1), "f: the file is larger than 1024 KiB", "f"),
    ],
)
def test_what_is_no_text(data: bytes, message: str, source: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        decode_text(data, "f")
    assert (caught.value.message, caught.value.source) == (message, source)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_text_file(f"{tmp_path}/no")
    assert caught.value.message == f"cannot read '{tmp_path}/no': No such file or directory"
    with pytest.raises(InvalidInput) as caught:
        read_text_file(str(tmp_path))
    assert caught.value.message == f"cannot read '{tmp_path}': Is a directory"
    with pytest.raises(InvalidInput) as caught:
        read_text_file("a\0b")
    assert caught.value.message == "cannot read 'a\\x00b': embedded null byte"


def test_a_large_file_is_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with path.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(InvalidInput, match=r"a: the file is larger than 1024 KiB$"):
        read_text_file(str(path))
