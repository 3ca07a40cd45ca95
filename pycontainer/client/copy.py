"""Copying files between the host and a container, as tar streams.

    get:  container ─ tar ─▶ pipe ─▶ here, unpacked by `Unpacker`      put:  here, packed ─▶ pipe ─ tar ─▶ container

A stream from a container is hostile. `tarfile` only reads its headers; every file is made relative to a directory
descriptor, each component opened without following links, so nothing lands outside of the target.
"""

import errno
import fcntl
import os
import select
import stat
import sys
import tarfile
import termios
from collections.abc import Callable
from typing import Any

from pycontainer.client.connection import Connection, Pool
from pycontainer.client.terminal import write_all
from pycontainer.errors import InvalidInput, NotFound, NotPermitted, PycontainerError
from pycontainer.linux.partialfile import partial_file

_BLOCK_BYTES = 1 << 16
_DIR_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_LINKS = 40  # the kernel's own limit
_PERMISSIONS = 0o777  # set-user-id and its kin stay behind: they would be ours, not the container's


def get_tar(pool: Pool, container_id: str, path: str, tar_fd: int) -> list[str]:
    """Write `path` of the container as a tar stream to `tar_fd`; return what was left out, one line each."""
    with _Incoming(pool, container_id, path) as stream:
        while block := stream.read(_BLOCK_BYTES):
            write_all(tar_fd, block)
        return stream.finish()


def put_tar(pool: Pool, container_id: str, tar_fd: int, path: str) -> list[str]:
    """Unpack the tar stream of `tar_fd` into the directory `path` of the container; return what was left out."""

    def send(write: Callable[[bytes], None]) -> None:
        while block := os.read(tar_fd, _BLOCK_BYTES):
            write(block)

    return _send_tar(pool, container_id, path, send)  # once: what was read of a stream is gone


def get(pool: Pool, container_id: str, path: str, target: str, *, archive: bool = False) -> list[str]:
    """Copy `path` of the container to `target` as `cp -r` does; return what was left out, one line each."""
    if archive and os.geteuid() != 0:
        raise NotPermitted(
            "cannot keep the owners: only root can give files away", hint="leave --archive out, or use sudo"
        )
    name = _last_component(path)
    directory, new_name = (target, name) if os.path.isdir(target) else _new_place(target)
    root_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with _Incoming(pool, container_id, path) as stream:
            unpacker = Unpacker(root_fd, archive=archive)
            with tarfile.open(fileobj=stream, mode="r|") as tar:  # type: ignore[call-overload]  # it only reads
                for number, member in enumerate(tar):
                    if not number and directory is not target:
                        _require_fit(path, member, target)
                    parts = _safe_parts(member.name)
                    unpacker.unpack(tar, member, _renamed(parts, name, new_name), lambda p: _renamed(p, name, new_name))
            unpacker.finish()
            left_out = stream.finish()
    except (tarfile.TarError, ValueError, OverflowError) as error:  # the latter: numbers no file can have
        raise PycontainerError(f"cannot copy '{path}' from container '{container_id}': {error}") from error
    finally:
        os.close(root_fd)
    return unpacker.left_out + left_out


def put(pool: Pool, container_id: str, source: str, path: str, *, archive: bool = False) -> list[str]:
    """Copy `source` of the host to `path` of the container as `cp -r` does; return what was left out, one line each."""
    if not os.path.lexists(source):
        raise NotFound(f"no file or directory '{source}' on the host")
    contents_only = source.endswith(("/.", "/..")) or source in (".", "..", "/")
    name = "." if contents_only else os.path.basename(os.path.abspath(source))
    is_directory = os.path.isdir(source) and (source.endswith("/") or not os.path.islink(source))
    path, there = _behind_links(pool, container_id, path)
    if there is not None and there.isdir():
        directory = path
    else:
        if there is not None and is_directory:
            raise InvalidInput(f"cannot copy directory '{source}' onto '{path}' in the container, which is a file")
        if path.endswith(("/", "/.", "/..")) and not is_directory:
            raise NotFound(f"no directory '{path}' in the container", hint="make it first, or name one that is there")
        directory, name = os.path.split(path.rstrip("/"))
        directory = directory or "/"
    left_out: list[str] = []

    def attempt() -> list[str]:
        left_out.clear()
        return _send_tar(pool, container_id, directory, send)

    def as_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
        if not archive:
            member.uid = member.gid = 0
        member.uname = member.gname = ""
        return member

    def send(write: Callable[[bytes], None]) -> None:
        with _Outgoing.open(fileobj=_Writer(write), mode="w|", format=tarfile.PAX_FORMAT) as tar:  # type: ignore[call-overload]
            tar.left_out = left_out
            tar.add(source, arcname=name, filter=as_root)

    return pool.asked(attempt) + left_out


class Unpacker:
    """Makes the members of a tar stream beneath `root_fd`, never following a link; the caller keeps `root_fd`."""

    def __init__(self, root_fd: int, *, archive: bool = False) -> None:
        self._root_fd = root_fd
        self._archive = archive
        self._modes: list[tuple[tuple[str, ...], int]] = []  # of directories, set last: they may forbid writing
        self.left_out: list[str] = []

    def unpack(
        self,
        tar: tarfile.TarFile,
        member: tarfile.TarInfo,
        parts: tuple[str, ...],
        rename: Callable[[tuple[str, ...]], tuple[str, ...]] = lambda parts: parts,
    ) -> None:
        """Make `member` at `parts`; `rename` turns the target of a hard link into where that was made."""
        if not parts:
            return  # the root itself, which is there
        if not (member.isreg() or member.isdir() or member.issym() or member.islnk()):
            self.left_out.append(f"'{member.name}' is a device, fifo or socket")
            return
        parent_fd = self._open_directory(parts[:-1])
        try:
            self._make(tar, member, parent_fd, parts, rename)
        finally:
            os.close(parent_fd)

    def finish(self) -> None:
        """Set the modes of the directories, deepest first."""
        for parts, mode in reversed(self._modes):
            fd = self._open_directory(parts)
            try:
                os.fchmod(fd, mode)
            finally:
                os.close(fd)

    def _make(
        self,
        tar: tarfile.TarFile,
        member: tarfile.TarInfo,
        parent_fd: int,
        parts: tuple[str, ...],
        rename: Callable[[tuple[str, ...]], tuple[str, ...]],
    ) -> None:
        name = parts[-1]
        if member.isdir():
            try:
                os.mkdir(name, 0o700, dir_fd=parent_fd)
            except FileExistsError:
                os.close(self._open_directory(parts))  # refuses a link
                return
            self._modes.append((parts, member.mode & _PERMISSIONS))
        elif member.isreg():
            self._make_file(tar, member, parent_fd, name)
            return
        else:
            if self._is_in_the_way(name, parent_fd):
                os.unlink(name, dir_fd=parent_fd)
            if member.issym():
                os.symlink(member.linkname, name, dir_fd=parent_fd)
            else:
                target = rename(_safe_parts(member.linkname))
                if not target:
                    raise InvalidInput(f"unsafe hard link '{member.linkname}' in the tar stream")
                target_fd = self._open_directory(target[:-1])
                try:
                    os.link(target[-1], name, src_dir_fd=target_fd, dst_dir_fd=parent_fd, follow_symlinks=False)
                finally:
                    os.close(target_fd)
                return
        if self._archive:
            os.chown(name, member.uid, member.gid, dir_fd=parent_fd, follow_symlinks=False)

    def _is_in_the_way(self, name: str, parent_fd: int) -> bool:
        """Tell whether there is a file or link to replace; never a device, which could be the host's /dev/null."""
        try:
            mode = os.lstat(name, dir_fd=parent_fd).st_mode
        except FileNotFoundError:
            return False
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), name)
        if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
            raise InvalidInput(f"a device, fifo or socket is in the place of '{name}'")
        return True

    def _make_file(self, tar: tarfile.TarFile, member: tarfile.TarInfo, parent_fd: int, name: str) -> None:
        self._is_in_the_way(name, parent_fd)
        with partial_file(name, parent_fd) as (fd, temporary):
            self._fill(tar, member, fd)
            os.rename(temporary, name, src_dir_fd=parent_fd, dst_dir_fd=parent_fd)

    def _fill(self, tar: tarfile.TarFile, member: tarfile.TarInfo, fd: int) -> None:
        content = tar.extractfile(member)
        while content is not None and (block := content.read(_BLOCK_BYTES)):
            if block.count(0) == len(block):  # a hole inside costs its maker nothing, and must not fill our disk
                os.lseek(fd, len(block), os.SEEK_CUR)
            else:
                write_all(fd, block)
        os.ftruncate(fd, member.size)
        if self._archive:
            os.fchown(fd, member.uid, member.gid)
        os.fchmod(fd, member.mode & _PERMISSIONS)
        os.utime(fd, (member.mtime, member.mtime))

    def _open_directory(self, parts: tuple[str, ...]) -> int:
        """Open a directory beneath the root component by component, making what the stream did not mention."""
        fd = os.dup(self._root_fd)
        try:
            for part in parts:
                try:
                    next_fd = os.open(part, _DIR_FLAGS, dir_fd=fd)
                except FileNotFoundError:
                    os.mkdir(part, 0o700, dir_fd=fd)
                    next_fd = os.open(part, _DIR_FLAGS, dir_fd=fd)
                except OSError as error:
                    if error.errno in (errno.ELOOP, errno.ENOTDIR):
                        raise InvalidInput(
                            f"'{'/'.join(parts)}' leads over '{part}', which is a link or no directory",
                            hint="nothing was written there; choose an empty directory as target",
                        ) from error
                    raise
                os.close(fd)
                fd = next_fd
        except BaseException:
            os.close(fd)
            raise
        return fd


class _Incoming:
    """The tar stream of a path inside, as a file to read, while the supervisor's worker writes it."""

    def __init__(self, pool: Pool, container_id: str, path: str) -> None:
        self._pool = pool
        self._args = {"container": container_id, "path": path}
        self._left_out: list[str] = []

    def __enter__(self) -> "_Incoming":
        return self._pool.asked(self._begin)

    def _begin(self) -> "_Incoming":
        """Ask, and wait for the first data, or for the reply that says why there are none."""
        self._read_fd, write_fd = os.pipe()
        self._connection: Connection | None = None
        try:
            try:
                self._connection = self._pool.take()
                self._connection.send("cp_from", self._args, [write_fd])
            finally:
                os.close(write_fd)
            self._await_data()
            if not _bytes_in(self._read_fd):
                self._left_out += _left_out(self._connection)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        os.close(self._read_fd)
        if self._connection is not None:
            self._pool.give_back(self._connection)

    def _await_data(self) -> None:
        """Wait for data or for the reply: a worker that waits inside for ever keeps its end of the pipe open."""
        assert self._connection is not None
        if not self._connection.is_idle and self._read_fd not in _first_ready(
            {self._read_fd: select.POLLIN}, self._connection
        ):
            self._left_out += _left_out(self._connection)

    def read(self, size: int) -> bytes:
        self._await_data()
        data = os.read(self._read_fd, min(size, _BLOCK_BYTES))
        if not data:
            self.finish()  # raises what went wrong, before a truncated stream is taken for the reason
        return data

    def finish(self) -> list[str]:
        """Read what is left, then the reply; return what the other side left out."""
        self._await_data()
        while os.read(self._read_fd, _BLOCK_BYTES):
            self._await_data()
        assert self._connection is not None
        self._left_out += _left_out(self._connection)
        return self._left_out


class _Outgoing(tarfile.TarFile):
    """A tar stream of the host's files that tells what it has no entry for."""

    left_out: list[str]

    def gettarinfo(self, name: Any = None, arcname: str | None = None, fileobj: Any = None) -> tarfile.TarInfo:
        info: tarfile.TarInfo | None = super().gettarinfo(name, arcname, fileobj)
        if info is None:
            self.left_out.append(f"'{arcname}' is a device, fifo or socket")
        return info  # type: ignore[return-value]  # None makes `add` go on with the next


class _Writer:
    """What tarfile writes to."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self.write = write


def _send_tar(pool: Pool, container_id: str, path: str, send: Callable[[Callable[[bytes], None]], None]) -> list[str]:
    """Let `send` write a tar stream that is unpacked into the directory `path` of the container; return the left out."""
    read_fd, write_fd = os.pipe()
    connection: Connection | None = None
    try:
        try:
            connection = pool.take()
            connection.send("cp_to", {"container": container_id, "path": path}, [read_fd])
        finally:
            os.close(read_fd)
        os.set_blocking(write_fd, False)
        try:
            send(lambda block: _write_unless_answered(write_fd, block, connection))
        except BrokenPipeError:
            pass  # the reply says why
        os.close(write_fd)
        write_fd = -1
        return _left_out(connection)
    finally:
        if write_fd != -1:
            os.close(write_fd)
        if connection is not None:
            pool.give_back(connection)


def _bytes_in(read_fd: int) -> int:
    """Return how much there is to read in a pipe. ioctl(2), FIONREAD"""
    return int.from_bytes(fcntl.ioctl(read_fd, termios.FIONREAD, bytes(4)), sys.byteorder)


def _first_ready(wanted: dict[int, int], connection: Connection) -> set[int]:
    """Wait until a descriptor is ready, or a reply has come; return those that are."""
    poller = select.poll()
    for fd, events in wanted.items():
        poller.register(fd, events)
    poller.register(connection, select.POLLIN)
    return {fd for fd, _ in poller.poll()}


def _write_unless_answered(write_fd: int, block: bytes, connection: Connection) -> None:
    """Write all of a block; BrokenPipeError when the reply has come first: nobody reads on."""
    data = memoryview(block)
    while data:
        if write_fd not in _first_ready({write_fd: select.POLLOUT}, connection):
            raise BrokenPipeError
        try:
            data = data[os.write(write_fd, data) :]
        except BlockingIOError:  # room for less than the least that is written at once
            continue


def _left_out(connection: Connection) -> list[str]:
    """Wait for the reply, if it has not come yet, and return what it says was left out."""
    lines: list[str] = []
    while not connection.is_idle:
        is_result, reply, _ = connection.receive()
        if is_result and isinstance(reply, dict):
            lines += map(str, reply.get("left_out", []))
    return lines


def _behind_links(pool: Pool, container_id: str, path: str) -> tuple[str, tarfile.TarInfo | None]:
    """Follow the links that `path` of the container may end in; return where they lead and what is there, if anything.

    Only for choosing a name: by the time it is written to, the container may have changed all of it, and the worker
    inside resolves it anew.
    """
    for _ in range(_MAX_LINKS):
        try:
            with _Incoming(pool, container_id, path) as stream, tarfile.open(fileobj=stream, mode="r|") as tar:  # type: ignore[call-overload]
                first = tar.next()
        except NotFound:
            return path, None
        if first is None or not first.issym():
            return path, first
        path = os.path.join(os.path.dirname(path), first.linkname)
    raise InvalidInput(f"too many links at '{path}' in the container")


def _new_place(target: str) -> tuple[str, str]:
    """Return the directory of a `target` on the host that is no directory, and its name there; links are followed."""
    directory, name = os.path.split(os.path.realpath(target))
    if not os.path.isdir(directory):
        raise NotFound(f"cannot copy to '{target}': '{directory}' is no directory")
    return directory, name


def _require_fit(path: str, member: tarfile.TarInfo, target: str) -> None:
    """Refuse a first member that cannot become `target`, which is no directory."""
    if target.endswith("/") and not member.isdir():
        raise NotFound(f"cannot copy file '{path}' to '{target}': no such directory")
    try:
        mode = os.stat(target.rstrip("/")).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        raise InvalidInput(f"cannot copy to '{target}', which is a device, fifo or socket")
    if member.isdir():
        raise InvalidInput(f"cannot copy directory '{path}' onto '{target}', which is a file")


def _last_component(path: str) -> str:
    """Return what the first component in the stream of `path` is called; empty for `/`, `DIR/.`: its contents."""
    name = os.path.basename(path.rstrip("/"))
    return "" if name in (".", "..") else name


def _renamed(parts: tuple[str, ...], name: str, new_name: str) -> tuple[str, ...]:
    """Put the copied thing's new name in place of the one it had inside."""
    if not name:
        return (new_name, *parts) if new_name else parts
    return (new_name, *parts[1:]) if parts else parts


def _safe_parts(name: str) -> tuple[str, ...]:
    """Split the name of a member; refuse one that climbs."""
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if ".." in parts or "\0" in name:
        raise InvalidInput(f"unsafe name '{name}' in the tar stream", hint="nothing was written outside of the target")
    return parts
