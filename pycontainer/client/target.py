"""What the caller has us write to: a descriptor, a file that appears when it is whole, or what is there and no file."""

import contextlib
import errno
import os
import select
import stat
from collections.abc import Iterator

from pycontainer.errors import InvalidInput, PycontainerError, shown


@contextlib.contextmanager
def written(target: str | os.PathLike[str] | int, *, mode: int = 0o600) -> Iterator[int]:
    """Give a descriptor to write to: the caller's own, which stays open, or that of the file `target`.

    A file is made with `mode`, under a name beside its own until it is whole. What is there and no regular file (a device, a
    fifo, a link) is written into as it is. Raises BrokenPipeError if who reads it has left.
    """
    if isinstance(target, int):
        with _read_by_somebody(target):
            yield target
        return
    path = os.fspath(target)
    if os.path.isdir(path):
        raise InvalidInput(f"{shown(path)} is a directory", hint="name a file")
    if os.path.lexists(path) and not stat.S_ISREG(os.lstat(path).st_mode):
        # With O_CREAT, which a link that leads nowhere needs, another user's fifo in /tmp is refused: protected_fifos.
        fd = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC | (0 if os.path.exists(path) else os.O_CREAT), mode)
        with _closing(fd), _read_by_somebody(fd):
            yield fd
        return
    temporary = f"{path}.{os.getpid()}.partial"
    fd = _make(temporary, path, mode)
    try:
        with _closing(fd):
            yield fd
            os.fsync(fd)
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _make(temporary: str, path: str, mode: int) -> int:
    try:
        return os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    except FileExistsError as error:
        raise PycontainerError(f"'{temporary}' is in the way", hint="remove it") from error
    except OSError as error:
        error.filename = path  # what the caller has named
        raise


@contextlib.contextmanager
def _closing(fd: int) -> Iterator[None]:
    try:
        yield
    finally:
        os.close(fd)


@contextlib.contextmanager
def _read_by_somebody(fd: int) -> Iterator[None]:
    """Turn the supervisor's word for a write that failed into BrokenPipeError, if nobody reads `fd` any more."""
    try:
        yield
    except PycontainerError as error:
        poller = select.poll()
        poller.register(fd, 0)  # for POLLERR alone, of a pipe; poll(2)
        if type(error) is PycontainerError and poller.poll(0):  # what has a class is another matter
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)) from error
        raise
