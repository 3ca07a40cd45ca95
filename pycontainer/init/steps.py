"""The parent's half of a start: mounts made with host credentials, in the monitor's private mount namespace.

Each step is a small object that travels as [name, arguments] and has `describe()` for people and `execute(stage)` for the
kernel. What the child's unshare(CLONE_NEWNS) then copies is locked: root inside can take none of it off.

    stage/ID/                 a directory on the monitor's own tmpfs, mode 0711
    ├── t0 t1 ...             prepared trees (the store, a --rootfs), ids mapped to the container's
    └── root                  the overlay, or the tree itself; everything below is mounted onto descriptors inside it

Files are made as the container's root (setfsuid), so that they belong to it inside. Targets are resolved beneath the root's
descriptor, links confined; /proc, /sys and /dev must be real directories (openat2(2), the class of CVE-2019-19921).
"""

from __future__ import annotations

import errno
import os
import stat

from pycontainer.init.stage import Stage
from pycontainer.linux import mounts
from pycontainer.linux.capabilities import raise_effective
from pycontainer.linux.files import open_in_root
from pycontainer.linux.mounts import (
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
)
from pycontainer.linux.namespaces import CLONE_NEWIPC, CLONE_NEWNET
from pycontainer.linux.process import set_fs_ids

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_SAFE = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC
_SAFE_FLAGS = MS_NOSUID | MS_NODEV | MS_NOEXEC
COVER_DIR = "/cover"  # in the monitor's room: an empty file and an empty directory on a read-only tmpfs
_NODES = (("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0))
_PASSING = ".granted"  # a node on its way to a place outside of /dev
_ID_COUNT = 65536
_LINKS = (
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
)
_PING_GROUPS, _GROUPS = "sys/net/ipv4/ping_group_range", 65536  # in a procfs


class Step:
    """One entry of the parent's half. Arguments are plain data; descriptors are indexes into the stage's list."""

    __slots__ = ("arguments",)
    title = ""  # what is made, for the message of a failure; with `target`, the argument that says where follows
    target: int | None = None

    def __init__(self, *arguments: object) -> None:
        self.arguments = arguments

    def describe(self) -> str:
        """Say what the step makes, for people."""
        return self.title if self.target is None else f"{self.title} '{self.arguments[self.target]}'"

    def execute(self, stage: Stage) -> None:
        raise NotImplementedError


class Tree(Step):
    """(fd, name, idmapped): attach a prepared tree at stage/name with its ids mapped to the container's."""

    title = "root file system"

    def execute(self, stage: Stage) -> None:
        index, name, idmapped = self.arguments
        tree_fd = stage.fds[int(str(index))]
        if idmapped:
            mounts.mount_setattr(tree_fd, userns_fd=stage.userns_fd)
        os.mkdir(f"{stage.path}/{name}", 0o700)
        target_fd = os.open(f"{stage.path}/{name}", os.O_PATH | os.O_CLOEXEC)
        try:
            mounts.move_mount(tree_fd, target_fd)
        finally:
            os.close(target_fd)


class Overlay(Step):
    """(lowers top first, upper, work, nosuid): overlayfs over paths in the stage; nodev is explicit, a host-made overlay
    has no implicit one.

    `nosuid` comes with no_new_privs. It takes nothing away but an error: a program with capabilities in its file, as
    Debian's ping, then starts without them, where execve would fail (EPERM) for those that are out of bounds.
    """

    title = "overlay"

    def execute(self, stage: Stage) -> None:
        lowers, upper, work, nosuid = self.arguments
        assert isinstance(lowers, list)
        mount_fd = mounts.new_overlay(
            [f"{stage.path}/{lower}" for lower in lowers],
            upper=f"{stage.path}/{upper}",
            work=f"{stage.path}/{work}",
            context=stage.file_label,
            attributes=_root_attributes(nosuid),
            place=f"{stage.path}/{upper}",
        )
        _attach_root(stage, mount_fd)


class Root(Step):
    """(tree, nosuid): use a tree of the stage itself as the root, for --rootfs DIR:rw."""

    title = "root file system"

    def execute(self, stage: Stage) -> None:
        tree, nosuid = self.arguments
        mount_fd = mounts.clone_tree(f"{stage.path}/{tree}")
        mounts.mount_setattr(mount_fd, set_flags=_root_attributes(nosuid))
        _attach_root(stage, mount_fd)


class Dev(Step):
    """(console): an own tmpfs /dev with six nodes, links, pts, shm and mqueue directories.

    `console` says that the first terminal, which will be pts/0, is the console: an init talks to it by that name.
    """

    title = "devices"

    def execute(self, stage: Stage) -> None:
        (console,) = self.arguments
        links = (*_LINKS, ("console", "pts/0")) if console else _LINKS
        stage.mount(stage.real_directory("dev"), "tmpfs", MS_NOSUID | MS_NOEXEC, "size=64k,nr_inodes=256,mode=755")
        dev_fd = stage.real_directory("dev")
        try:
            for name, major, minor in _NODES:
                os.mknod(name, stat.S_IFCHR | 0o666, os.makedev(major, minor), dir_fd=dev_fd)
            for name, target in links:
                os.symlink(target, name, dir_fd=dev_fd)
            for name in ("pts", "shm", "mqueue"):
                os.mkdir(name, 0o755, dir_fd=dev_fd)
        finally:
            os.close(dev_fd)


class Device(Step):
    """(fd, path): a node of the container's own for a granted host device.

    It has the host's numbers, permissions and owner, the owner as seen inside: the host's own node would be nobody's there,
    closed to root of the container. It lies in our /dev, the one place without nodev; elsewhere it is bound from there.
    """

    title = "device"
    target = 1

    def execute(self, stage: Stage) -> None:
        index, path = self.arguments
        found = os.fstat(stage.fds[int(str(index))])
        if not (stat.S_ISCHR(found.st_mode) or stat.S_ISBLK(found.st_mode)):
            raise OSError(errno.ENODEV, "what is granted is not a device node", str(path))
        parent, _, name = str(path).rpartition("/")
        dev_fd, parent_fd = stage.real_directory("dev"), stage.directory(parent or "/")
        try:
            if os.fstat(parent_fd).st_dev == os.fstat(dev_fd).st_dev:
                self._make(stage, found, name, parent_fd)
                return
            self._make(stage, found, _PASSING, dev_fd)
            node_fd = os.open(_PASSING, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dev_fd)
            try:
                stage.attach(mounts.clone_tree("", dirfd=node_fd), stage.file(str(path)))
            finally:
                os.close(node_fd)
                os.unlink(_PASSING, dir_fd=dev_fd)
        finally:
            os.close(dev_fd)
            os.close(parent_fd)

    def _make(self, stage: Stage, like: os.stat_result, name: str, directory_fd: int) -> None:
        try:
            os.unlink(name, dir_fd=directory_fd)  # one of ours, in whose place it was asked for
        except FileNotFoundError:
            pass
        mode = stat.S_IFMT(like.st_mode) | stat.S_IMODE(like.st_mode) & 0o777
        os.mknod(name, mode, like.st_rdev, dir_fd=directory_fd)
        uid, gid = (number if number < _ID_COUNT else 0 for number in (like.st_uid, like.st_gid))
        os.chown(name, stage.base + uid, stage.base + gid, dir_fd=directory_fd, follow_symlinks=False)
        os.chmod(name, stat.S_IMODE(mode), dir_fd=directory_fd)


class Devpts(Step):
    """(): the container's own terminals, not too many of kernel.pty.max (4096), which all share. `gid` is a host id here:
    group 5 (tty) inside."""

    title = "terminals"

    def execute(self, stage: Stage) -> None:
        options = f"newinstance,ptmxmode=0666,mode=0620,gid={stage.base + 5},max=256"
        stage.mount(stage.directory("/dev/pts"), "devpts", MS_NOSUID | MS_NOEXEC, options)


class Tmpfs(Step):
    """(target, size_bytes or None, mode text, exec_allowed): a tmpfs."""

    title = "tmpfs"
    target = 0

    def execute(self, stage: Stage) -> None:
        target, size, mode, exec_allowed = self.arguments
        options = f"mode={mode}" + (f",size={size}" if size else "")
        flags = MS_NOSUID | MS_NODEV | (0 if exec_allowed else MS_NOEXEC)
        stage.mount(stage.directory(str(target)), "tmpfs", flags, options)


class File(Step):
    """(path, text): a file of the container's, for a tmpfs that was made just before."""

    title = "file"
    target = 0

    def execute(self, stage: Stage) -> None:
        path, text = self.arguments
        place_fd = stage.file(str(path))
        try:
            fd = os.open(f"/proc/self/fd/{place_fd}", os.O_WRONLY | os.O_CLOEXEC)
        finally:
            os.close(place_fd)
        try:
            os.write(fd, str(text).encode())
        finally:
            os.close(fd)


class Kernel(Step):
    """(ping): /proc of the child's pid namespace, /sys of its network and /dev/mqueue of its IPC namespace.

    `ping` says that the network namespace is the container's own: all its groups may then send echo requests, for which
    ping needs neither a capability nor a raw socket. The range is of ids on the host. icmp(7)
    """

    title = "kernel file systems"

    def execute(self, stage: Stage) -> None:
        (ping,) = self.arguments
        proc_fd = stage.proc_maker(stage)
        sys_fd, mqueue_fd = stage.real_directory("sys"), stage.directory("/dev/mqueue")
        # sysfs and mqueue belong to the namespaces of whoever mounts them.
        with stage.home.visit(stage.child_pidfd, CLONE_NEWNET | CLONE_NEWIPC):
            stage.mount(sys_fd, "sysfs", _SAFE_FLAGS | mounts.MS_RDONLY)
            stage.mount(mqueue_fd, "mqueue", _SAFE_FLAGS)
            if ping:
                # Not by the host's procfs: that keeps an entry of this name for each namespace that was there, and whoever
                # looks for its own afterwards goes through all of them.
                range_fd = os.open(_PING_GROUPS, os.O_WRONLY | os.O_CLOEXEC, dir_fd=proc_fd)
                try:
                    os.write(range_fd, b"%d %d" % (stage.base, stage.base + _GROUPS - 1))
                finally:
                    os.close(range_fd)
        stage.attach(proc_fd, stage.real_directory("proc"))


class Cgroup(Step):
    """(writable, [fd, name], ...): the container's own control groups under /sys/fs/cgroup; one unnamed entry of v2.

    Only a delegated one is writable, and the kernel lets root inside write what was handed over to it there.
    """

    title = "control groups"

    def execute(self, stage: Stage) -> None:
        writable, *pairs = self.arguments
        entries = [(stage.fds[int(str(index))], str(name)) for index, name in map(_pair, pairs)]
        for mount_fd, _ in entries:
            mounts.mount_setattr(mount_fd, set_flags=_SAFE | (0 if writable else MOUNT_ATTR_RDONLY))
        target_fd = stage.directory("/sys/fs/cgroup")
        if len(entries) == 1 and not entries[0][1]:
            mounts.move_mount(entries[0][0], target_fd)
            os.close(target_fd)
            return
        stage.mount(target_fd, "tmpfs", _SAFE_FLAGS, "size=16k,mode=755")
        top_fd = stage.directory("/sys/fs/cgroup")
        try:
            for mount_fd, name in entries:
                os.mkdir(name, 0o755, dir_fd=top_fd)
                place_fd = os.open(name, os.O_PATH | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=top_fd)
                mounts.move_mount(mount_fd, place_fd)
                os.close(place_fd)
            mounts.mount_setattr(top_fd, set_flags=MOUNT_ATTR_RDONLY)
        finally:
            os.close(top_fd)


class Bind(Step):
    """(fd, target, read_only, idmapped, recursive): a prepared tree, a directory or a file, attached inside."""

    title = "mount"
    target = 1

    def execute(self, stage: Stage) -> None:
        index, target, read_only, idmapped, recursive = self.arguments
        mount_fd = stage.fds[int(str(index))]
        flags = MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID | (MOUNT_ATTR_RDONLY if read_only else 0)
        mounts.mount_setattr(mount_fd, set_flags=flags, recursive=bool(recursive))
        if idmapped:
            mounts.mount_setattr(mount_fd, userns_fd=stage.userns_fd, recursive=bool(recursive))
        is_directory = stat.S_ISDIR(os.fstat(mount_fd).st_mode)
        target_fd = stage.directory(str(target)) if is_directory else stage.file(str(target))
        try:
            mounts.move_mount(mount_fd, target_fd)
        finally:
            os.close(target_fd)


_COVERS = ("file", "directory")
_directories: set[object] = set()  # masked paths that were one the last time: a cover that does not fit costs 0.1 ms


class Mask(Step):
    """(paths): cover what a container should not see, a file by an empty file, a directory by an empty directory, both
    from the monitor's own read-only cover, never from the container (CVE-2025-31133).

    Runs right after Kernel: the paths then lie on the procfs and sysfs we have just made, whose directories no tenant
    can turn into links, so that they may be named by string.
    """

    title = "masked paths"

    def execute(self, stage: Stage) -> None:
        for path in self.arguments:
            target = f"{stage.path}/root{path}"
            for kind in _COVERS if path not in _directories else reversed(_COVERS):
                try:
                    mounts.mount(f"{COVER_DIR}/{kind}", target, flags=mounts.MS_BIND)
                    if kind == "directory":
                        _directories.add(path)
                    break
                except FileNotFoundError:
                    break  # this kernel has no such thing to hide
                except NotADirectoryError:
                    continue


class ReadOnly(Step):
    """(paths): bind a path onto itself, read-only."""

    title = "read-only paths"

    def execute(self, stage: Stage) -> None:
        for path in self.arguments:
            try:
                target_fd = open_in_root(stage.root_fd, str(path), os.O_PATH)
            except FileNotFoundError:
                continue
            mount_fd = mounts.clone_tree("", dirfd=target_fd, recursive=True)
            mounts.mount_setattr(mount_fd, set_flags=MOUNT_ATTR_RDONLY, recursive=True)
            stage.attach(mount_fd, target_fd)


class Writable(Step):
    """(paths): parts of what ReadOnly covered, writable again, as far as the kernel lets root of the namespace write."""

    title = "writable paths"

    def execute(self, stage: Stage) -> None:
        for path in self.arguments:
            target_fd = open_in_root(stage.root_fd, str(path), os.O_PATH)
            mount_fd = mounts.clone_tree("", dirfd=target_fd)
            mounts.mount_setattr(mount_fd, clear_flags=MOUNT_ATTR_RDONLY)
            stage.attach(mount_fd, target_fd)


class View(Step):
    """(fd, path): a prepared file over one of the kernel's, read-only. Runs right after Kernel, as Mask does."""

    title = "view"
    target = 1

    def execute(self, stage: Stage) -> None:
        index, path = self.arguments
        mount_fd = stage.fds[int(str(index))]
        mounts.mount_setattr(
            mount_fd, set_flags=MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC
        )
        target_fd = open_in_root(stage.root_fd, str(path), os.O_PATH)
        try:
            mounts.move_mount(mount_fd, target_fd)
        finally:
            os.close(target_fd)


class RootReadOnly(Step):
    """(): the root itself read-only; what is mounted on it keeps its own mode."""

    title = "read-only root"

    def execute(self, stage: Stage) -> None:
        mounts.mount_setattr(stage.root_fd, set_flags=MOUNT_ATTR_RDONLY)


STEPS: dict[str, type[Step]] = {
    step.__name__: step
    for step in (
        Tree,
        Overlay,
        Root,
        Dev,
        Device,
        Devpts,
        Tmpfs,
        File,
        Kernel,
        Cgroup,
        Bind,
        Mask,
        View,
        ReadOnly,
        Writable,
        RootReadOnly,
    )
}


def execute(steps: list[list[object]], stage: Stage, *, on_step: Callable[[str], None] | None = None) -> None:
    """Run the parent's half. The OSError of a failing step gets its description as a note; `on_step` gets those done."""
    stage.open()
    set_fs_ids(stage.base)
    try:
        raise_effective()  # setfsuid took the file-system capabilities out of the effective set
        for name, *arguments in steps:
            step = STEPS[str(name)](*arguments)
            try:
                step.execute(stage)
            except OSError as error:
                error.add_note(step.describe())
                raise
            if on_step is not None:
                on_step(step.describe())
    finally:
        set_fs_ids(0)
        raise_effective()


def _root_attributes(nosuid: object) -> int:
    return MOUNT_ATTR_NODEV | (MOUNT_ATTR_NOSUID if nosuid else 0)


def _attach_root(stage: Stage, mount_fd: int) -> None:
    os.mkdir(f"{stage.path}/root", 0o711)
    stage.attach(mount_fd, os.open(f"{stage.path}/root", os.O_PATH | os.O_CLOEXEC))
    stage.root_fd = os.open(f"{stage.path}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def _pair(entry: object) -> tuple[object, object]:
    assert isinstance(entry, list)
    first, second = entry
    return first, second
