"""Results for standard output, written whole and at once; nothing of Python's own buffers is used."""

import os


def write(text: str) -> None:
    """Write to standard output; names that are no UTF-8 come out as the bytes they are."""
    data = text.encode("utf-8", "surrogateescape")
    while data:
        data = data[os.write(1, data) :]
