"""Reading and writing tar streams: `tarfile` for the headers alone, with its leniency taken away.

The reader hands out entries in plain form. An archive that is cut off, has a damaged header in its middle, data after
its end, or headers of more than a megabyte (pax records, chained headers) is refused, where tarfile would stop
silently, or read on without bound. The writer packs a directory in one canonical order, so equal trees give equal
streams; it also writes layers, where what overlayfs keeps of deletions becomes names that begin with `.wh.`:
https://github.com/opencontainers/image-spec/blob/main/layer.md
"""

import copy
import enum
import errno
import os
import stat
import tarfile
from collections.abc import Iterator, Set
from typing import IO, NamedTuple, cast

from pycontainer.errors import InvalidInput
from pycontainer.linux.files import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, RESOLVE_NO_XDEV, attribute_names, openat2
from pycontainer.store.compression import HINT, Source, guarded
from pycontainer.store.whiteouts import OPAQUE, PREFIX

_BLOCK_BYTES = 512
_BUFFER_BYTES = 1 << 18
_MAX_HEADER_BYTES = 1 << 20
_MAX_TRAILING_BYTES = 16 << 20  # zeros that fill up the last record of a tape
_XATTR_PREFIX = "SCHILY.xattr."
_DIR_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_ID = 65535  # of what a container's files can belong to
_READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC  # a fifo is not waited for


class Kind(enum.Enum):
    """What an entry makes."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"
    HARDLINK = "hard link"
    SPECIAL = "device, fifo or socket"


class Entry(NamedTuple):
    """One entry: names as bytes, `mtime` as the decimal text of the header.

    `data` are the ranges (offset, bytes) of a file that the stream has, one after the other; between them are holes.
    """

    name: bytes
    kind: Kind
    target: bytes
    mode: int
    uid: int
    gid: int
    size: int
    mtime: str
    xattrs: dict[str, bytes]
    data: tuple[tuple[int, int], ...] = ()

    @property
    def is_sparse(self) -> bool:
        """Tell whether the archive knew of holes."""
        return self.kind is Kind.FILE and self.data != ((0, self.size),)


# -- reading -------------------------------------------------------------------------------------------------------


class StrictInfo(tarfile.TarInfo):
    """A header that must be one: tarfile takes a damaged header for the end of the archive."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "StrictInfo":
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if len(buf) == _BLOCK_BYTES and not any(buf):
                raise  # the mark at the end of the archive
            raise InvalidInput(f"the archive is damaged: {error}", hint=HINT) from error


class _Bounded:
    """The source as tarfile sees it: whole blocks, no more than allowed, and never beyond the end."""

    def __init__(self, source: Source, *, may_lack_end: bool) -> None:
        self._source, self._may_lack_end = source, may_lack_end
        self.allowed_bytes = 0
        self.position = 0
        self.last = b""

    def read(self, size: int) -> bytes:
        if self.allowed_bytes <= 0:
            raise InvalidInput(f"the archive is damaged: a header of more than {_MAX_HEADER_BYTES} bytes", hint=HINT)
        self.last = _read_fully(self._source, size)
        if len(self.last) < size and self._may_lack_end:
            self.last += bytes(size - len(self.last))
        if not self.last:
            raise InvalidInput("the archive is cut off", hint=HINT)
        self.position += len(self.last)
        self.allowed_bytes -= len(self.last)
        return self.last

    def allow(self, count: int) -> None:
        self.allowed_bytes = count + 2 * _BUFFER_BYTES

    def rest_is_empty(self, end: int) -> bool:
        """Read to the end; tell whether nothing but zeros follows position `end`, which lies in what was read last."""
        if any(self.last[end - (self.position - len(self.last)) :]):
            return False
        total = 0
        while block := guarded(lambda: self._source.read(_BUFFER_BYTES)):
            total += len(block)
            if block.count(0) != len(block) or total > _MAX_TRAILING_BYTES:
                return False
        return True


class TarReader:
    """The entries of an uncompressed tar stream, one after the other; after a file's entry, `read` gives its content."""

    def __init__(self, source: Source, *, may_lack_end: bool = False) -> None:
        """`may_lack_end`: the padding and the end mark need not be there, as umoci leaves them out of what it inserts.

        Only for a stream whose digest is known: one that is cut off elsewhere reads as if zeros followed.
        """
        self._bounded = _Bounded(source, may_lack_end=may_lack_end)
        self._bounded.allow(_MAX_HEADER_BYTES)
        self._tar = guarded(self._open)
        self._content: IO[bytes] | None = None

    def _open(self) -> tarfile.TarFile:
        return tarfile.open(
            fileobj=cast("IO[bytes]", self._bounded),
            mode="r|",
            bufsize=_BUFFER_BYTES,
            tarinfo=StrictInfo,
            encoding="utf-8",
            errors="surrogateescape",
        )

    def next(self) -> Entry | None:
        """Return the next entry, None at the end of the archive."""
        self._bounded.allow(_MAX_HEADER_BYTES)
        member = guarded(self._tar.next)
        if member is None:
            return None
        self._tar.members.clear()  # type: ignore[attr-defined]  # it would remember every entry
        self._content = None
        entry = guarded(lambda: _entry(member))
        if entry.kind is Kind.FILE:
            stored = member
            if entry.is_sparse:  # tarfile would make up the zeros of holes, and that of a terabyte takes minutes
                stored = copy.copy(member)
                stored.sparse, stored.size = None, sum(count for _, count in entry.data)
            self._bounded.allow(stored.size)
            self._content = guarded(lambda: self._tar.extractfile(stored))
        return entry

    def read(self, size: int) -> bytes:
        """Return the next `size` bytes of the present file's data; there must be as many."""
        content = self._content
        assert content is not None
        block = guarded(lambda: content.read(size))
        if len(block) != size:
            raise InvalidInput("the archive is cut off", hint=HINT)
        return block

    @property
    def position(self) -> int:
        """How many bytes of the stream were read."""
        return self._bounded.position

    def finish(self) -> None:
        """Read the stream to its end, and see that nothing follows the archive."""
        if not self._bounded.rest_is_empty(self._tar.offset):
            raise InvalidInput("data follows the end of the archive", hint="import one archive at a time")


def _entry(member: tarfile.TarInfo) -> Entry:
    name = member.name.encode("utf-8", "surrogateescape")
    headers = member.pax_headers
    xattrs = {
        key.removeprefix(_XATTR_PREFIX): value.encode("utf-8", "surrogateescape")
        for key, value in headers.items()
        if key.startswith(_XATTR_PREFIX)
    }
    kind = _kind(member)
    if member.size < 0 or member.offset_data < member.offset:
        raise InvalidInput(f"the archive is damaged: {name.decode(errors='backslashreplace')!r} has a negative size")
    return Entry(
        name,
        kind,
        member.linkname.encode("utf-8", "surrogateescape"),
        member.mode,
        member.uid,
        member.gid,
        member.size if kind is Kind.FILE else 0,
        headers["mtime"] if "mtime" in headers else str(int(member.mtime)),
        xattrs,
        _data(member) if kind is Kind.FILE else (),
    )


def _data(member: tarfile.TarInfo) -> tuple[tuple[int, int], ...]:
    sparse = cast("list[tuple[int, int]] | None", member.sparse)  # typeshed has it as bytes
    if sparse is None:
        return ((0, member.size),)
    ranges = tuple((offset, count) for offset, count in sparse if count)
    end = 0
    for offset, count in ranges:
        if offset < end or count < 0 or offset + count > member.size:
            raise InvalidInput(f"the archive is damaged: the holes of {member.name!r} do not fit", hint=HINT)
        end = offset + count
    return ranges


def _kind(member: tarfile.TarInfo) -> Kind:
    if member.isreg():
        return Kind.FILE
    if member.isdir():
        return Kind.DIRECTORY
    if member.issym():
        return Kind.SYMLINK
    if member.islnk():
        return Kind.HARDLINK
    if member.ischr() or member.isblk() or member.isfifo():
        return Kind.SPECIAL
    raise InvalidInput(f"entry {member.name!r} of the archive has an unknown type, {member.type!r}")


def _read_fully(source: Source, size: int) -> bytes:
    parts = []
    while size:
        part = guarded(lambda wanted=size: source.read(wanted))  # type: ignore[misc]
        if not part:
            break
        parts.append(part)
        size -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


# -- writing -------------------------------------------------------------------------------------------------------


class LayerForm(NamedTuple):
    """How a tree becomes a layer. `opaque` holds the directories (relative, without a slash at either end; the tree itself
    is empty) that hide what lies below them: only the host's root can see that (store/layerpack.py).
    """

    opaque: Set[bytes] = frozenset()


class Packed:
    """A directory, or one name of a directory, as a tar stream to read from; the caller keeps `dir_fd`.

    The order is that of the names' bytes; owners, modes, times to the nanosecond, links and extended attributes are in
    it. Devices, fifos and sockets are left out, and so is what is mounted beneath: `left_out` names them, with the reason.
    With `layer` the whiteouts of overlayfs (character devices 0:0) and its opaque directories become those of layers.
    """

    def __init__(self, dir_fd: int, *, name: bytes = b"", top: bytes = b".", layer: LayerForm | None = None) -> None:
        """Pack what is called `name` in the directory; without one the directory itself, under the name `top`."""
        self.left_out: list[str] = []
        self._blocks = _pack(dir_fd, name, top, self.left_out, layer)
        self._rest = b""

    def read(self, size: int) -> bytes:
        block = self._rest or next(filter(None, self._blocks), b"")  # an empty block would be taken for the end
        self._rest = block[size:]
        return block[:size]


def _pack(dir_fd: int, name: bytes, top: bytes, left_out: list[str], layer: LayerForm | None) -> Iterator[bytes]:
    seen: dict[tuple[int, int], bytes] = {}  # device and inode -> first name, of files with several
    fd = os.open(".", _DIR_FLAGS, dir_fd=dir_fd)
    pending: list[tuple[bytes, int, list[bytes]]] = [(b"", fd, [name]) if name else (top + b"/", fd, _names(fd))]
    try:
        if not name:
            yield _header(top + b"/", fd, os.fstat(fd), tarfile.DIRTYPE)
            yield from _opaque_mark(top + b"/", os.fstat(fd), layer)
        while pending:
            where, fd, names = pending[-1]
            if not names:
                pending.pop()
                os.close(fd)
                continue
            name = names.pop()
            inner = where + name
            details = os.lstat(name, dir_fd=fd)
            if layer is not None:
                if name.startswith(PREFIX):
                    left_out.append(f"{_quote(inner)} has a name that would delete another in a layer")
                    continue
                if stat.S_ISCHR(details.st_mode) and details.st_rdev == 0:
                    yield _mark(where + PREFIX + name, os.fstat(fd))
                    continue
                _check_owner(inner, details)
            if stat.S_ISLNK(details.st_mode):
                first = _first_name(inner, details, seen)
                if first == inner:
                    yield _header(inner, None, details, tarfile.SYMTYPE, os.readlink(name, dir_fd=fd))
                else:
                    yield _header(inner, None, details, tarfile.LNKTYPE, first)
                continue
            if not stat.S_ISDIR(details.st_mode) and not stat.S_ISREG(details.st_mode):
                left_out.append(f"{_quote(inner)} is a device, fifo or socket")
                continue
            try:
                inner_fd = openat2(
                    fd, name, _READ_FLAGS, resolve=RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | _same_mount(where)
                )
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                left_out.append(f"{_quote(inner)} is mounted from elsewhere")
                continue
            details = os.fstat(inner_fd)
            if stat.S_ISDIR(details.st_mode):
                pending.append((inner + b"/", inner_fd, _names(inner_fd)))
                yield _header(inner + b"/", inner_fd, details, tarfile.DIRTYPE)
                yield from _opaque_mark(inner + b"/", details, layer)
            else:
                yield from _pack_file(inner, inner_fd, seen)
        yield bytes(2 * _BLOCK_BYTES)
    finally:
        for _, fd, _ in pending:
            os.close(fd)


def _opaque_mark(directory: bytes, details: os.stat_result, layer: LayerForm | None) -> Iterator[bytes]:
    if layer is not None and directory.removeprefix(b"./").rstrip(b"/") in layer.opaque:
        yield _mark(directory + OPAQUE, details)


def _mark(path: bytes, directory: os.stat_result) -> bytes:
    """Return an empty file that stands for a deletion; it is as old as its directory, so that equal trees stay equal."""
    info = tarfile.TarInfo(path.decode("utf-8", "surrogateescape").removeprefix("./"))
    info.mode, info.mtime = 0, directory.st_mtime_ns // 10**9
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _check_owner(path: bytes, details: os.stat_result) -> None:
    if not (details.st_uid <= _MAX_ID and details.st_gid <= _MAX_ID):
        raise InvalidInput(
            f"{_quote(path)} belongs to {details.st_uid}:{details.st_gid}, but a container has the ids 0 to {_MAX_ID}"
        )


def _same_mount(where: bytes) -> int:
    """What was named itself may be a mount; what lies beneath it may not."""
    return RESOLVE_NO_XDEV if where else 0


def _quote(path: bytes) -> str:
    return repr(path.decode(errors="backslashreplace"))


def _names(fd: int) -> list[bytes]:
    """Return what a directory holds, last name first: `pop` takes them in order."""
    return sorted((os.fsencode(name) for name in os.listdir(fd)), reverse=True)


def _first_name(path: bytes, details: os.stat_result, seen: dict[tuple[int, int], bytes]) -> bytes:
    """Return the name under which a file or link was packed before, `path` itself if it was not."""
    return seen.setdefault((details.st_dev, details.st_ino), path) if details.st_nlink > 1 else path


def _pack_file(path: bytes, fd: int, seen: dict[tuple[int, int], bytes]) -> Iterator[bytes]:
    """Pack the file open at `fd` and close it."""
    try:
        details = os.fstat(fd)
        if not stat.S_ISREG(details.st_mode):
            raise InvalidInput(f"{_quote(path)} changed while it was read")
        first = _first_name(path, details, seen)
        if first != path:
            yield _header(path, None, details, tarfile.LNKTYPE, first)
            return
        yield _header(path, fd, details, tarfile.REGTYPE)
        left = details.st_size
        while left:
            block = os.read(fd, min(left, _BUFFER_BYTES))
            if not block:
                raise InvalidInput(
                    f"{_quote(path)} became shorter while it was read", hint="stop what writes to it, and try again"
                )
            left -= len(block)
            yield block
        yield bytes(-details.st_size % _BLOCK_BYTES)
    finally:
        os.close(fd)


def _header(path: bytes, fd: int | None, details: os.stat_result, kind: bytes, target: bytes = b"") -> bytes:
    info = tarfile.TarInfo(path.decode("utf-8", "surrogateescape").removeprefix("./") or "./")
    info.type, info.mode, info.uid, info.gid = kind, stat.S_IMODE(details.st_mode), details.st_uid, details.st_gid
    info.linkname = target.decode("utf-8", "surrogateescape")
    if kind == tarfile.LNKTYPE:
        info.linkname = info.linkname.removeprefix("./")
    if kind == tarfile.REGTYPE:
        info.size = details.st_size
    seconds, nanoseconds = divmod(abs(details.st_mtime_ns), 10**9)
    sign = "-" if details.st_mtime_ns < 0 else ""
    info.pax_headers = {"mtime": f"{sign}{seconds}.{nanoseconds:09d}"}
    if fd is not None:
        for name in sorted(attribute_names(fd)):
            if name.startswith("user.") or name == "security.capability":
                value = os.getxattr(fd, name).decode("utf-8", "surrogateescape")
                info.pax_headers[_XATTR_PREFIX + name] = value
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
