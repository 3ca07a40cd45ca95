"""The mounts of an OCI configuration, made by the parent in a mount namespace of its own, which the child copies.

    ROOTFS             its own tree bound onto itself: a mount that can become a root
    ├── mounts         in the order of config.json; targets are resolved beneath the root, links confined
    ├── dev            nodes, links, console
    ├── masks          over /proc and /sys, from the host's null device and an empty read-only file system of ours
    └── read-only      paths, and the root itself last

Whoever wrote the image may have left links anywhere: nothing below the root is named by a string twice (CVE-2021-30465),
/proc, /sys and /dev must be real directories (CVE-2019-19921), and nothing else may be mounted over parts of /proc.
Source: runtime-spec config.md "Mounts", config-linux.md.
"""

import errno
import os
import stat

from pycontainer.errors import InvalidInput, StartFailed
from pycontainer.init.stage import Stage
from pycontainer.linux import mounts
from pycontainer.linux.files import is_procfs, open_in_root
from pycontainer.linux.mounts import (
    MS_BIND,
    MS_PRIVATE,
    MS_RDONLY,
    MS_REC,
    MS_REMOUNT,
    MS_SHARED,
    MS_SLAVE,
    MS_UNBINDABLE,
)
from pycontainer.linux.namespaces import CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWNS, setns, unshare

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontainer.oci.cgroups import Group
    from pycontainer.oci.config import Config, Device, IdMap, Mount

_FILE_CONFIG = "config.json"
# MS_ flag → MOUNT_ATTR_ flag, where they differ. mount_setattr(2), <linux/mount.h>
_SAME = mounts.MS_RDONLY | mounts.MS_NOSUID | mounts.MS_NODEV | mounts.MS_NOEXEC
_ATTRIBUTES = (
    (1 << 8, 0x200000),
    (1 << 10, 0x10),
    (1 << 11, 0x80),
    (1 << 24, 0x20),
)  # NOSYMFOLLOW NOATIME NODIRATIME STRICTATIME
_SAFE = mounts.MOUNT_ATTR_NOSUID | mounts.MOUNT_ATTR_NODEV | mounts.MOUNT_ATTR_NOEXEC
_ATIME_MODES, _ATTR_ATIME = 1 << 10 | 1 << 21 | 1 << 24, 0x70
_LINKS = (
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
)
_NODES = (("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0))
NULL = os.makedev(1, 3)
# What programs are commonly told another truth about; over the rest of /proc nothing is mounted (CVE-2019-16884).
_PROC_FILES = frozenset(
    ("cpuinfo", "diskstats", "meminfo", "stat", "swaps", "uptime", "loadavg", "slabinfo", "net/dev",
     "sys/kernel/ns_last_pid", "sys/crypto/fips_enabled"),
)  # fmt: skip


def own_mount_namespace(propagation: int, joined_fd: int = -1, *, must_be_same: str = "/") -> None:
    """Leave for a copy of the mounts; what we mount does not come out, unless the root is to be shared.

    With `joined_fd` we enter that mount namespace instead, and what we mount stays in it. We go on there by paths: /proc,
    directory `must_be_same` and our own modules have to be what they were, InvalidInput else. A container's namespace, where
    others choose what has these names, is none to make another container in.
    """
    if joined_fd >= 0:
        known = ("/proc", must_be_same, os.path.dirname(__file__))
        before = [_identity(path) for path in known]
        home_fd = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        try:
            setns(joined_fd, CLONE_NEWNS)
            for path, found in zip(known, before, strict=True):
                if _identity(path) != found:
                    setns(home_fd, CLONE_NEWNS)  # what is done about it is not done in there
                    raise InvalidInput(
                        f"{_FILE_CONFIG}: linux.namespaces: in the mount namespace to join '{path}' is not the runtime's"
                    )
        finally:
            os.close(home_fd)
        return
    unshare(CLONE_NEWNS)
    mounts.mount("none", "/", flags=propagation if propagation & MS_SHARED else MS_SLAVE | MS_REC)


def _identity(path: str) -> "tuple[int, int] | None":
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def bind_root(root_path: str, *, is_private: bool) -> int:
    """Bind the root file system onto itself, go there, and return a descriptor of that mount.

    `is_private` says that what we mount does not come out by itself.
    """
    if not is_private:  # nobody outside has a use for the bind itself
        mounts.mount("none", _mount_above(root_path), flags=MS_PRIVATE)
    tree_fd = mounts.clone_tree(root_path, recursive=True)
    place_fd = os.open(root_path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        mounts.move_mount(tree_fd, place_fd)
    finally:
        os.close(place_fd)
        os.close(tree_fd)
    os.chdir(root_path)
    return os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def full_views(root_path: str) -> list[str]:
    """Return where procfs and sysfs are mounted whole outside of a root, one time for each mount that is stacked there.

    What goes with one that is higher up is left out: lazily unmounted, that takes along what lies on it.
    """
    points, views = [], set()
    with open("/proc/thread-self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            before, _, after = line.partition(" - ")
            _, _, _, root, escaped, _ = before.split(" ", 5)
            point = _unescaped(escaped)
            if f"{point}/".startswith(f"{root_path}/"):
                continue
            points.append(point)
            if root == "/" and after.split(" ", 1)[0] in ("proc", "sysfs"):
                views.add(point)
    return [
        point
        for point in points
        if point in views and not any(point.startswith(f"{above}/") for above in views if above != point)
    ]


def _unescaped(text: str) -> str:
    return text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")


def _mount_above(path: str) -> str:
    """Return the mount point that a directory lies on. proc_pid_mountinfo(5)"""
    longest = "/"
    with open("/proc/thread-self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            point = _unescaped(line.split(" ", 5)[4])
            if (path + "/").startswith(point.rstrip("/") + "/") and len(point) > len(longest):
                longest = point
    return longest


class Mounting:
    """Everything that is mounted for one container."""

    __slots__ = ("_binds_nodes", "_config", "_group", "_stage")

    def __init__(self, config: "Config", stage: Stage, group: "Group", *, binds_nodes: bool) -> None:
        """`binds_nodes`: devices come from the host's /dev, for where we are not allowed to make a node."""
        self._config, self._stage, self._group, self._binds_nodes = config, stage, group, binds_nodes

    def make(self) -> None:
        """Mount all but the root's own read-only flag. OSErrors carry a note of what was being made."""
        brings_dev = False
        for number, mount in enumerate(self._config.mounts):
            brings_dev = brings_dev or mount.is_bind and _cleaned(mount.destination) == "dev"
            try:
                self._mount(mount)
            except OSError as error:
                error.add_note(
                    f"mounts[{number}]: mount {mount.type or 'bind'} '{mount.source}' at '{mount.destination}'"
                )
                raise
        if not brings_dev:
            self._devices()
        self._cover()

    def finish(self) -> None:
        """Make the root read-only where that is asked for; before this hooks may still write."""
        if self._config.root_readonly:
            mounts.mount_setattr(self._stage.root_fd, set_flags=mounts.MOUNT_ATTR_RDONLY)

    # -- mounts ----------------------------------------------------------------------------------------------------

    def _mount(self, mount: "Mount") -> None:
        place = _cleaned(mount.destination)
        self._check_place(mount, place)
        if mount.flags & MS_REMOUNT:
            self._remount(mount)
            return
        if mount.is_bind:
            mount_fd = self._bound(mount)
            is_directory = stat.S_ISDIR(os.fstat(mount_fd).st_mode)
        elif mount.type in ("cgroup", "cgroup2"):  # a new one would be of our cgroup namespace: the whole host's tree
            self._cgroup(mount)
            return
        else:
            mount_fd, is_directory = self._made(mount, place), True
        try:
            target_fd = self._target(place) if is_directory else self._stage.file(f"/{place}")
            try:
                if not f"{place}/".startswith("proc/") and is_procfs(target_fd):  # through a link of the image
                    raise InvalidInput(f"{_FILE_CONFIG}: mounts: '{mount.destination}' leads into /proc")
                mounts.move_mount(mount_fd, target_fd)
            finally:
                os.close(target_fd)
            for flags in mount.propagation:
                if flags & MS_UNBINDABLE:
                    continue  # rows.py, after the copy
                mounts.mount_setattr(mount_fd, propagation=flags & ~MS_REC, recursive=bool(flags & MS_REC))
        finally:
            os.close(mount_fd)

    def _check_place(self, mount: "Mount", place: str) -> None:
        if not place:
            raise InvalidInput(f"{_FILE_CONFIG}: mounts: '{mount.destination}' is the root itself")
        if place.startswith("proc/") and place[5:] not in _PROC_FILES:
            files = ", ".join(sorted(_PROC_FILES))
            raise InvalidInput(
                f"{_FILE_CONFIG}: mounts: '{mount.destination}' is inside of /proc, where only {files} may be replaced"
            )

    def _target(self, place: str) -> int:
        """Return a descriptor of the directory to mount on, made if missing; /proc, /sys and /dev never through a link.

        With a link, nodes would be made, and files replaced, where it leads: on a volume of the host's.
        """
        if place in ("proc", "sys", "dev"):
            return self._stage.real_directory(place)
        return directory_inside(self._stage.root_fd, place)

    def _bound(self, mount: "Mount") -> int:
        """Return a detached copy of a bind's source, with its attributes."""
        try:
            fd = mounts.clone_tree(mount.source, recursive=mount.is_recursive)
        except FileNotFoundError as error:
            raise StartFailed(f"mount source '{mount.source}': no such file or directory", step="mount") from error
        try:
            set_flags, clear_flags = _attributes(mount.flags, mount.cleared)
            if set_flags or clear_flags:
                mounts.mount_setattr(fd, set_flags=set_flags, clear_flags=clear_flags)
            if mount.recursive_set or mount.recursive_cleared:
                mounts.mount_setattr(
                    fd, set_flags=mount.recursive_set, clear_flags=mount.recursive_cleared, recursive=True
                )
            if mount.idmap:
                self._map_ids(mount, fd)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _map_ids(self, mount: "Mount", fd: int) -> None:
        from pycontainer.oci.idmaps import namespace_for  # rare

        is_recursive = mount.idmap == "ridmap"
        if not mount.uid_mappings and not mount.gid_mappings:
            mounts.mount_setattr(fd, userns_fd=self._stage.userns_fd, recursive=is_recursive)
            return
        userns_fd = namespace_for(mount.uid_mappings, mount.gid_mappings)
        try:
            mounts.mount_setattr(fd, userns_fd=userns_fd, recursive=is_recursive)
        finally:
            os.close(userns_fd)

    def _made(self, mount: "Mount", place: str) -> int:
        """Make a file system and return its detached mount."""
        options: list[tuple[str, str | int | None]] = [("source", mount.source or mount.type)]
        set_flags, clear_flags = _attributes(mount.flags, mount.cleared)
        data = self._data(mount)
        if mount.type == "proc" and not data:
            fd = self._stage.proc_maker(self._stage)
            if set_flags != _SAFE:
                mounts.mount_setattr(fd, set_flags=set_flags, clear_flags=_SAFE & ~set_flags)
            return fd
        if mount.type == "proc":
            namespace_fd = os.open(f"/proc/{self._stage.child_pid}/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
            options.append(("pidns", namespace_fd))
        options += [(key, value if found else None) for key, found, value in (each.partition("=") for each in data)]
        if mount.flags & MS_RDONLY and mount.source.startswith("/dev/"):  # a device that may not be written to
            options.append(("ro", None))
        try:
            visited = {"sysfs": CLONE_NEWNET, "mqueue": CLONE_NEWIPC}.get(mount.type, 0)
            if visited:  # these belong to the namespaces of whoever makes them
                fd = self._stage.home.fetch(
                    self._stage.child_pidfd, visited, lambda: mounts.new_mount(mount.type, options, set_flags)
                )
            else:
                fd = mounts.new_mount(
                    mount.type, options, set_flags & ~(mounts.MOUNT_ATTR_RDONLY if mount.copies_up else 0)
                )
        finally:
            if mount.type == "proc":
                os.close(namespace_fd)
        if mount.copies_up:
            self._copy_up(place, fd)
            if set_flags & mounts.MOUNT_ATTR_RDONLY:
                mounts.mount_setattr(fd, set_flags=mounts.MOUNT_ATTR_RDONLY)
        return fd

    def _data(self, mount: "Mount") -> list[str]:
        """Return the options of the file system; ids are the container's there, and the kernel takes them for ours."""
        found = [each for each in mount.data.split(",") if each]
        if self._config.mount_label and mount.type in ("tmpfs", "devpts", "mqueue"):
            found.append(f'context="{self._config.mount_label}"')
        for position, each in enumerate(found):
            key, _, value = each.partition("=")
            if key in ("uid", "gid") and value.isdecimal():
                maps = self._config.uid_mappings if key == "uid" else self._config.gid_mappings
                found[position] = f"{key}={outside(maps, int(value))}"
        return found

    def _copy_up(self, place: str, fd: int) -> None:
        from pycontainer.linux.treecopy import copy_tree  # rare

        try:
            source_fd = open_in_root(self._stage.root_fd, place, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            return
        try:
            copy_tree(source_fd, fd)
        finally:
            os.close(source_fd)

    def _remount(self, mount: "Mount") -> None:
        flags = mount.flags | (MS_BIND if mount.is_bind else 0)
        target_fd = self._target(_cleaned(mount.destination))
        try:
            mounts.mount("none", f"/proc/self/fd/{target_fd}", flags=flags, data=mount.data)
        finally:
            os.close(target_fd)

    def _cgroup(self, mount: "Mount") -> None:
        """Show the container its own control groups: the unified one itself, or a directory with one for each hierarchy."""
        flags, _ = _attributes(mount.flags, 0)
        place = _cleaned(mount.destination)
        sources = self._group.mount_sources()
        if len(sources) == 1 and not sources[0][0]:
            self._attach_group(sources[0][1], self._target(place), flags)
            return
        safe = mounts.MS_NOSUID | mounts.MS_NODEV | mounts.MS_NOEXEC
        self._stage.mount(self._target(place), "tmpfs", safe, "mode=755")
        top_fd = self._target(place)
        try:
            for name, directory in sources:
                os.mkdir(name, 0o755, dir_fd=top_fd)
                place_fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=top_fd)
                self._attach_group(directory, place_fd, flags)
                for alias in name.split(",") if "," in name else ():
                    os.symlink(name, alias, dir_fd=top_fd)
            if flags & mounts.MOUNT_ATTR_RDONLY:
                mounts.mount_setattr(top_fd, set_flags=mounts.MOUNT_ATTR_RDONLY)
        finally:
            os.close(top_fd)

    def _attach_group(self, directory: str, target_fd: int, flags: int) -> None:
        mount_fd = mounts.clone_tree(directory)
        mounts.mount_setattr(mount_fd, set_flags=flags)
        self._stage.attach(mount_fd, target_fd)

    # -- /dev ------------------------------------------------------------------------------------------------------

    def _devices(self) -> None:
        """Make the nodes that the specification asks for and those of the configuration, and the links."""
        from pycontainer.oci.config import Device

        dev_fd = self._target("dev")
        try:
            devices = {path: Device("c", path, major, minor, 0o666, 0, 0) for path, major, minor in _node_table()}
            devices.update((device.path, device) for device in self._config.devices)
            for device in devices.values():
                try:
                    self._device(device)
                except OSError as error:
                    error.add_note(f"linux.devices: make '{device.path}'")
                    raise
            for name, target in _LINKS:
                if name != "fd" or os.path.exists("/proc/self/fd"):
                    _link(target, name, dev_fd)
            if _exists("pts/ptmx", dev_fd):
                _link("pts/ptmx", "ptmx", dev_fd)
        finally:
            os.close(dev_fd)

    def _device(self, device: "Device") -> None:
        parent, _, name = device.path.rstrip("/").rpartition("/")
        if self._binds_nodes:
            self._bind_node(device)
            return
        parent_fd = self._stage.directory(parent or "/")
        try:
            kind = {"b": stat.S_IFBLK, "p": stat.S_IFIFO}.get(device.type, stat.S_IFCHR)
            mode = 0o666 if device.mode is None else device.mode
            number = 0 if kind == stat.S_IFIFO else os.makedev(device.major, device.minor)
            before = os.umask(0)  # a chmod afterwards could meet a link: a running container may share the directory
            try:
                os.mknod(name, kind | mode, number, dir_fd=parent_fd)
            except FileExistsError:  # of the image, or mounted from the host: whose it is, it stays
                found = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
                if (stat.S_IFMT(found.st_mode), found.st_rdev) != (kind, number):
                    raise
                return
            except PermissionError:  # our root is not the host's, which alone makes nodes
                self._bind_node(device)
                return
            finally:
                os.umask(before)
            if device.uid or device.gid:
                ids = (outside(self._config.uid_mappings, device.uid), outside(self._config.gid_mappings, device.gid))
                os.chown(name, *ids, dir_fd=parent_fd, follow_symlinks=False)
        finally:
            os.close(parent_fd)

    def _bind_node(self, device: "Device") -> None:
        """Show the host's own node, if it is the device that was asked for."""
        node_fd = os.open(device.path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            found = os.fstat(node_fd)
            if device.type != "p" and found.st_rdev != os.makedev(device.major, device.minor):
                raise OSError(errno.ENODEV, "the host has another device there", device.path)
            self._stage.attach(mounts.clone_tree("", dirfd=node_fd), self._stage.file(device.path))
        finally:
            os.close(node_fd)

    def console(self, slave_fd: int) -> None:
        """Show the first terminal as /dev/console: that very one, not what has its name by now (CVE-2025-52565)."""
        self._stage.attach(mounts.clone_tree("", dirfd=slave_fd), self._stage.file("/dev/console"))

    # -- masks -----------------------------------------------------------------------------------------------------

    def _cover(self) -> None:
        null_fd = empty_fd = -1
        try:
            for path in self._config.masked_paths:
                try:
                    target_fd = open_in_root(self._stage.root_fd, path, os.O_PATH)
                except (FileNotFoundError, NotADirectoryError):
                    continue  # this kernel has no such thing to hide
                if stat.S_ISDIR(os.fstat(target_fd).st_mode):
                    if empty_fd < 0:
                        flags = mounts.MOUNT_ATTR_RDONLY | mounts.MOUNT_ATTR_NOSUID | mounts.MOUNT_ATTR_NODEV
                        empty_fd = mounts.new_mount("tmpfs", [("size", "0k"), ("nr_inodes", "2")], flags)
                        self._stage.attach(os.dup(empty_fd), target_fd)  # the first one is the file system itself
                        continue
                    self._stage.attach(mounts.clone_tree("", dirfd=empty_fd), target_fd)
                else:
                    if null_fd < 0:
                        null_fd = _host_null()
                    self._stage.attach(mounts.clone_tree("", dirfd=null_fd), target_fd)
        finally:
            for fd in (null_fd, empty_fd):
                if fd >= 0:
                    os.close(fd)
        for path in self._config.readonly_paths:
            try:
                target_fd = open_in_root(self._stage.root_fd, path, os.O_PATH)
            except (FileNotFoundError, NotADirectoryError):
                continue
            tree_fd = mounts.clone_tree("", dirfd=target_fd, recursive=True)
            mounts.mount_setattr(tree_fd, set_flags=mounts.MOUNT_ATTR_RDONLY, recursive=True)
            self._stage.attach(tree_fd, target_fd)


def directory_inside(root_fd: int, path: str, *, links_left: int = 40) -> int:
    """Return a descriptor of a directory beneath the root, made if it is missing, where links lead that lead nowhere yet."""
    try:
        return open_in_root(root_fd, path, os.O_PATH | os.O_DIRECTORY)
    except FileNotFoundError:
        pass
    parent, _, name = path.strip("/").rpartition("/")
    parent_fd = directory_inside(root_fd, parent, links_left=links_left) if parent else os.dup(root_fd)
    try:
        try:
            os.mkdir(name, 0o755, dir_fd=parent_fd)
        except FileExistsError:
            target = os.readlink(name, dir_fd=parent_fd)
            if not links_left:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path) from None
            os.close(directory_inside(root_fd, os.path.join(parent, target), links_left=links_left - 1))
    finally:
        os.close(parent_fd)
    return open_in_root(root_fd, path, os.O_PATH | os.O_DIRECTORY)


def outside(maps: "list[IdMap]", number: int) -> int:
    """Return the id on our side of an id inside; the same without a map, or beyond it."""
    for each in maps:
        if each.inside <= number < each.inside + each.count:
            return each.outside + number - each.inside
    return number


def _cleaned(destination: str) -> str:
    """Return a destination without slashes around and without `.` and `..`, which mean nothing beyond the root."""
    parts: list[str] = []
    for part in destination.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def _attributes(flags: int, cleared: int) -> tuple[int, int]:
    """Translate MS_ flags into (to be set, to be cleared) of mount_setattr(2)."""
    set_flags, clear_flags = flags & _SAME, cleared & _SAME
    for ms, attribute in _ATTRIBUTES:
        if flags & ms:
            set_flags |= attribute
        if cleared & ms:
            clear_flags |= attribute
    if (flags | cleared) & _ATIME_MODES:  # one of several: the field is cleared as a whole
        clear_flags |= _ATTR_ATIME
    return set_flags, clear_flags & ~(set_flags & ~_ATTR_ATIME)


def _node_table() -> "list[tuple[str, int, int]]":
    return [(f"/dev/{name}", major, minor) for name, major, minor in _NODES]


def _host_null() -> int:
    """Return a descriptor of the host's null device, looked at: whatever else is there would be shown to a container."""
    fd = os.open("/dev/null", os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    found = os.fstat(fd)
    if not stat.S_ISCHR(found.st_mode) or found.st_rdev != NULL:
        os.close(fd)
        raise OSError(errno.ENODEV, "not the null device", "/dev/null")
    return fd


def _link(target: str, name: str, dir_fd: int) -> None:
    try:
        os.symlink(target, name, dir_fd=dir_fd)
    except FileExistsError:
        if name != "ptmx":
            return
        os.unlink(name, dir_fd=dir_fd)  # a node of the image would be of the host's terminals
        os.symlink(target, name, dir_fd=dir_fd)


def _exists(name: str, dir_fd: int) -> bool:
    try:
        os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    except OSError:
        return False
    return True
