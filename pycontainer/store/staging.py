"""Imports at work: a directory each, which only lives as long as the process that made it.

images/lock                       flock'ed while refs, blobs and layers change, never for long
images/staging/import-RANDOM/     flock'ed by its import; without a lock it is left over, and removed
│   ├── blobs/ layers/            what becomes the store's at the end
│   └── pins/KEY                  layers and blobs of the store that the import counts on: they stay
images/staging/remove-RANDOM/     on the way out, flock'ed by who removes it
images/staging/KEY.lock           flock'ed by the import that makes KEY; others wait, and find it made
"""

import contextlib
import fcntl
import os
import stat
import tempfile
from collections.abc import Iterable, Iterator

from pycontainer.linux.files import remove_tree

Doomed = tuple[str, int]  # a directory and the descriptor that holds its lock


class Staging:
    """The store's lock and its staging directory."""

    def __init__(self, images_dir: str) -> None:
        self._images_dir = images_dir
        self.directory = f"{images_dir}/staging"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock of the store."""
        fd = os.open(f"{self._images_dir}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    @contextlib.contextmanager
    def opened(self) -> Iterator[str]:
        """Give a directory for one import; what is still in it at the end goes away."""
        with self.locked():  # nobody takes it for left over before its lock is held
            path = tempfile.mkdtemp(prefix="import-", dir=self.directory)
            lock_fd = _lock(path)
        try:
            for name in ("blobs", "layers", "pins"):
                os.mkdir(f"{path}/{name}", 0o700)
            yield path
        finally:
            try:
                remove_tree(path)
            finally:
                os.close(lock_fd)

    @contextlib.contextmanager
    def claimed(self, key: str) -> Iterator[None]:
        """Be the only one on the host who makes `key`, waiting for whoever is at it."""
        path = f"{self.directory}/{key}.lock"
        while True:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            fcntl.flock(fd, fcntl.LOCK_EX)
            if _is_same(fd, path):
                break
            os.close(fd)  # who had it has removed it
        try:
            yield
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            os.close(fd)

    def pins(self) -> set[str]:
        """Return what imports at work count on; to be called with the lock held."""
        found: set[str] = set()
        for path in self._entries():
            if not os.path.basename(path).startswith("import-"):
                continue
            if (lock_fd := _try_lock(path)) is not None:
                os.close(lock_fd)  # left over: it counts on nothing any more
                continue
            with contextlib.suppress(FileNotFoundError):
                found.update(os.listdir(f"{path}/pins"))
        return found

    def left_over(self) -> list[Doomed]:
        """Take hold of what imports left that did not live to their end; to be called with the lock held."""
        doomed = []
        for path in self._entries():
            if not os.path.isdir(path):
                _remove_free_lock(path)
            elif (lock_fd := _try_lock(path)) is not None:
                target = f"{self.directory}/remove-{os.path.basename(path).partition('-')[2]}"
                os.rename(path, target)  # it counts on nothing any more, though its lock is held
                doomed.append((target, lock_fd))
        return doomed

    def retire(self, *paths: str) -> Doomed:
        """Take directories and files of the store out of sight, to be removed; to be called with the lock held."""
        target = tempfile.mkdtemp(prefix="remove-", dir=self.directory)
        lock_fd = _lock(target)
        try:
            for number, path in enumerate(paths):
                with contextlib.suppress(FileNotFoundError):
                    os.rename(path, f"{target}/{number}")
        except BaseException:
            os.close(lock_fd)
            raise
        return target, lock_fd

    def _entries(self) -> list[str]:
        try:
            return [f"{self.directory}/{name}" for name in os.listdir(self.directory)]
        except FileNotFoundError:
            return []


def remove_all(doomed: Iterable[Doomed]) -> None:
    """Remove directories whose locks are held; one that cannot go keeps nobody from the others."""
    failure: OSError | None = None
    for directory, lock_fd in doomed:
        try:
            remove_tree(directory)
        except OSError as error:
            failure = failure or error
        finally:
            os.close(lock_fd)
    if failure is not None:
        raise failure


def _lock(directory: str) -> int:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    fcntl.flock(fd, fcntl.LOCK_EX)
    return fd


def _try_lock(path: str) -> int | None:
    """Lock a staging directory that nobody holds and return the descriptor; None when it is in use or gone."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd


def _remove_free_lock(path: str) -> None:
    """Remove the lock file of an import that was killed. Who opened it meanwhile sees that it is gone, and makes another."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if stat.S_ISREG(os.fstat(fd).st_mode):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(path)
    except (BlockingIOError, FileNotFoundError):
        pass
    finally:
        os.close(fd)


def _is_same(fd: int, path: str) -> bool:
    try:
        named = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    held = os.fstat(fd)
    return (named.st_dev, named.st_ino) == (held.st_dev, held.st_ino)
