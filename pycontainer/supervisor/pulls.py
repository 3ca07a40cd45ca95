"""Interrupted pulls: what was fetched waits for a week to be gone on with (client/pull.py, which makes and locks them).

pulls/HEX/lock      flock'ed by the pull that is at work
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator

from pycontainer.linux.files import remove_tree


def all_of(pulls_dir: str) -> list[str]:
    """Return the directories of all pulls."""
    try:
        return [f"{pulls_dir}/{name}" for name in sorted(os.listdir(pulls_dir))]
    except FileNotFoundError:
        return []


def interrupted(pulls_dir: str) -> list[str]:
    """Return the directories of pulls that nobody is at work on."""
    found = []
    for path in all_of(pulls_dir):
        try:
            with _locked(path, os.O_RDONLY):
                found.append(path)
        except FileNotFoundError:  # it ended before it had a lock
            found.append(path)
        except OSError:  # somebody has the lock, or it is none
            continue
    return found


def remove(path: str) -> bool:
    """Delete a pull that nobody is at work on, and tell whether that is so; a new one waits for the lock meanwhile."""
    try:
        with _locked(path, os.O_RDWR | os.O_CREAT):
            remove_tree(path)
            return True
    except (BlockingIOError, FileNotFoundError, NotADirectoryError):
        return False


@contextlib.contextmanager
def _locked(path: str, flags: int) -> Iterator[None]:
    fd = os.open(f"{path}/lock", flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(fd)
