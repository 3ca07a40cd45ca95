"""From a source to a layer: confined children read what the source holds, the parent judges what they say.

    archive, compressed  ──▶ reader ──tar──▶ unpacker ──▶ staging/…/fs
    archive, plain       ──────────────────▶ unpacker        │
    directory            ──▶ packer ──tar──▶ unpacker        ▼
                                │              {bytes}, {paths}, {size_bytes}, {error}
                                └── {error} ─▶ parent: time limits; the store registers the layer

The stream goes through the parent, which hashes it and looks at none of it: so whatever becomes of the children, a layer's
digest is the truth, and no archive can be taken for another one.

    reader     root: an empty directory; the archive and the stream as descriptors. Decompresses
    packer     root: a read-only copy of the source's mount. Sees all owners as they are, may read any file, writes nowhere;
               for `pack_layer` its stream goes to the parent, which compresses and hashes it
    unpacker   root: the staging directory, ids mapped where the file system can. Writes there, and nowhere else

Each has one kind of input and no more rights than that needs. The host ids of the unpacker and the reader are nobody's: the
65536 above all ranges of containers.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import select
import signal
import stat
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from pycontainer.errors import InvalidInput, PycontainerError
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
from pycontainer.store.archivefiles import MAX_MEMBERS, Member, list_members
from pycontainer.store.compression import MAGIC_BYTES, Compression, Decompressed, Source, compression
from pycontainer.store.fsimages import is_image, open_layer, open_layers
from pycontainer.store.layerpack import LayerBlob, compress_layer, opaque_directories
from pycontainer.store.tarstream import LayerForm, Packed
from pycontainer.store.unpack import Budgets, Unpacker
from pycontainer.store.unpacking import Progress, Unpacked
from pycontainer.store.whiteouts import MAX_PATHS, Notes, Parts
from pycontainer.units import shown

UNPACKER_BASE = LAST + COUNT  # no container's, ever: claims end at LAST
_EVERY_ID = 0xFFFFFFFF
_BLOCK_BYTES = 1 << 18
_PIPE_BYTES = 1 << 20  # the default limit of pipe-max-size
_F_SETPIPE_SZ = 1031
_PROGRESS_SECONDS = 0.2
_MAX_MESSAGE_BYTES = 1 << 16
_MAX_LEFT_OUT, _MAX_LINE_CHARACTERS = 50, 400  # of a packer's last message
_MAX_NOTES_BYTES = 16 << 20
_MAX_PATH_BYTES, _MAX_NAME_BYTES = 4095, 255
_MAX_PATHS_CHARACTERS = 4096  # six bytes each, at most, when they are escaped
_SAFE = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC


class TimeLimits(NamedTuple):
    """How long an import may take, and how long it may not move."""

    total_seconds: int = 4 * 3600  # 64 GiB at 5 MB/s
    stall_seconds: int = 120


class Importer:
    """Unpacks sources into directories; the store's Tools (store/load.py)."""

    def __init__(
        self, filter_cache_dir: str = "", *, budgets: Budgets | None = None, time_limits: TimeLimits | None = None
    ) -> None:
        """`filter_cache_dir` keeps the compiled filter of system calls for other processes."""
        self._filter_cache_dir = filter_cache_dir
        self._budgets = budgets or Budgets()
        self._time_limits = time_limits or TimeLimits()

    def unpack(
        self,
        source_fd: int,
        target: str,
        on_progress: Progress | None,
        /,
        *,
        has_digest: bool = False,
        is_layer: bool = True,
    ) -> Unpacked:
        """Unpack a directory or an archive; return the digest of its tar stream and the bytes that its files hold.

        Names that begin with `.wh.` are whiteouts, unless this is no layer (`is_layer`) but a backup of files; the notes in
        the result say what is left to do. With `has_digest` the
        caller knows what the digest has to be: the archive's end mark may be missing then.

        Raises InvalidInput for what is hostile, damaged, too large or too slow; Unsupported, and OSError of the disk.
        """
        with contextlib.ExitStack() as undo:
            unpacker = _Job(undo, self._budgets, self._time_limits, program(FILTER, self._filter_cache_dir))
            unpacker.start(source_fd, target, has_digest=has_digest, is_layer=is_layer)
            return unpacker.follow(on_progress or (lambda _progress: None))

    def pack_layer(self, tree: str, blob_fd: int, *, is_upper: bool = False) -> tuple[LayerBlob, list[str]]:
        """Write a directory to `blob_fd` as a compressed layer; return its digests, and what was left out, one line each.

        `tree` may also be a layer of the store that is a file system (store/fsimages.py). With `is_upper` it is the upper
        directory of an overlay that is not mounted: deletions become those of layers. Raises InvalidInput for what changes
        meanwhile or takes too long, InvalidState for what no layer can say.
        """
        with contextlib.ExitStack() as undo:
            is_mount = is_image(tree)
            tree_fd = open_layer(tree) if is_mount else os.open(tree, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            undo.callback(os.close, tree_fd)
            form = LayerForm(opaque_directories(tree_fd) if is_upper else frozenset())
            return self._pack(tree_fd, blob_fd, form, is_mount=is_mount)

    def pack_whole(self, layers: Sequence[str], blob_fd: int) -> tuple[LayerBlob, list[str]]:
        """Write what directories (or files as above) are on one another, lowest first, as one layer; otherwise the same."""
        tree_fd = open_layers(layers)
        try:
            return self._pack(tree_fd, blob_fd, LayerForm(frozenset()), is_mount=True)
        finally:
            os.close(tree_fd)

    def _pack(self, tree_fd: int, blob_fd: int, layer: LayerForm, *, is_mount: bool) -> tuple[LayerBlob, list[str]]:
        with contextlib.ExitStack() as undo:
            job = _Job(undo, self._budgets, self._time_limits, program(FILTER, self._filter_cache_dir))
            stream_fd = job.start_packer(tree_fd, layer, is_mount=is_mount)
            undo.callback(os.close, stream_fd)
            made = compress_layer(_Watched(stream_fd, self._time_limits), blob_fd)
            return made, job.finish_packer()

    def members(self, source_fd: int) -> tuple[Member, ...]:
        """Return the members of a tar archive that holds images; none for a root file system, or what is no archive."""
        with contextlib.ExitStack() as undo:
            job = _Job(undo, self._budgets, self._time_limits, program(FILTER, self._filter_cache_dir))
            return job.list_members(source_fd)

    def expand(self, source_fd: int, target_fd: int) -> None:
        """Write the plain form of a compressed archive into an empty file. Raises InvalidInput, OSError of the disk."""
        with contextlib.ExitStack() as undo:
            job = _Job(undo, self._budgets, self._time_limits, program(FILTER, self._filter_cache_dir))
            job.expand(source_fd, target_fd)


class _Watched:
    """A pipe from a child that has to move."""

    def __init__(self, fd: int, limits: TimeLimits) -> None:
        self._fd, self._limits = fd, limits
        self._deadline = time.monotonic() + limits.total_seconds
        self._poller = select.poll()
        self._poller.register(fd, select.POLLIN)

    def read(self, size: int) -> bytes:
        wait_seconds = min(self._limits.stall_seconds, self._deadline - time.monotonic())
        if wait_seconds <= 0 or not self._poller.poll(wait_seconds * 1000):
            raise InvalidInput(
                f"the packing took longer than {self._limits.total_seconds} seconds, or did not move for "
                f"{self._limits.stall_seconds}"
            )
        return os.read(self._fd, size)


class _Job:
    """The children of one import; all of them have ended when `undo` is done."""

    def __init__(self, undo: contextlib.ExitStack, budgets: Budgets, time_limits: TimeLimits, filter_: bytes) -> None:
        self._undo, self._budgets, self._time_limits, self._filter = undo, budgets, time_limits, filter_
        self._children: list[_Child] = []  # in the order in which their word counts
        self._hasher = _Hasher()

    def start(self, source_fd: int, target: str, *, has_digest: bool, is_layer: bool) -> None:
        self._undo.callback(self._hasher.join)  # after the children's end, which is its own
        nobody_fd = self._undo.enter_context(user_namespace(UNPACKER_BASE, COUNT))
        if stat.S_ISDIR(os.fstat(source_fd).st_mode):
            stream_fd, packed_bytes = self.start_packer(source_fd), None
        else:
            packed_bytes = os.fstat(source_fd).st_size
            form = compression(os.pread(source_fd, MAGIC_BYTES, 0))
            stream_fd = source_fd if form is None else self._start_reader(source_fd, form, nobody_fd)
        hashed_read_fd, hashed_write_fd = _wide_pipe()
        try:
            self._start_unpacker(
                hashed_read_fd, packed_bytes, target, nobody_fd, has_digest=has_digest, is_layer=is_layer
            )
        except BaseException:
            os.close(hashed_write_fd)
            if stream_fd != source_fd:
                os.close(stream_fd)
            raise
        finally:
            os.close(hashed_read_fd)  # the unpacker's alone: when it ends, its source ends
        if stream_fd == source_fd:
            stream_fd = os.dup(source_fd)
            os.lseek(stream_fd, 0, os.SEEK_SET)
        self._hasher.start(stream_fd, hashed_write_fd)  # the last: who forks has one thread

    def list_members(self, source_fd: int) -> tuple[Member, ...]:
        nobody_fd = self._undo.enter_context(user_namespace(UNPACKER_BASE, COUNT))
        form = compression(os.pread(source_fd, MAGIC_BYTES, 0))

        def listing(say: Callable[[dict[str, object]], None]) -> None:
            with open(source_fd, "rb", closefd=False) as file:
                file.seek(0)
                source = file if form is None else Decompressed(file, form)
                for member in list_members(source, is_seekable=form is None):
                    say({"member": member})

        self._spawn(listing, "pc-list", nobody_fd, None, frozenset(), 0, {source_fd})
        self._hear(lambda _progress: None)
        return self._children[-1].members()

    def expand(self, source_fd: int, target_fd: int) -> None:
        nobody_fd = self._undo.enter_context(user_namespace(UNPACKER_BASE, COUNT))
        form = compression(os.pread(source_fd, MAGIC_BYTES, 0))
        assert form is not None
        packed_bytes, budgets = os.fstat(source_fd).st_size, self._budgets
        max_bytes = budgets.max_bytes
        if budgets.max_ratio is not None:
            max_bytes = min(max_bytes, budgets.grace_bytes + budgets.max_ratio * packed_bytes)

        def expand(say: Callable[[dict[str, object]], None]) -> None:
            with open(source_fd, "rb", closefd=False) as file:
                file.seek(0)
                source, report, total = Decompressed(file, form), _reporter(say), 0
                while block := source.read(_BLOCK_BYTES):
                    total += len(block)
                    if total > max_bytes:
                        raise InvalidInput(
                            f"the archive unpacks to more than {max_bytes} bytes",
                            hint="if it is meant to, decompress it before",
                        )
                    _write_all(target_fd, block)
                    report(len(block))

        self._spawn(expand, "pc-read", nobody_fd, None, frozenset(), 0, {source_fd, target_fd})
        self._hear(lambda _progress: None)

    def start_packer(self, source_fd: int, layer: LayerForm | None = None, *, is_mount: bool = False) -> int:
        """Start the packer of a directory, or of a detached mount; return the end of the pipe to read its stream from."""
        # Owners beyond 65535 have to be seen to be refused: ids as they are, in a namespace that owns nothing.
        everybody_fd = self._undo.enter_context(user_namespace(0, _EVERY_ID))
        tree_fd = source_fd
        if not is_mount:
            tree_fd = clone_tree("", dirfd=source_fd)
            self._undo.callback(os.close, tree_fd)
        mount_setattr(tree_fd, set_flags=_SAFE | MOUNT_ATTR_RDONLY)

        def pack() -> Source:
            return Packed(os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), layer=layer)

        return self._start_source("pc-pack", pack, everybody_fd, tree_fd, READ_CAPABILITIES, landlock.READ, set())

    def _start_reader(self, source_fd: int, form: Compression, userns_fd: int) -> int:
        def read() -> Source:
            os.lseek(source_fd, 0, os.SEEK_SET)  # who looked at it before has moved it
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
        read_fd, write_fd = _wide_pipe()

        def copy(say: Callable[[dict[str, object]], None]) -> None:
            source = open_source()
            with contextlib.suppress(BrokenPipeError):  # the unpacker has ended, and says why
                while block := source.read(_BLOCK_BYTES):
                    _write_all(write_fd, block)
            if isinstance(source, Packed):
                say({"left_out": [line[-_MAX_LINE_CHARACTERS:] for line in source.left_out[:_MAX_LEFT_OUT]]})

        try:
            self._spawn(copy, name, userns_fd, root_fd, capabilities, rights, {write_fd, *keep_fds})
        except BaseException:
            os.close(read_fd)
            raise
        finally:
            os.close(write_fd)
        return read_fd

    def _start_unpacker(
        self,
        stream_fd: int,
        packed_bytes: int | None,
        target: str,
        userns_fd: int,
        *,
        has_digest: bool,
        is_layer: bool,
    ) -> None:
        tree_fd = clone_tree(target)
        self._undo.callback(os.close, tree_fd)
        try:
            mount_setattr(tree_fd, set_flags=_SAFE, userns_fd=userns_fd)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            # It has no mounts with mapped ids, as an overlay: ids as they are on disk, in a namespace that owns nothing.
            mount_setattr(tree_fd, set_flags=_SAFE)
            userns_fd = self._undo.enter_context(user_namespace(0, _EVERY_ID))

        def unpack(say: Callable[[dict[str, object]], None]) -> None:
            root_fd = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            unpacker = Unpacker(
                root_fd, budgets=self._budgets, packed_bytes=packed_bytes, is_layer=is_layer, may_lack_end=has_digest
            )
            unpacker.unpack(_Counted(stream_fd, _reporter(say)))
            for kind in Notes._fields:
                _say_paths(say, kind, getattr(unpacker, kind))
            say({"size_bytes": unpacker.size_bytes})

        rights = WRITE_RIGHTS | (landlock.MAKE_CHAR if is_layer else 0)  # whiteouts; real devices would need CAP_MKNOD
        self._spawn(unpack, "pc-unpack", userns_fd, tree_fd, FILE_CAPABILITIES, rights, {stream_fd})

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
                lambda error: _tell(write_fd, error, f"{name} cannot be confined: {error.strerror}"),
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

    def finish_packer(self) -> list[str]:
        """Wait until the packer, whose stream was read to its end, has ended; return what it left out."""
        (child,) = self._children
        while child.hear() is not None:
            pass
        child.check()
        left_out = child.result.get("left_out")
        if not isinstance(left_out, list):
            raise PycontainerError("the packer ended without a result")
        return [str(line) for line in left_out]

    def follow(self, on_progress: Progress) -> Unpacked:
        """Hear the children until they have ended; return what the unpacker found."""
        self._hear(on_progress)
        unpacker = self._children[-1]
        size_bytes = unpacker.result.get("size_bytes")
        if type(size_bytes) is not int or size_bytes < 0:
            raise PycontainerError("the unpacker ended without a result")
        return Unpacked(self._hasher.hexdigest(), size_bytes, unpacker.notes())

    def _hear(self, on_progress: Progress) -> None:
        """Hear the children until they have ended; raise what went wrong."""
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


class _Hasher:
    """Passes a stream on, in a thread, and hashes it. It ends when the stream does, or when nobody reads any more."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()
        self._thread: threading.Thread | None = None

    def start(self, read_fd: int, write_fd: int) -> None:
        """Begin; both descriptors are the thread's to close."""
        self._thread = threading.Thread(target=self._run, args=(read_fd, write_fd), name="hash", daemon=True)
        self._thread.start()

    def _run(self, read_fd: int, write_fd: int) -> None:
        try:
            with contextlib.suppress(BrokenPipeError):  # the unpacker has ended, and says why
                while block := os.read(read_fd, _PIPE_BYTES):
                    self._sha256.update(block)
                    _write_all(write_fd, block)
        finally:
            os.close(read_fd)
            os.close(write_fd)

    def join(self) -> None:
        if self._thread is not None:
            self._thread.join()

    def hexdigest(self) -> str:
        """Return the digest of the whole stream."""
        self.join()
        return self._sha256.hexdigest()


def _wide_pipe() -> tuple[int, int]:
    read_fd, write_fd = os.pipe()
    with contextlib.suppress(PermissionError):  # beyond the host's limit it stays as it is
        fcntl.fcntl(write_fd, _F_SETPIPE_SZ, _PIPE_BYTES)
    return read_fd, write_fd


def _write_all(fd: int, block: bytes) -> None:
    view = memoryview(block)
    while view:
        view = view[os.write(fd, view) :]


class _Child:
    """A confined process and its messages, which it may have been made to write."""

    def __init__(self, name: str, pid: int, fd: int) -> None:
        self.name, self.pid, self.fd = name, pid, fd
        self.result: dict[str, Any] = {}
        self._paths: dict[str, set[Parts]] = {kind: set() for kind in Notes._fields}
        self._notes_bytes = 0
        self._members: list[Member] = []
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
            if "paths" in message:
                self._note(message)
            elif "member" in message:
                self._note_member(message["member"])
            elif "bytes" not in message:
                self.result = message
        return messages

    def _note(self, message: dict[str, Any]) -> None:
        kind, paths = message.get("kind"), message["paths"]
        if kind not in self._paths or not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
            raise PycontainerError("a confined process wrote no message")
        noted = self._paths[kind]
        noted.update(map(_noted_parts, paths))
        self._notes_bytes += sum(map(len, paths))
        if len(noted) > MAX_PATHS or self._notes_bytes > _MAX_NOTES_BYTES:
            raise InvalidInput(f"the layer has more than {MAX_PATHS} {kind} names, or {_MAX_NOTES_BYTES} bytes of them")

    def _note_member(self, fields: object) -> None:
        if not isinstance(fields, list) or len(fields) != 4 or len(self._members) >= MAX_MEMBERS:
            raise PycontainerError("a confined process wrote no message")
        name, offset, size_bytes, target = fields
        if not (
            isinstance(name, str)
            and isinstance(target, str)
            and type(offset) is type(size_bytes) is int
            and min(offset, size_bytes) >= 0
        ):
            raise PycontainerError("a confined process wrote no message")
        self._members.append(Member(name, offset, size_bytes, target))

    def members(self) -> tuple[Member, ...]:
        """Return the members that it told of; whether they lie within the file is for the reader to see to."""
        return tuple(self._members)

    def notes(self) -> Notes:
        """Return the names that it told of; where they lead is for the reader to see to."""
        return Notes(**{kind: frozenset(noted) for kind, noted in self._paths.items()})

    def check(self) -> None:
        """Raise what went wrong."""
        error = self.result.get("error")
        if isinstance(error, dict):
            kind = InvalidInput if error.get("class") == InvalidInput.__name__ else PycontainerError
            raise kind(str(error.get("message")), hint=str(error.get("hint", "")))
        code = self.result.get("errno")
        if isinstance(code, int):
            raise OSError(code, str(self.result.get("what")), str(self.result.get("path") or "") or None)
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
    message = {"errno": error.errno or errno.EIO, "what": what, "path": text}
    os.write(message_fd, json.dumps(message).encode() + b"\n")


class _Counted:
    """A descriptor as a source; `on_bytes` hears how many bytes went by."""

    def __init__(self, fd: int, on_bytes: Callable[[int], None]) -> None:
        self._fd, self._on_bytes = fd, on_bytes

    def read(self, size: int, /) -> bytes:
        block = os.read(self._fd, size)
        self._on_bytes(len(block))
        return block


def _say_paths(say: Callable[[dict[str, object]], None], kind: str, paths: Iterable[Parts]) -> None:
    """Tell of names in messages that are short enough."""
    some: list[str] = []
    for parts in paths:
        some.append(os.fsdecode(b"/".join(parts)))
        if sum(map(len, some)) > _MAX_PATHS_CHARACTERS:
            say({"kind": kind, "paths": some})
            some = []
    if some:
        say({"kind": kind, "paths": some})


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


def _noted_parts(path: str) -> Parts:
    """Return the parts of a name that a child noted; the empty name is the root.

    The store looks such names up with its own rights, in the layers beneath too. The unpacker says none that an archive could
    not have either, so one that leads elsewhere comes from a child that was taken over.
    """
    try:
        encoded = os.fsencode(path)
    except UnicodeEncodeError:  # half a character, which no name of a file is decoded to
        encoded = b"\0"
    parts = tuple(encoded.split(b"/")) if encoded else ()
    if (
        len(encoded) > _MAX_PATH_BYTES
        or b"\0" in encoded
        or any(part in (b"", b".", b"..") or len(part) > _MAX_NAME_BYTES for part in parts)
    ):
        raise InvalidInput(
            f"an unpacker noted {shown(path[:_MAX_NAME_BYTES])}, which names nothing in a layer",
            hint="take the source for an attack; it had no way out",
        )
    return parts


def _message(line: bytes) -> dict[str, Any]:
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict):
        raise PycontainerError("a confined process wrote no message")
    return message
