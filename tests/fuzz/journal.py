"""Files of events, torn and damaged (supervisor/journal.py)."""

import os

from pycontainer.supervisor.journal import MAX_TRUSTED_SEQ, Journal, to_line
from tests.fuzz.inputs import write

_LINES = [to_line({"seq": seq, "time": 1764144000.5, "type": "start", "name": "web"}) for seq in range(1, 4)]
SEEDS = (
    b"".join(_LINES),
    b"".join(_LINES)[:-9],
    _LINES[0] + b"\0" * 40,
    _LINES[2] + _LINES[0] + _LINES[1],
    _LINES[0].replace(b"start", b"supervisor-stop"),
    _LINES[0].replace(b'"seq":1', b'"seq":999999999999999'),
    b"\n\n" + _LINES[1].replace(b"2", b"9" * 20),
)
MAX_BYTES = 1000


def try_one(data: bytes) -> None:
    directory = os.path.dirname(write(f"events/{1:016d}.jsonl", data))
    journal = Journal(directory)
    first, notice = journal.open()
    found = journal.page(1, 0, 1 << 53, lambda line: True)
    assert found is not None and all(ord(character) >= 32 for character in notice)
    seqs = [event["seq"] for event in found]
    assert seqs == sorted(set(seqs)) and len(seqs) <= data.count(b"\n")
    if first > MAX_TRUSTED_SEQ:
        return
    journal.append(first, to_line({"seq": first, "time": 1.0, "type": "x"}))
    journal.close()
    again, notice = Journal(directory).open()
    assert again > first and notice == ""
    grown = journal.page(1, 0, 1 << 53, lambda line: True)
    assert grown is not None and grown[-1]["seq"] == first
