"""Where one container's mounts are made: its root by descriptor, look-ups beneath it with links confined, mounts attached.

Apart from the steps, whose thirty kilobytes the OCI front door does not need.
"""

from __future__ import annotations

import errno
import os

from pycontainer.linux import mounts
from pycontainer.linux.files import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, mkdirs_in_root, open_in_root, openat2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pycontainer.linux.namespaces import Home

_LABELLED = ("tmpfs", "devpts", "mqueue")  # of proc and sysfs the policy knows every file


class Stage:
    """Where one container's mounts are made, and what the steps need of it."""

    __slots__ = (
        "base", "child_pid", "child_pidfd", "fds", "file_label", "home", "path", "proc_maker", "root_fd", "userns_fd",
    )  # fmt: skip

    def __init__(
        self,
        path: str,
        *,
        base: int,
        fds: list[int],
        child_pid: int,
        child_pidfd: int,
        userns_fd: int,
        file_label: str,
        home: Home,
        proc_maker: Callable[[Stage], int],
    ) -> None:
        """`file_label` is what SELinux shall call the files of mounts made here, empty for its own choice."""
        self.path, self.base, self.fds = path, base, fds
        self.child_pid, self.child_pidfd, self.userns_fd, self.home = child_pid, child_pidfd, userns_fd, home
        self.proc_maker, self.file_label = proc_maker, file_label
        self.root_fd = -1  # set by the step that makes the root

    def open(self) -> None:
        """Make the directory, a mount of its own: what is mounted in there goes with it, in one step."""
        os.mkdir(self.path, 0o711)
        mounts.mount(self.path, self.path, flags=mounts.MS_BIND)

    def directory(self, path: str) -> int:
        """Return a descriptor of directory `path` inside, made if missing; for /proc, /sys, /dev never through a link."""
        try:
            return open_in_root(self.root_fd, path, os.O_PATH | os.O_DIRECTORY)
        except FileNotFoundError:
            mkdirs_in_root(self.root_fd, path, 0o755)
            return open_in_root(self.root_fd, path, os.O_PATH | os.O_DIRECTORY)

    def real_directory(self, name: str) -> int:
        """Return a descriptor of top-level directory `name`, refusing a link or a file in its place."""
        flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            return openat2(self.root_fd, name, flags, resolve=RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)
        except FileNotFoundError:
            os.mkdir(name, 0o755, dir_fd=self.root_fd)
            return openat2(self.root_fd, name, flags, resolve=RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.ENOTDIR):
                raise
            why = "a link or a file is there; the root file system must have a real directory"
            raise OSError(error.errno, why, f"/{name}") from error

    def file(self, path: str, *, links_left: int = 8) -> int:
        """Return a descriptor of file `path` inside, an empty one made if missing.

        A link that leads nowhere is common (/etc/resolv.conf into /run): the file is made where it leads, inside.
        """
        try:
            return open_in_root(self.root_fd, path, os.O_PATH)
        except FileNotFoundError:
            pass
        parent, _, name = path.rstrip("/").rpartition("/")
        parent_fd = self.directory(parent or "/")
        try:
            try:
                target = os.readlink(name, dir_fd=parent_fd)
            except OSError:
                os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o644, dir_fd=parent_fd))
                target = ""
        finally:
            os.close(parent_fd)
        if target and links_left:
            return self.file(os.path.join(parent or "/", target), links_left=links_left - 1)
        return open_in_root(self.root_fd, path, os.O_PATH)

    def attach(self, mount_fd: int, target_fd: int) -> None:
        """Attach `mount_fd` onto `target_fd` and close both."""
        try:
            mounts.move_mount(mount_fd, target_fd)
        finally:
            os.close(mount_fd)
            os.close(target_fd)

    def mount(self, target_fd: int, fstype: str, flags: int, options: str = "") -> None:
        """Make a filesystem and attach it onto `target_fd`, which is closed. One call where the newer interface takes five;
        /proc/self/fd is our own procfs, so it means exactly this descriptor."""
        if self.file_label and fstype in _LABELLED:
            context = f'context="{self.file_label}"'  # quoted: categories are separated by commas, as options are
            options = f"{options},{context}" if options else context
        try:
            mounts.mount(fstype, f"/proc/self/fd/{target_fd}", fstype, flags, options)
        finally:
            os.close(target_fd)

    def close(self) -> None:
        """Take the stage down; what the child copied stays the child's."""
        if self.root_fd >= 0:
            os.close(self.root_fd)
            self.root_fd = -1
        try:
            mounts.umount2(self.path, mounts.MNT_DETACH)
        except OSError as error:
            if error.errno != errno.EINVAL:  # it could not be made a mount
                raise
        for entry in os.listdir(self.path):
            os.rmdir(f"{self.path}/{entry}")
        os.rmdir(self.path)
