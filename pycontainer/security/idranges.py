"""Who owns which host user ids: every container 65536 of its own, claimed in one place for all worlds of a host.

    /var/lib/pycontainer/idranges/     0700, root's
    ├── .lock                          held (flock) while the claims are looked at or changed
    ├── 268435456 -> /var/lib/pycontainer/containers/3f0c…      base of the range -> directory of its owner
    └── 268500992 -> …

A claim is a symbolic link, so it is made whole or not at all and needs no record beside it. The owner's directory is made
first and removed last: a claim without one is what a crash or a deleted world left, and `sweep` gives it back, unless a
process still lives with these ids. user_namespaces(7), subuid(5).
"""

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator

from pycontainer.errors import PycontainerError
from pycontainer.linux.files import read_bounded

COUNT = 65536
FIRST, LAST = 0x10000000, 0x6FFF0000  # bases; far above what distributions give to people, below what is signed
_MAX_FILE_BYTES = 16 << 20

Spans = tuple[tuple[int, int], ...]  # (first id, number of ids)


class IdRanges:
    """The claims. `pool`, `etc` and `proc` are other than usual in tests."""

    def __init__(
        self, directory: str, *, pool: tuple[int, int] = (FIRST, LAST), etc: str = "/etc", proc: str = "/proc"
    ) -> None:
        """`pool` is the first and the last base; ids that the files of `etc` give to somebody else are left alone.

        The processes of `proc` are asked which ids they live with.
        """
        self._directory, self._pool, self._etc, self._proc = directory, pool, etc, proc
        self._cursor = 0  # the base to try next; moving on, not going back, keeps a released range unused for long
        self._host_ids: tuple[tuple[int, ...], Spans] = ((), ())

    def allocate(self, owner: str) -> int:
        """Claim a range for the container whose directory is `owner`, which exists, and return its first id.

        PycontainerError when all ranges are in use.
        """
        with self._locked() as fd:
            base = self._claim(fd, owner)
            if base is None and self._sweep(fd):
                base = self._claim(fd, owner)
        if base is None:
            raise PycontainerError(
                f"all {(self._pool[1] - self._pool[0]) // COUNT + 1} id ranges of this host are in use",
                hint=f"remove containers that are not needed; the claims are the links in '{self._directory}'",
            )
        return base

    def release(self, base: int, owner: str) -> None:
        """Give a range back; nothing happens if it is not `owner`'s."""
        with self._locked() as fd:
            if _owner(fd, str(base)) == owner:
                os.unlink(str(base), dir_fd=fd)

    def holds(self, base: int, owner: str) -> bool:
        """Tell whether a range is `owner`'s; it is not any more if a sweep found its world's disk not mounted."""
        try:
            return os.readlink(f"{self._directory}/{base}") == owner
        except FileNotFoundError:
            return False

    def lookup(self, owner: str) -> int | None:
        """Return the base of the range that `owner` holds; looks at every claim."""
        with self._locked() as fd:
            return next((base for base in _bases(fd) if _owner(fd, str(base)) == owner), None)

    def sweep(self) -> list[int]:
        """Give back the claims whose owner is gone and whose ids nobody lives with; return their bases."""
        with self._locked() as fd:
            return self._sweep(fd)

    def orphans(self) -> list[tuple[int, str]]:
        """Return the claims that `sweep` would give back, with the owners that are gone."""
        with self._locked() as fd:
            return [(base, _owner(fd, str(base)) or "") for base in self._orphans(fd)]

    def _claim(self, fd: int, owner: str) -> int | None:
        first, last = self._pool
        if not self._cursor:
            self._cursor = max(_bases(fd), default=first - COUNT) + COUNT
        spans = self._spans()
        for _ in range(first, last + 1, COUNT):
            base = self._cursor if first <= self._cursor <= last else first
            self._cursor = base + COUNT
            if any(start < base + COUNT and base < start + count for start, count in spans):
                continue
            try:
                os.symlink(owner, str(base), dir_fd=fd)
                return base
            except FileExistsError:
                continue
        return None

    def _sweep(self, fd: int) -> list[int]:
        orphans = self._orphans(fd)
        for base in orphans:
            os.unlink(str(base), dir_fd=fd)
        return orphans

    def _orphans(self, fd: int) -> list[int]:
        orphans = [base for base in _bases(fd) if not os.path.lexists(_owner(fd, str(base)) or "/")]
        if orphans:
            lived_with = _bases_of_processes(self._proc)
            orphans = [base for base in orphans if base not in lived_with]
        return orphans

    @contextlib.contextmanager
    def _locked(self) -> Iterator[int]:
        """Yield a descriptor of the directory, with nobody else at work in it."""
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            fd = os.open(self._directory, flags)
        except FileNotFoundError:
            os.makedirs(self._directory, mode=0o700, exist_ok=True)
            fd = os.open(self._directory, flags)
        try:
            details = os.fstat(fd)
            if details.st_uid != os.geteuid() or details.st_mode & 0o022:
                raise PycontainerError(
                    f"'{self._directory}' can be written by others than root: its claims cannot be trusted",
                    hint=f"find out who did that, then: chown root '{self._directory}'; chmod 700 '{self._directory}'",
                )
            lock_fd = os.open(".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=fd)
            try:
                fcntl.flock(lock_fd, fcntl.LOCK_EX)
                yield fd
            finally:
                os.close(lock_fd)
        finally:
            os.close(fd)

    def _spans(self) -> Spans:
        """Return the ids that the host's own files give away, read again when one of them has changed."""
        paths = [f"{self._etc}/{name}" for name in ("subuid", "subgid", "passwd", "group")]
        changed = tuple(_mtime_ns(path) for path in paths)
        if changed != self._host_ids[0]:
            subuid, subgid, passwd, group = (_fields(path) for path in paths)
            spans = [(_number(f, 1), _number(f, 2)) for f in (*subuid, *subgid)]
            spans += [(_number(f, 2), 1) for f in (*passwd, *group)] + [(_number(f, 3), 1) for f in passwd]
            self._host_ids = changed, tuple(span for span in spans if span[1] > 0)
        return self._host_ids[1]


def _bases(fd: int) -> list[int]:
    return sorted(int(name) for name in os.listdir(fd) if name.isdigit())


def _owner(fd: int, name: str) -> str | None:
    try:
        return os.readlink(name, dir_fd=fd)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EINVAL):  # no such claim, or something that is none
            return None
        raise


def _bases_of_processes(proc: str) -> set[int]:
    """Return where the user namespaces of all processes begin on the host: `inside outside count` in uid_map."""
    bases: set[int] = set()
    for entry in os.listdir(proc):
        if entry.isdigit():
            try:
                words = read_bounded(f"{proc}/{entry}/uid_map", 4096).split()
            except OSError:  # it ended, or is a kernel thread's
                continue
            bases.update(int(outside) for outside in words[1::3])
    return bases


def _mtime_ns(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except FileNotFoundError:
        return 0


def _fields(path: str) -> list[list[str]]:
    try:
        text = read_bounded(path, _MAX_FILE_BYTES).decode(errors="replace")
    except FileNotFoundError:
        return []
    return [line.split(":") for line in text.splitlines() if line and not line.startswith("#")]


def _number(fields: list[str], position: int) -> int:
    """Return a field as a number, 0 for one that is missing or none: such a line gives nothing away."""
    text = fields[position] if position < len(fields) else ""
    return int(text) if text.isascii() and text.isdigit() else 0
