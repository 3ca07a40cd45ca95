"""A file that is made beside its place until it is whole: what it replaces stays until then."""

import contextlib
import os
from collections.abc import Iterator
from typing import AnyStr

NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@contextlib.contextmanager
def partial_file(name: AnyStr, dir_fd: int) -> Iterator[tuple[int, AnyStr]]:
    """Make a new file for `name` in a directory; yield a descriptor to write it by, and what it is called until then.

    No stream that is unpacked can know that name. The caller renames the file once it is filled; what an exception leaves is
    removed, and an OSError of it tells the name that it was for.
    """
    hidden = f".{os.urandom(8).hex()}.partial"
    temporary = hidden if isinstance(name, str) else hidden.encode()
    fd = -1
    try:
        fd = os.open(temporary, NEW_FILE, 0o600, dir_fd=dir_fd)
        yield fd, temporary
    except BaseException as error:
        with contextlib.suppress(OSError):  # not made, moved by who owns the tree, or renamed as an interrupt came
            os.unlink(temporary, dir_fd=dir_fd)
        if isinstance(error, OSError) and error.filename == temporary:
            error.filename, error.filename2 = name, None
        raise
    finally:
        if fd != -1:
            os.close(fd)
