"""Log files, torn and damaged (client/logs.py)."""

import re

from pycontainer.client.logs import LogReader, last_lines, parse_line
from tests.fuzz.inputs import write

_LINE = b"2026-11-23T18:00:00.123456789Z stdout F text\n"
SEEDS = (
    _LINE + _LINE.replace(b"stdout F", b"stderr P") + _LINE,
    _LINE[:20] + _LINE,
    b"\0" * 40 + _LINE,
    _LINE.replace(b"text", b"a\rb\xff\x1b[2J c"),
)
MAX_BYTES = 1000

_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}\.[0-9]{9}Z", re.ASCII)


def try_one(data: bytes) -> None:
    reader = LogReader(write("log", data))
    try:
        lines = list(reader.read())
    finally:
        reader.close()
    assert len(lines) <= data.count(b"\n")
    whole = []
    for line in lines:
        assert _TIME.fullmatch(line.time) and line.stream in ("stdout", "stderr") and line.text is not None
        tag = b"F" if line.is_whole else b"P"
        whole.append(b" ".join((line.time.encode(), line.stream.encode(), tag, line.data.removesuffix(b"\n"))))
        if line.data != b"":
            parsed = parse_line(whole[-1])
            assert parsed is not None and parsed.data == line.data
    assert [line + b"\n" for line in whole] == [
        line + b"\n" for line in data.split(b"\n")[:-1] if parse_line(line) is not None
    ]
    assert len(last_lines(iter(lines), 3)) <= len(lines)
