"""Unpacking a tar stream that an attacker wrote: nothing lands outside of a root, nothing grows without bound.

    stream ─▶ TarReader (tarfile reads headers, nothing else; strict about damage) ─▶ Unpacker ─▶ dir_fd calls

`tarfile` has been led out of its destination again and again (CVE-2007-4559 to CVE-2026-11940), so it never touches
the file system here. Every name is split into components, the parent is opened beneath the root with links confined
to it, and the last component is never followed: it is removed and made anew. Devices, fifos and sockets are dropped.

Who reads the stream is confined besides (runtime/confined.py); this module has to hold without that as well.
"""

import contextlib
import errno
import os
import re
import stat
import struct
from typing import NamedTuple

from pycontainer.errors import InvalidInput
from pycontainer.linux.files import open_in_root
from pycontainer.linux.partialfile import NEW_FILE, partial_file
from pycontainer.store.compression import Source
from pycontainer.store.inodes import InodeSet
from pycontainer.store.tarstream import Entry, Kind, TarReader
from pycontainer.store.whiteouts import META_PREFIX, OPAQUE, PREFIX, cannot_hide
from pycontainer.units import shown

_BLOCK_BYTES = 1 << 18
_ZEROS = bytes(_BLOCK_BYTES)
_DIR_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_ID = 65535
_MAX_NAME_BYTES = 255
_RETRIES = 16
_MAX_LINKS = 40  # the kernel's own limit
_TIME = re.compile(r"(-?)([0-9]{1,11})(?:\.([0-9]*))?", re.ASCII)
_CAPABILITY = "security.capability"
_VFS_CAP_REVISION_2, _VFS_CAP_REVISION_3 = 0x02000000, 0x03000000


class Budgets(NamedTuple):
    """How much one stream may ask for.

    The ratio is for archives, whose size is known: beyond `grace_bytes` each packed byte may become `max_ratio`, if there is
    one. Zeros that become holes take no space and do not count. Root file systems reach 2 to 6; gzip's bombs reach 1032,
    others far more.
    """

    max_bytes: int = 64 << 30
    max_entries: int = 1_000_000
    max_path_bytes: int = 4095
    max_depth: int = 256
    max_xattr_bytes: int = 64 << 20  # names and values of all entries; a single header is a megabyte at most
    max_ratio: int | None = 200
    grace_bytes: int = 64 << 20


class _Directory(NamedTuple):
    """What a directory gets when the stream has left it: its entry's attributes and time.

    Without an entry it gets back the time that it had before something was written into it: the stream has left it before,
    or never mentioned it.
    """

    parts: tuple[bytes, ...]
    inode: tuple[int, int]
    entry: Entry | None
    mtime_ns: int


class Unpacker:
    """Makes the entries of one tar stream beneath `root_fd`, which the caller keeps.

    `owner` gives everything to one uid and gid, and takes set-user-id and set-group-id bits away; without it the
    stream's numbers hold, 0 to 65535. With `merge`, for copying into a tree in use, directories that are there (and
    links to such) stay as they are, none replaces a file, and a file is there when it is whole. After `unpack`: `entries`,
    `size_bytes` (content written) and `dropped` (names of devices, fifos and sockets).
    """

    def __init__(
        self,
        root_fd: int,
        *,
        owner: tuple[int, int] | None = None,
        budgets: Budgets | None = None,
        merge: bool = False,
        packed_bytes: int | None = None,
        is_layer: bool = False,
        may_lack_end: bool = False,
    ) -> None:
        """`packed_bytes` is the size of the archive that the stream comes from, None where there is none.

        With `is_layer` the stream is one layer of an OCI image: `.wh.NAME` becomes a whiteout of overlayfs, if this layer
        itself has no NAME. What only the layers beneath, or the host's rights, can settle is noted: `opaque` directories,
        `whiteouts` and `implied` directories, which the stream goes into without a word of them. `may_lack_end`: TarReader.
        """
        self._root_fd = root_fd
        self._owner = owner
        self._budgets = budgets or Budgets()
        self._merge = merge
        self._packed_bytes = packed_bytes
        self._xattr_bytes = 0
        self._parent: tuple[tuple[bytes, ...], int] | None = None  # of the entry before, most have the same
        self._parent_may_have_changed = False
        self._files = InodeSet()  # made by this extraction: what hard links may lead to
        self._way: list[_Directory] = []  # to be finished: those on the way to the last entry, with `merge` all
        self._dropped: set[tuple[bytes, ...]] = set()
        self._is_layer, self._may_lack_end = is_layer, may_lack_end
        self._implied: set[tuple[bytes, ...]] = {()}  # of a layer
        self._opaque_marks: set[tuple[bytes, ...]] = set()
        self._whiteout_marks: set[tuple[bytes, ...]] = set()
        self.opaque: set[tuple[bytes, ...]] = set()
        self.whiteouts: set[tuple[bytes, ...]] = set()
        self.dropped: list[str] = []
        self.entries = 0
        self.size_bytes = 0
        self._solid_bytes = 0  # of the stream, without what became holes

    def unpack(self, fileobj: Source) -> None:
        """Make all entries of the uncompressed tar stream `fileobj`, and read it to its end.

        Raises InvalidInput, naming the entry, for what is hostile, damaged or beyond the budgets; what was made until
        then stays, for the caller to remove.
        """
        reader = TarReader(fileobj, may_lack_end=self._may_lack_end)
        try:
            while True:
                before = reader.position
                if (entry := reader.next()) is None:
                    break
                self._solid_bytes += reader.position - before
                self.entries += 1
                if self.entries > self._budgets.max_entries:
                    raise InvalidInput(
                        f"{_quoted(entry)}: the archive holds more than {self._budgets.max_entries} entries"
                    )
                self._charge(entry)
                try:
                    self._make(reader, entry)
                except OSError as error:
                    refusal = _refusal(error)
                    if refusal:
                        raise InvalidInput(f"cannot unpack {_quoted(entry)}: {refusal}") from error
                    raise
            reader.finish()
            try:
                self._make_whiteouts()
            except PermissionError as error:
                raise cannot_hide() from error
            except OSError as error:
                if refusal := _refusal(error):
                    raise InvalidInput(f"cannot apply the whiteouts of the layer: {refusal}") from error
                raise
            while self._way:
                self._finish_directory(self._way.pop())
        finally:
            self._forget_parent()

    # -- one entry -------------------------------------------------------------------------------------------------

    def _charge(self, entry: Entry) -> None:
        """Refuse an entry with which the archive becomes larger than it may, before anything of it is made."""
        budgets = self._budgets
        if self.size_bytes + entry.size > budgets.max_bytes:  # holes included
            raise InvalidInput(f"{_quoted(entry)}: the archive unpacks to more than {budgets.max_bytes} bytes")
        self._charge_ratio(entry)
        self._xattr_bytes += sum(len(name) + len(value) for name, value in entry.xattrs.items())
        if self._xattr_bytes > budgets.max_xattr_bytes:
            raise InvalidInput(
                f"{_quoted(entry)}: the archive holds more than {budgets.max_xattr_bytes} bytes of extended attributes"
            )

    def _charge_ratio(self, entry: Entry) -> None:
        """Refuse an archive that has become more than its bytes may."""
        budgets, packed = self._budgets, self._packed_bytes
        if packed is None or budgets.max_ratio is None:
            return
        if self._solid_bytes > budgets.grace_bytes + budgets.max_ratio * packed:
            raise InvalidInput(
                f"{_quoted(entry)}: the archive unpacks to more than {budgets.max_ratio} times its {packed} bytes",
                hint="if it is meant to, import it uncompressed, or as a directory",
            )

    def _make(self, reader: TarReader, entry: Entry) -> None:
        parts = self._checked_parts(entry, entry.name)
        if not (0 <= entry.uid <= _MAX_ID and 0 <= entry.gid <= _MAX_ID) and self._owner is None:
            raise InvalidInput(
                f"{_quoted(entry)} belongs to {entry.uid}:{entry.gid}, but a container has the ids 0 to {_MAX_ID}",
                hint="pack the tree with the owners it has inside of the container",
            )
        mtime_ns = _time(entry)
        if self._is_layer and any(part.startswith(PREFIX) for part in parts):
            self._note_whiteout(parts, entry)
            return
        if entry.kind is Kind.SPECIAL:
            self._dropped.add(parts)
            self.dropped.append(entry.name.decode(errors="backslashreplace"))
            return
        if not parts:
            if entry.kind is not Kind.DIRECTORY:
                raise InvalidInput(f"{_quoted(entry)} would replace the root directory by something else")
            self._note_directory((), self._root_fd, entry, mtime_ns)
            return
        parent_fd = self._open_parent(parts[:-1])
        if entry.kind is Kind.DIRECTORY:
            self._make_directory(parts, parent_fd, entry, mtime_ns)
        elif entry.kind is Kind.FILE:
            self._make_file(reader, parts, parent_fd, entry, mtime_ns)
        elif entry.kind is Kind.SYMLINK:
            self._make_symlink(parts, parent_fd, entry, mtime_ns)
        else:
            self._make_hardlink(parts, parent_fd, entry)

    @property
    def implied(self) -> set[tuple[bytes, ...]]:
        """The directories that were made because something lies in them; the root is one until it is mentioned."""
        return {self._canonical(parts) for parts in self._implied}

    def _note_whiteout(self, parts: tuple[bytes, ...], entry: Entry) -> None:
        """Note what hides something of the layers beneath: it never hides what this layer has, in whatever order.

        OCI image-spec, layer.md: Whiteouts. `.wh..wh.*` besides the opaque mark are notes of aufs to itself.
        """
        *above, name = parts
        if any(part.startswith(META_PREFIX) for part in parts) and name != OPAQUE:
            return
        parent, hidden = tuple(above), name[len(PREFIX) :]
        if any(part.startswith(PREFIX) for part in parent) or hidden in (b"", b".", b".."):
            raise InvalidInput(f"{_quoted(entry)} is no whiteout, and nothing else may be called that")
        if name == OPAQUE:
            self._opaque_marks.add(parent)
        else:
            self._whiteout_marks.add((*parent, hidden))

    def _make_whiteouts(self) -> None:
        """Make the whiteouts that were noted, now that all of the layer is there."""
        for parent in sorted(self._opaque_marks):
            with contextlib.suppress(NotADirectoryError):  # hidden by this layer's file
                self._open_parent(parent)
                self.opaque.add(self._canonical(parent))
        for *above, name in sorted(self._whiteout_marks):
            try:
                self._open_parent(tuple(above))  # made, if it is missing
            except NotADirectoryError:  # likewise, or by another whiteout
                continue
            parts = (*self._canonical(tuple(above)), name)
            parent_fd = self._open_parent(parts[:-1])
            try:
                os.mknod(name, stat.S_IFCHR, 0, dir_fd=parent_fd)
            except FileExistsError:
                if stat.S_ISDIR(os.lstat(name, dir_fd=parent_fd).st_mode):
                    self.opaque.add(parts)
                continue
            self._parent_may_have_changed = True
            self.whiteouts.add(parts)

    def _canonical(self, parts: tuple[bytes, ...]) -> tuple[bytes, ...]:
        """Return the name that a directory has without the links that lead to it."""
        done: list[bytes] = []
        left, links = [*reversed(parts)], 0
        while left:
            part = left.pop()
            if part == b"..":
                del done[-1:]
                continue
            try:
                target = os.readlink(part, dir_fd=self._open_parent(tuple(done)))
            except OSError:  # EINVAL: no link
                done.append(part)
                continue
            links += 1
            if links > _MAX_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            if target.startswith(b"/"):
                done.clear()
            left += [part for part in reversed(target.split(b"/")) if part not in (b"", b".")]
        return tuple(done)

    def _checked_parts(self, entry: Entry, name: bytes) -> tuple[bytes, ...]:
        """Split a name into components; a leading slash means the root, `..` is refused wherever it stands."""
        if not name:
            raise InvalidInput(f"entry {self.entries} of the archive has no name")
        if b"\0" in name or len(name) > self._budgets.max_path_bytes:
            raise InvalidInput(f"{_quoted(entry)}: the name is too long, or holds a NUL byte")
        parts = tuple(part for part in name.split(b"/") if part not in (b"", b"."))
        if b".." in parts:
            raise InvalidInput(f"{_quoted(entry)}: '..' would leave the root", hint="nothing was written outside of it")
        if len(parts) > self._budgets.max_depth:
            raise InvalidInput(f"{_quoted(entry)} is deeper than {self._budgets.max_depth} directories")
        if any(len(part) > _MAX_NAME_BYTES for part in parts):
            raise InvalidInput(f"{_quoted(entry)}: a component is longer than {_MAX_NAME_BYTES} bytes")
        return parts

    def _make_directory(self, parts: tuple[bytes, ...], parent_fd: int, entry: Entry, mtime_ns: int) -> None:
        name = parts[-1]
        for _ in range(_RETRIES):
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=parent_fd)
                break
            if self._merge:
                try:
                    os.close(open_in_root(self._root_fd, b"/".join(parts), os.O_PATH | os.O_DIRECTORY))
                except NotADirectoryError as error:
                    raise FileExistsError(errno.EEXIST, "no directory is in its place", name) from error
                return
            if stat.S_ISDIR(os.lstat(name, dir_fd=parent_fd).st_mode):
                break
            self._remove(name, parent_fd)
        fd = os.open(name, _DIR_FLAGS, dir_fd=parent_fd)
        try:
            self._note_directory(parts, fd, entry, mtime_ns)
        finally:
            os.close(fd)

    def _note_directory(self, parts: tuple[bytes, ...], fd: int, entry: Entry, mtime_ns: int) -> None:
        if not parts and self._merge:
            return
        self._implied.discard(parts)
        self._leave_for(parts)
        if self._way and self._way[-1].parts == parts and not self._merge:
            self._way.pop()  # the root, into which something was written before it was mentioned
        self._way.append(_Directory(parts, _inode(os.fstat(fd)), entry, mtime_ns))

    def _make_file(
        self, reader: TarReader, parts: tuple[bytes, ...], parent_fd: int, entry: Entry, mtime_ns: int
    ) -> None:
        if self._merge:
            self._replace_file(reader, parts[-1], parent_fd, entry, mtime_ns)
            return
        for attempt in range(_RETRIES):
            try:
                fd = os.open(parts[-1], NEW_FILE, 0o600, dir_fd=parent_fd)
                break
            except FileExistsError:
                if attempt == _RETRIES - 1:
                    raise
                self._remove(parts[-1], parent_fd)
        try:
            self._fill(reader, fd, entry, mtime_ns)
        finally:
            os.close(fd)

    def _replace_file(self, reader: TarReader, name: bytes, parent_fd: int, entry: Entry, mtime_ns: int) -> None:
        """Make a file that replaces another when it is whole, or a directory."""
        with partial_file(name, parent_fd) as (fd, temporary):
            self._fill(reader, fd, entry, mtime_ns)
            self._parent_may_have_changed = True
            for attempt in range(_RETRIES):
                try:
                    os.rename(temporary, name, src_dir_fd=parent_fd, dst_dir_fd=parent_fd)
                    break
                except IsADirectoryError:
                    if attempt == _RETRIES - 1:
                        raise
                    self._remove(name, parent_fd)

    def _fill(self, reader: TarReader, fd: int, entry: Entry, mtime_ns: int) -> None:
        """Write a file's content and attributes into a new file."""
        is_hole = False
        for offset, left in entry.data:
            if offset:
                os.lseek(fd, offset, os.SEEK_SET)
            while left:
                block = reader.read(min(left, _BLOCK_BYTES))
                left -= len(block)
                is_hole = block == _ZEROS or (entry.is_sparse and block == _ZEROS[: len(block)])
                if is_hole:  # zeros take no space, whether the archive knew of the hole or not
                    os.lseek(fd, len(block), os.SEEK_CUR)
                else:
                    self._solid_bytes += len(block)
                    self._charge_ratio(entry)
                    _write_all(fd, block)
        if is_hole or entry.is_sparse:  # what it ends in was not written
            os.ftruncate(fd, entry.size)
        self.size_bytes += entry.size
        self._set_attributes(fd, entry)
        os.utime(fd, ns=(mtime_ns, mtime_ns))
        self._files.add(*_inode(os.fstat(fd)))

    def _make_symlink(self, parts: tuple[bytes, ...], parent_fd: int, entry: Entry, mtime_ns: int) -> None:
        if not entry.target or b"\0" in entry.target or len(entry.target) > self._budgets.max_path_bytes:
            raise InvalidInput(f"{_quoted(entry)}: the link's target is empty, too long, or holds a NUL byte")
        name = parts[-1]
        for attempt in range(_RETRIES):
            try:
                os.symlink(entry.target, name, dir_fd=parent_fd)
                break
            except FileExistsError:
                if attempt == _RETRIES - 1:
                    raise
                self._remove(name, parent_fd)
        uid, gid = self._owner or (entry.uid, entry.gid)
        os.chown(name, uid, gid, dir_fd=parent_fd, follow_symlinks=False)
        os.utime(name, ns=(mtime_ns, mtime_ns), dir_fd=parent_fd, follow_symlinks=False)
        self._files.add(*_inode(os.lstat(name, dir_fd=parent_fd)))

    def _make_hardlink(self, parts: tuple[bytes, ...], parent_fd: int, entry: Entry) -> None:
        """Link to a regular file or a symbolic link, itself, that this stream made; anything else is refused."""
        target = self._checked_parts(entry, entry.target) if entry.target else ()
        if target in self._dropped:
            self._dropped.add(parts)
            return
        refusal = InvalidInput(
            f"{_quoted(entry)} is a hard link to {shown(entry.target.decode(errors='backslashreplace'))}, which is no "
            "file or link that the archive made before",
            hint="nothing outside of the root can be linked to",
        )
        if not target:
            raise refusal
        if target == parts:
            return
        try:
            target_fd = open_in_root(self._root_fd, b"/".join(target[:-1]) or b".", os.O_PATH | os.O_DIRECTORY)
        except OSError as error:
            raise refusal from error
        try:
            if not self._is_ours(target[-1], target_fd):
                raise refusal
            inode = _inode(os.lstat(target[-1], dir_fd=target_fd))
            with contextlib.suppress(FileNotFoundError):
                if _inode(os.lstat(parts[-1], dir_fd=parent_fd)) == inode:
                    return  # two names of the same file already; removing one first could remove the target
                self._remove(parts[-1], parent_fd)
            os.link(target[-1], parts[-1], src_dir_fd=target_fd, dst_dir_fd=parent_fd, follow_symlinks=False)
            if not self._is_ours(parts[-1], parent_fd):  # swapped between the look and the link
                os.unlink(parts[-1], dir_fd=parent_fd)
                raise refusal
        finally:
            os.close(target_fd)

    def _is_ours(self, name: bytes, dir_fd: int) -> bool:
        try:
            details = os.lstat(name, dir_fd=dir_fd)
        except FileNotFoundError:
            return False
        return stat.S_IFMT(details.st_mode) in (stat.S_IFREG, stat.S_IFLNK) and _inode(details) in self._files

    def _remove(self, name: bytes, parent_fd: int) -> None:
        """Take away what stands where an entry comes; never what a link leads to, never a tree."""
        self._parent_may_have_changed = True
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISDIR(os.lstat(name, dir_fd=parent_fd).st_mode):
                os.rmdir(name, dir_fd=parent_fd)
            else:
                os.unlink(name, dir_fd=parent_fd)

    # -- directories -----------------------------------------------------------------------------------------------

    def _open_parent(self, parts: tuple[bytes, ...]) -> int:
        """Return a descriptor of a directory, kept until another is asked for; what is missing is made."""
        self._leave_for(parts)
        if self._parent is not None:
            if self._parent[0] == parts and not self._parent_may_have_changed:
                return self._parent[1]
            self._forget_parent()
        self._parent_may_have_changed = False
        path = b"/".join(parts) or b"."
        try:
            fd = open_in_root(self._root_fd, path, os.O_PATH | os.O_DIRECTORY)
        except FileNotFoundError:
            fd = self._make_parents(parts)
        self._parent = (parts, fd)
        self._hold(parts, os.fstat(fd))
        return fd

    def _make_parents(self, parts: tuple[bytes, ...]) -> int:
        """Make the directories that lead to an entry and that the stream did not mention; 0755, as tar does."""
        fd = os.dup(self._root_fd)
        for depth in range(1, len(parts) + 1):
            try:
                above = os.fstat(fd)
                with contextlib.suppress(FileExistsError):
                    os.mkdir(parts[depth - 1], 0o755, dir_fd=fd)
                    self._hold(parts[: depth - 1], above)
                    if self._is_layer:
                        self._implied.add(parts[:depth])
                    if not self._merge:  # whatever the directory above it hands down
                        os.chown(parts[depth - 1], *(self._owner or (0, 0)), dir_fd=fd, follow_symlinks=False)
                        os.chmod(parts[depth - 1], 0o755, dir_fd=fd)
            finally:
                os.close(fd)
            fd = open_in_root(self._root_fd, b"/".join(parts[:depth]), os.O_PATH | os.O_DIRECTORY)
        return fd

    def _forget_parent(self) -> None:
        if self._parent is not None:
            os.close(self._parent[1])
            self._parent = None

    def _hold(self, parts: tuple[bytes, ...], details: os.stat_result) -> None:
        """Have a directory of the way keep the time that it has, unless its entry is yet to be applied."""
        if self._merge:
            return
        place = next((n for n, held in enumerate(self._way) if len(held.parts) >= len(parts)), len(self._way))
        if place == len(self._way) or self._way[place].parts != parts:
            self._way.insert(place, _Directory(parts, _inode(details), None, details.st_mtime_ns))

    def _leave_for(self, parts: tuple[bytes, ...]) -> None:
        """Finish the directories that are not on the way to `parts`: only those of the way are held in memory."""
        while self._way and not self._merge and self._way[-1].parts != parts[: len(self._way[-1].parts)]:
            self._finish_directory(self._way.pop())

    def _finish_directory(self, directory: _Directory) -> None:
        """Give a directory its owner, mode and time; one that was replaced since is left alone."""
        parent_fd = fd = -1
        try:
            if directory.entry is None:  # perhaps one that a link leads to
                fd = open_in_root(self._root_fd, b"/".join(directory.parts) or b".", os.O_RDONLY | os.O_DIRECTORY)
            elif directory.parts:
                parent = b"/".join(directory.parts[:-1]) or b"."
                parent_fd = open_in_root(self._root_fd, parent, os.O_PATH | os.O_DIRECTORY)
                fd = os.open(directory.parts[-1], _DIR_FLAGS, dir_fd=parent_fd)
            else:
                fd = os.open(".", _DIR_FLAGS, dir_fd=self._root_fd)
            if _inode(os.fstat(fd)) == directory.inode:
                if directory.entry is not None:
                    self._set_attributes(fd, directory.entry)
                os.utime(fd, ns=(directory.mtime_ns, directory.mtime_ns))
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise
        finally:
            for open_fd in (parent_fd, fd):
                if open_fd >= 0:
                    os.close(open_fd)

    def _set_attributes(self, fd: int, entry: Entry) -> None:
        """Set owner, then mode (a change of owner clears bits), then extended attributes (it clears capabilities)."""
        uid, gid = self._owner or (entry.uid, entry.gid)
        os.fchown(fd, uid, gid)
        os.fchmod(fd, entry.mode & (0o1777 if self._owner else 0o7777))
        for name, value in entry.xattrs.items():
            kept = _kept_xattr(name, value)
            if kept is not None and not (self._owner and name == _CAPABILITY):
                try:
                    os.setxattr(fd, name, kept)
                except OSError as error:
                    if error.errno in (errno.ENOSPC, errno.E2BIG, errno.ERANGE):  # they have less room than files
                        raise InvalidInput(
                            f"{_quoted(entry)}: no room for {len(kept)} bytes of extended attribute {shown(name)}"
                        ) from error
                    if error.errno != errno.ENOTSUP or not self._merge:  # a copy to a file system without them
                        raise


def _kept_xattr(name: str, value: bytes) -> bytes | None:
    """Return what an extended attribute becomes, None when it is left out.

    Capabilities stay, in the form that belongs to no user namespace: the id map of the mount gives them to the
    container's. user.* stays, but for overlayfs's own; trusted.*, labels and ACLs are the host's business.
    """
    if name.startswith("user.") and "\0" not in name:
        return None if name.startswith("user.overlay.") else value
    if name != _CAPABILITY or len(value) not in (20, 24):
        return None
    (magic,) = struct.unpack_from("<I", value)
    revision, root_id = magic & 0xFF000000, value[20:]
    if (revision, len(value)) == (_VFS_CAP_REVISION_2, 20):
        return value
    if (revision, root_id) == (_VFS_CAP_REVISION_3, b"\0" * 4):
        return struct.pack("<I", _VFS_CAP_REVISION_2 | magic & 0xFFFFFF) + value[4:20]
    return None


def _time(entry: Entry) -> int:
    """Return the time of last change in nanoseconds; the text of a pax header is exact, where a float is not."""
    match = _TIME.fullmatch(entry.mtime)
    if match is None:
        raise InvalidInput(f"{_quoted(entry)}: {shown(entry.mtime)} is no time")
    sign, seconds, fraction = match.groups()
    nanoseconds = int(seconds) * 10**9 + int(((fraction or "") + "0" * 9)[:9])
    return -nanoseconds if sign else nanoseconds


def _refusal(error: OSError) -> str:
    """Return why an entry cannot be made if that is the archive's fault, else an empty string."""
    return {
        errno.ENOTDIR: "something above it is no directory",
        errno.ELOOP: "it lies beyond a loop of links",
        errno.ENOENT: "it lies beyond a link that leads nowhere",
        errno.EEXIST: "something is in its place",
        errno.ENOTEMPTY: "a directory with files is in its place",
        errno.EISDIR: "a directory is in its place",
        errno.ENAMETOOLONG: "the name is too long",
        errno.EXDEV: "it would leave the root",
        errno.EMLINK: "too many hard links",
        errno.EFBIG: "the file is too large",
    }.get(error.errno or 0, "")


def _quoted(entry: Entry) -> str:
    return shown(entry.name.decode(errors="backslashreplace"))


def _inode(details: os.stat_result) -> tuple[int, int]:
    return details.st_dev, details.st_ino


def _write_all(fd: int, block: bytes) -> None:
    view = memoryview(block)
    while view:
        view = view[os.write(fd, view) :]
