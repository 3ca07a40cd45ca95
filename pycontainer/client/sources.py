"""Archives on their way in: one that has a name is opened by the supervisor, of a stream it is sent a file."""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pycontainer.client.connection import Pool
from pycontainer.errors import PycontainerError

_BLOCK_BYTES = 1 << 20
_NAME = "-"  # of what has none, in messages


def request(
    pool: Pool,
    verb: str,
    source: str | os.PathLike[str] | int,
    args: dict[str, Any],
    on_event: Callable[[Any], None] | None = None,
) -> Any:
    """Send a request that brings in `source`, a path or a descriptor; return its result."""
    if not isinstance(source, int):
        return pool.request(verb, {**args, "source": os.path.abspath(os.fspath(source))}, on_event=on_event)
    with as_file(source) as fd:
        return pool.request(verb, {**args, "source": _NAME}, [fd], on_event=on_event)


@contextmanager
def as_file(fd: int) -> Iterator[int]:
    """Give a descriptor of a file that holds what comes from `fd`: its own, or for a stream a temporary one's.

    Nothing is looked at on the way: the first bytes of an archive decide how it is read, and some are read twice.
    """
    if stat.S_ISREG(os.fstat(fd).st_mode) and os.lseek(fd, 0, os.SEEK_CUR) == 0:
        yield fd
        return
    import tempfile  # 8 ms that a stream alone pays

    with tempfile.TemporaryFile(buffering=0) as spool:
        try:
            while block := os.read(fd, _BLOCK_BYTES):
                while block:
                    block = block[spool.write(block) :]
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise PycontainerError(
                f"'{tempfile.gettempdir()}' has no room for all that comes as a stream",
                hint="name a directory that has: TMPDIR=DIR, or write it to a file and give that",
            ) from error
        spool.seek(0)
        yield spool.fileno()
