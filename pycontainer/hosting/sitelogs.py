"""The logs of sites, kept small: what a site's clients can make long must not fill the host's disk."""

import os
import shutil
from collections.abc import Iterator

MAX_BYTES = 8 << 20  # of a log; as much again is kept of what came before


def cut(directory: str, max_bytes: int = MAX_BYTES) -> int:
    """Empty each log beneath `directory` that has grown too large into FILE.1; return how many.

    They are copied and emptied, not renamed: nginx's workers have no right to open a new one. What is written between the
    two is lost.
    """
    count = 0
    for path in _logs(directory):
        if os.stat(path).st_size > max_bytes:
            old = f"{path}.1"
            shutil.copyfile(path, f"{old}.new")
            os.truncate(path, 0)
            os.chmod(f"{old}.new", 0o600)
            os.rename(f"{old}.new", old)
            count += 1
    return count


def _logs(directory: str) -> Iterator[str]:
    for path, _, names in os.walk(directory):
        yield from (f"{path}/{name}" for name in sorted(names) if name.endswith(".log"))
