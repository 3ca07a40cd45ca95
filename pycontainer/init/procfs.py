"""A procfs of the child's pid namespace, made by somebody who is not in it.

From 6.17 on the `pidns=` option takes the namespace by descriptor. Before, procfs always shows the namespace of whoever
creates it, so a helper is born inside: it shares our descriptors, makes the mount, reports its number and ends.
"""

import errno
import os
import struct

from pycontainer.init.birth import Bearer
from pycontainer.init.stage import Stage
from pycontainer.init.table import Table
from pycontainer.linux import mounts
from pycontainer.linux.libc import syscall_number
from pycontainer.linux.namespaces import CLONE_NEWPID

_ATTRIBUTES = mounts.MOUNT_ATTR_NOSUID | mounts.MOUNT_ATTR_NODEV | mounts.MOUNT_ATTR_NOEXEC


class ProcMaker:
    """Chooses the way once; `make` is called for every start."""

    __slots__ = ("_bearer", "_by_option")

    def __init__(self, bearer: Bearer, *, try_option: bool = True) -> None:
        self._bearer = bearer
        self._by_option = try_option

    def __call__(self, stage: Stage) -> int:
        """Return the detached mount."""
        if self._by_option:
            try:
                return self._make_by_option(stage)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                self._by_option = False  # before 6.17 the option is unknown
        if not stage.home.returns:
            return stage.home.fetch(
                stage.child_pidfd, CLONE_NEWPID, lambda: mounts.new_mount("proc", [("source", "proc")], _ATTRIBUTES)
            )
        return self._make_by_helper(stage)

    def _make_by_option(self, stage: Stage) -> int:
        namespace_fd = os.open(f"/proc/{stage.child_pid}/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return mounts.new_mount("proc", [("source", "proc"), ("pidns", namespace_fd)], _ATTRIBUTES)
        finally:
            os.close(namespace_fd)

    def _make_by_helper(self, stage: Stage) -> int:
        place = f"{stage.path}/proc"
        os.mkdir(place, 0o700)
        read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
        try:
            table = Table(write_fd)
            flags = mounts.MS_NOSUID | mounts.MS_NODEV | mounts.MS_NOEXEC
            table.call("proc", syscall_number("mount"), b"proc", place.encode(), b"proc", flags, 0)
            table.call("end", syscall_number("exit_group"), 0)
            with stage.home.visit(stage.child_pidfd, CLONE_NEWPID):
                pid = self._bearer.bear_helper(table)
            os.close(write_fd)
            write_fd = -1
            os.waitpid(pid, 0)
            report = os.read(read_fd, 64)
            if report:
                code = -struct.unpack_from("<q", report, 8)[0]
                raise OSError(code, f"mount: {os.strerror(code)}", "/proc")
        finally:
            os.close(read_fd)
            if write_fd >= 0:
                os.close(write_fd)
        return os.open(place, os.O_PATH | os.O_CLOEXEC)  # the mount; attaching it elsewhere moves it
