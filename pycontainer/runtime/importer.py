"""From a source to a layer: confined children read what the source holds, the parent judges what they say.

    archive, compressed  ──▶ reader ──tar──▶ unpacker ──▶ staging/…/fs
    archive, plain       ──────────────────▶ unpacker        │
    directory            ──▶ packer ──tar──▶ unpacker        ▼
                                │              {bytes}, {digest, size_bytes}, {error}
                                └── {error} ─▶ parent: time limits; the store registers the layer

    reader     root: an empty directory; the archive and the stream as descriptors. Decompresses
    packer     root: a read-only copy of the source's mount. Sees all owners as they are, may read any file, writes nowhere
    unpacker   root: the staging directory, ids mapped. Writes there, and nowhere else

Each has one kind of input and no more rights than that needs. The host ids of the unpacker and the reader are nobody's: the
65536 above all ranges of containers.
"""

import contextlib
import errno
import fcntl
import json
import os
import re
import select
import signal
import stat
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from pycontainer.errors import InvalidInput, PycontainerError, Unsupported
from pycontainer.linux import landlock
from pycontainer.linux.mounts import (
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY,
    clone_tree,
    mount_setattr,
)
from pycontainer.linux.namespaces import user_namespace
from pycontainer.runtime.confined import (
    FILE_CAPABILITIES,
    FILTER,
    READ_CAPABILITIES,
    WRITE_RIGHTS,
    Confinement,
    reap,
    spawn,
)
from pycontainer.security.idranges import COUNT, LAST
from pycontainer.security.seccomp_compile import program
from pycontainer.store.compression import MAGIC_BYTES, Compression, Decompressed, Source, compression
from pycontainer.store.images import Progress
from pycontainer.store.tarstream import Digest, Packed
from pycontainer.store.unpack import Budgets, Unpacker

UNPACKER_BASE = LAST + COUNT  # no container's, ever: claims end at LAST
_EVERY_ID = 0xFFFFFFFF
_BLOCK_BYTES = 1 << 18
_PIPE_BYTES = 1 << 20  # the default limit of pipe-max-size
_F_SETPIPE_SZ = 1031
_PROGRESS_SECONDS = 0.2
_MAX_MESSAGE_BYTES = 1 << 16
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
_SAFE = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC


class TimeLimits(NamedTuple):
    """How long an import may take, and how long it may not move."""

    total_seconds: int = 4 * 3600  # 64 GiB at 5 MB/s
    stall_seconds: int = 120


class Importer:
    """Unpacks sources into directories; `unpack` is what ImageStore.import_image asks for."""

    def __init__(
        self, filter_cache_dir: str = "", *, budgets: Budgets | None = None, time_limits: TimeLimits | None = None
    ) -> None:
        """`filter_cache_dir` keeps the compiled filter of system calls for other processes."""
        self._filter_cache_dir = filter_cache_dir
        self._budgets = budgets or Budgets()
        self._time_limits = time_limits or TimeLimits()

    def unpack(self, source_fd: int, target: str, on_progress: Progress | None) -> tuple[str, int]:
        """Unpack a directory or an archive; return the digest of its tar stream and the bytes that its files hold.

        Raises InvalidInput for what is hostile, damaged, too large or too slow; Unsupported, and OSError of the disk.
        """
        with contextlib.ExitStack() as undo:
            unpacker = _Job(undo, self._budgets, self._time_limits, program(FILTER, self._filter_cache_dir))
            unpacker.start(source_fd, target)
            return unpacker.follow(on_progress or (lambda _progress: None))


class _Job:
    """The children of one import; all of them have ended when `undo` is done."""

    def __init__(self, undo: contextlib.ExitStack, budgets: Budgets, time_limits: TimeLimits, filter_: bytes) -> None:
        self._undo, self._budgets, self._time_limits, self._filter = undo, budgets, time_limits, filter_
        self._children: list[_Child] = []  # in the order in which their word counts

    def start(self, source_fd: int, target: str) -> None:
        nobody_fd = self._undo.enter_context(user_namespace(UNPACKER_BASE, COUNT))
        if stat.S_ISDIR(os.fstat(source_fd).st_mode):
            stream_fd, packed_bytes = self._start_packer(source_fd), None
        else:
            packed_bytes = os.fstat(source_fd).st_size
            form = compression(os.pread(source_fd, MAGIC_BYTES, 0))
            stream_fd = source_fd if form is None else self._start_reader(source_fd, form, nobody_fd)
        try:
            self._start_unpacker(stream_fd, packed_bytes, target, nobody_fd)
        finally:
            if stream_fd != source_fd:
                os.close(stream_fd)  # the unpacker's alone: when it ends, its source ends

    def _start_packer(self, source_fd: int) -> int:
        # Owners beyond 65535 have to be seen to be refused: ids as they are, in a namespace that owns nothing.
        everybody_fd = self._undo.enter_context(user_namespace(0, _EVERY_ID))
        tree_fd = clone_tree("", dirfd=source_fd)
        self._undo.callback(os.close, tree_fd)
        mount_setattr(tree_fd, set_flags=_SAFE | MOUNT_ATTR_RDONLY)

        def pack() -> Source:
            return Packed(os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))

        return self._start_source("pc-pack", pack, everybody_fd, tree_fd, READ_CAPABILITIES, landlock.READ, set())

    def _start_reader(self, source_fd: int, form: Compression, userns_fd: int) -> int:
        def read() -> Source:
            return Decompressed(open(source_fd, "rb", closefd=False), form)

        return self._start_source("pc-read", read, userns_fd, None, frozenset(), 0, {source_fd})

    def _start_source(
        self,
        name: str,
        open_source: Callable[[], Source],
        userns_fd: int,
        root_fd: int | None,
        capabilities: frozenset[str],
        rights: int,
        keep_fds: set[int],
    ) -> int:
        """Start a child that writes a tar stream; return the end of the pipe to read it from."""
        read_fd, write_fd = os.pipe()
        with contextlib.suppress(PermissionError):  # beyond the host's limit it stays as it is
            fcntl.fcntl(write_fd, _F_SETPIPE_SZ, _PIPE_BYTES)

        def copy(_say: Callable[[dict[str, object]], None]) -> None:
            source = open_source()
            with contextlib.suppress(BrokenPipeError):  # the unpacker has ended, and says why
                while block := source.read(_BLOCK_BYTES):
                    view = memoryview(block)
                    while view:
                        view = view[os.write(write_fd, view) :]

        try:
            self._spawn(copy, name, userns_fd, root_fd, capabilities, rights, {write_fd, *keep_fds})
        except BaseException:
            os.close(read_fd)
            raise
        finally:
            os.close(write_fd)
        return read_fd

    def _start_unpacker(self, stream_fd: int, packed_bytes: int | None, target: str, userns_fd: int) -> None:
        tree_fd = clone_tree(target)
        self._undo.callback(os.close, tree_fd)
        try:
            mount_setattr(tree_fd, set_flags=_SAFE, userns_fd=userns_fd)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            raise Unsupported(
                f"the file system of '{target}' has no mounts with mapped ids",
                hint="have the images on ext4, xfs, btrfs, or a tmpfs of Linux 6.3",
                feature="idmapped mounts",
            ) from error

        def unpack(say: Callable[[dict[str, object]], None]) -> None:
            root_fd = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            unpacker = Unpacker(root_fd, budgets=self._budgets, packed_bytes=packed_bytes)
            digest = Digest(open(stream_fd, "rb", buffering=0, closefd=False), _reporter(say))  # noqa: SIM115
            unpacker.unpack(digest)
            say({"digest": digest.hexdigest(), "size_bytes": unpacker.size_bytes})

        self._spawn(unpack, "pc-unpack", userns_fd, tree_fd, FILE_CAPABILITIES, WRITE_RIGHTS, {stream_fd})

    def _spawn(
        self,
        work: Callable[[Callable[[dict[str, object]], None]], None],
        name: str,
        userns_fd: int,
        root_fd: int | None,
        capabilities: frozenset[str],
        rights: int,
        keep_fds: set[int],
    ) -> None:
        confinement = Confinement(
            name,
            self._filter,
            userns_fd,
            root_fd,
            capabilities,
            rights,
            max_file_bytes=self._budgets.max_bytes,
            max_cpu_seconds=self._time_limits.total_seconds,
        )
        read_fd, write_fd = os.pipe()
        try:
            pid = spawn(
                lambda: _work(work, write_fd),
                lambda error: _tell(write_fd, error, f"{name} cannot be confined"),
                confinement,
                {write_fd, *keep_fds},
            )
        except BaseException:
            os.close(read_fd)
            raise
        finally:
            os.close(write_fd)
        child = _Child(name, pid, read_fd)
        self._undo.callback(child.end)
        self._children.append(child)

    def follow(self, on_progress: Progress) -> tuple[str, int]:
        """Hear the children until they have ended; return what the unpacker found."""
        begun = moved = next_report = time.monotonic()
        seen = reported = 0
        poller = select.poll()
        by_fd = {child.fd: child for child in self._children}
        for fd in by_fd:
            poller.register(fd, select.POLLIN)
        while by_fd:
            now = time.monotonic()
            limits = self._time_limits
            if now - begun >= limits.total_seconds:
                raise InvalidInput(f"the import took longer than {limits.total_seconds} seconds")
            if now - moved >= limits.stall_seconds:
                raise InvalidInput(f"the import did not move for {limits.stall_seconds} seconds")
            wait_seconds = min(begun + limits.total_seconds, moved + limits.stall_seconds) - now
            for fd, _ in poller.poll(wait_seconds * 1000 + 1):
                messages = by_fd[fd].hear()
                if messages is None:
                    poller.unregister(fd)
                    del by_fd[fd]
                    continue
                for message in messages:
                    count = message.get("bytes")
                    if isinstance(count, int) and count > seen:
                        seen, moved = count, time.monotonic()
                if seen > reported and time.monotonic() >= next_report:  # however often it says so
                    reported, next_report = seen, time.monotonic() + _PROGRESS_SECONDS
                    on_progress({"bytes": seen})
        for child in self._children:
            child.check()
        result = self._children[-1].result
        digest, size_bytes = result.get("digest"), result.get("size_bytes")
        if not (isinstance(digest, str) and _DIGEST.fullmatch(digest) and isinstance(size_bytes, int)):
            raise PycontainerError("the unpacker ended without a result")
        return digest, size_bytes


class _Child:
    """A confined process and its messages, which it may have been made to write."""

    def __init__(self, name: str, pid: int, fd: int) -> None:
        self.name, self.pid, self.fd = name, pid, fd
        self.result: dict[str, Any] = {}
        self._rest = b""
        self._wait_status: int | None = None

    def hear(self) -> list[dict[str, Any]] | None:
        """Return the messages that came; None at the end, when the process has ended."""
        data = os.read(self.fd, _MAX_MESSAGE_BYTES)
        if not data:
            self._wait_status = reap(self.pid)
            return None
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _MAX_MESSAGE_BYTES:
            raise PycontainerError(f"{self.name} wrote a message without an end")
        messages = [_message(line) for line in lines]
        for message in messages:
            if "bytes" not in message:
                self.result = message
        return messages

    def check(self) -> None:
        """Raise what went wrong."""
        error = self.result.get("error")
        if isinstance(error, dict):
            kind = InvalidInput if error.get("class") == InvalidInput.__name__ else PycontainerError
            raise kind(str(error.get("message")), hint=str(error.get("hint", "")))
        code = self.result.get("errno")
        if isinstance(code, int):
            raise OSError(code, str(self.result.get("what")), str(self.result.get("path")))
        status = os.waitstatus_to_exitcode(self._wait_status or 0)
        if status == -signal.SIGSYS:
            raise InvalidInput(
                f"{self.name} was ended: it made a system call that it never makes by itself",
                hint="take the source for an attack; it had no way out",
            )
        if status:
            how = signal.Signals(-status).name if status < 0 else f"exit {status}"
            raise PycontainerError(f"{self.name} ended without a word ({how})")

    def end(self) -> None:
        """Make the process end, if it has not, and forget it."""
        if self._wait_status is None:
            os.kill(self.pid, signal.SIGKILL)
            self._wait_status = reap(self.pid)
        os.close(self.fd)


# -- in the children -----------------------------------------------------------------------------------------------


def _work(work: Callable[[Callable[[dict[str, object]], None]], None], message_fd: int) -> None:
    """Do a child's work and say how it went."""

    def say(message: dict[str, object]) -> None:
        os.write(message_fd, json.dumps(message).encode() + b"\n")

    try:
        work(say)
    except PycontainerError as error:
        say({"error": error.to_wire()})
    except OSError as error:
        _tell(message_fd, error, os.strerror(error.errno or errno.EIO))
    except MemoryError:
        say({"error": InvalidInput("the archive needs more memory than an import may use").to_wire()})


def _tell(message_fd: int, error: OSError, what: str) -> None:
    """Send an error of the system to the parent, which judges what it means."""
    path = error.filename
    text = path.decode(errors="backslashreplace") if isinstance(path, bytes) else str(path or "")
    message = {"errno": error.errno or errno.EIO, "what": what, "path": text or error.strerror}
    os.write(message_fd, json.dumps(message).encode() + b"\n")


def _reporter(say: Callable[[dict[str, object]], None]) -> Callable[[int], None]:
    """Return what counts bytes, and tells of them now and then."""
    seen = last = 0
    next_report = time.monotonic()

    def count(read_bytes: int) -> None:
        nonlocal seen, last, next_report
        seen += read_bytes
        if time.monotonic() >= next_report and seen != last:
            last, next_report = seen, time.monotonic() + _PROGRESS_SECONDS
            say({"bytes": seen})

    return count


def _message(line: bytes) -> dict[str, Any]:
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict):
        raise PycontainerError("a confined process wrote no message")
    return message
