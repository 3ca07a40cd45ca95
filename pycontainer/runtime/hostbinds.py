"""Directories and files of the host that are to be seen inside: which ones are refused, and how one is opened.

Whoever may write to a directory on the way could put a link there and choose what is mounted. So a link counts only where
root alone could have made it; `/proc` and `/sys` of the host, and what is ours, are never a source.
"""

import errno
import os
import stat

from pycontainer.errors import InvalidInput
from pycontainer.linux.files import RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, openat2
from pycontainer.paths import DEFAULT_STATE_DIR, HostPaths
from pycontainer.spec.model import Mount

_MAX_LINKS = 40
_KERNEL = ("/proc", "/sys")
_FIELD = "volumes"


def check_bind(paths: HostPaths, mount: Mount) -> None:
    """Raise InvalidInput for a source that no container may have. One that is missing may come until the start."""
    ours = (paths.state_dir, paths.run_dir, paths.config_dir, DEFAULT_STATE_DIR)
    places = {mount.source}
    try:
        fd = open_source(mount.source)
    except FileNotFoundError:
        pass
    else:
        try:
            places.add(os.readlink(f"/proc/self/fd/{fd}"))
        finally:
            os.close(fd)
    for place in places:
        if any(_is_in(place, kernel) for kernel in _KERNEL):
            raise InvalidInput(
                f"mount source '{mount.source}' is the host's {place.split('/')[1]}",
                field=_FIELD,
                hint="a container has its own /proc and /sys",
            )
        if any(_is_in(place, directory) for directory in ours):
            raise InvalidInput(
                f"mount source '{mount.source}' lies in a directory of pycontainer's own",
                field=_FIELD,
                hint="use a volume: -v NAME:/inside",
            )
        if mount.idmap and any(_is_in(directory, place) for directory in (*ours, *_KERNEL, "/etc", "/usr", "/root")):
            raise InvalidInput(
                f"mount source '{mount.source}' holds the host's own files: with idmap, root inside would own them",
                field=_FIELD,
                hint="leave idmap out, or name a directory further down",
            )


def open_source(path: str) -> int:
    """Return a descriptor (O_PATH) of an absolute path of the host.

    InvalidInput for a way that leads over a link in a directory that others than root may write to, or over a magic link;
    FileNotFoundError.
    """
    try:
        return openat2(-100, path, os.O_PATH, resolve=RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENOSYS):
            raise
    return _walk(path)


def _walk(path: str) -> int:
    """Open `path` component by component, and judge each link by who could have made it."""
    left = _components(path)
    opened = [os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)]
    links = 0
    try:
        while left:
            name = left.pop()
            if name == "..":
                if len(opened) > 1:
                    os.close(opened.pop())
                continue
            fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=opened[-1])
            opened.append(fd)
            if not stat.S_ISLNK(os.fstat(fd).st_mode):
                continue
            links += 1
            directory = os.fstat(opened[-2])
            if directory.st_uid != 0 or directory.st_mode & 0o022 or os.fstat(fd).st_uid != 0:
                raise InvalidInput(
                    f"mount source '{path}': '{name}' is a link that others than root can change",
                    field=_FIELD,
                    hint="write the path that it leads to",
                )
            if links > _MAX_LINKS:
                raise InvalidInput(f"mount source '{path}': too many links", field=_FIELD)
            target = os.readlink("", dir_fd=fd)
            os.close(opened.pop())
            if target.startswith("/"):
                while len(opened) > 1:
                    os.close(opened.pop())
            left += _components(target)
        return opened.pop()
    finally:
        for fd in opened:
            os.close(fd)


def _components(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")][::-1]


def _is_in(path: str, directory: str) -> bool:
    """Tell whether `path` is `directory`, or lies in it."""
    return path == directory or path.startswith(directory.rstrip("/") + "/")
