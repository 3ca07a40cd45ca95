"""Room on the state directory's file system that is kept for the end of things.

    STATE/reserve/space        4 MiB, allocated
                 /0 ... /15    an inode each

What a stop or a removal has to write down finds room on a full disk: the first record that does not fit takes the reserve,
which is filled again when there is room. What would begin something new is refused before that, while there is still enough
for what is there (`require_room`). Containers themselves may fill the disk, unless they are capped.
"""

import contextlib
import os
from typing import NamedTuple

from pycontainer.errors import InvalidState
from pycontainer.linux.files import remove_tree
from pycontainer.units import format_bytes_short

RESERVE_BYTES, RESERVE_INODES = 4 << 20, 16
LEAST_BYTES, LEAST_INODES = 8 << 20, 128  # below which nothing new is begun


class _Free(NamedTuple):
    """What is free for everybody, without what the file system keeps for root.

    `inodes` is None where a file system makes them as it needs them.
    """

    size_bytes: int
    inodes: int | None
    is_read_only: bool


class Reserve:
    """The reserve of one world, in `state_dir`, which is there."""

    def __init__(self, state_dir: str) -> None:
        self._state_dir, self._directory = state_dir, f"{state_dir}/reserve"
        self.is_whole = False

    def take(self) -> None:
        """Make it whole if there is more than enough room; else that waits. Cheap when it is whole."""
        if self.is_whole:
            return
        try:
            free = self._free()
        except OSError:  # a disk that fails is told of by what is written there, and ends nobody
            return
        if free.is_read_only or free.size_bytes < RESERVE_BYTES + LEAST_BYTES:
            return
        if free.inodes is not None and free.inodes < RESERVE_INODES + LEAST_INODES:
            return
        try:
            os.makedirs(self._directory, mode=0o700, exist_ok=True)
            for name in (*map(str, range(RESERVE_INODES)), "space"):
                fd = os.open(
                    f"{self._directory}/{name}", os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
                )
                try:
                    if name == "space":
                        os.posix_fallocate(fd, 0, RESERVE_BYTES)
                finally:
                    os.close(fd)
        except OSError:  # no room, or a disk that fails: looked at again later
            self.give()
        else:
            self.is_whole = True

    def give(self) -> bool:
        """Give it up; tell whether that has made room."""
        self.is_whole = False
        if not os.path.isdir(self._directory):
            return False
        with contextlib.suppress(OSError):  # a read-only one: there is no room then
            remove_tree(self._directory)
            return True
        return False

    def require_room(self, what: str) -> None:
        """Raise InvalidState if there is not enough left for `what`, which would be new."""
        self.take()
        free = self._free()
        if free.is_read_only:
            raise InvalidState(
                f"cannot make {what}: the file system of '{self._state_dir}' is read-only",
                hint="the kernel's log may say why (dmesg); what runs goes on, and can be stopped",
            )
        short = []
        if free.size_bytes < LEAST_BYTES:
            short.append(f"{format_bytes_short(free.size_bytes)} of space")
        if free.inodes is not None and free.inodes < LEAST_INODES:
            short.append(f"{free.inodes} inodes")
        if short:
            raise InvalidState(
                f"cannot make {what}: the file system of '{self._state_dir}' has only {' and '.join(short)} left",
                hint="make room, with 'pycontainer system prune' or by removing containers; that works on a full disk",
            )

    def _free(self) -> _Free:
        found = os.statvfs(self._state_dir)
        return _Free(
            found.f_bavail * found.f_frsize,
            found.f_ffree if found.f_files else None,
            bool(found.f_flag & os.ST_RDONLY),
        )
