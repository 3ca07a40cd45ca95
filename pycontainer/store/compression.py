"""Archives as streams of bytes: what they are compressed with, told apart by their first bytes, and the plain form of it.

Strict where Python's own readers are not: a stream that is cut off, and anything but a further stream of the same kind after
its end (gzip and xz allow zeros there), is damage. Decoders never give more at once than was asked for, whatever they were
fed. zstd is the system's library, so that no other program runs: RFC 8878, zstd.h.
"""

import bz2
import ctypes
import functools
import lzma
import tarfile
import zlib
from collections.abc import Callable
from typing import IO, NamedTuple, Protocol, TypeVar

from pycontainer.errors import InvalidInput, Unsupported

HINT = "is it complete, and a tar archive (plain, gzip, bzip2, xz or zstd)?"
MAGIC_BYTES = 6
_INPUT_BYTES = 1 << 16
_ZSTD_OUTPUT_BYTES = 1 << 18
_GZIP_WBITS = 31  # a header and a check sum of gzip around the data, and both are looked at
_PARSER_ERRORS = (
    tarfile.TarError,
    ValueError,
    ArithmeticError,
    LookupError,
    TypeError,
    EOFError,
    zlib.error,
    lzma.LZMAError,
)
_T = TypeVar("_T")


class Source(Protocol):
    """What can be read: fewer bytes than asked for are fine, none are the end."""

    def read(self, size: int, /) -> bytes: ...


class Decoder(Protocol):
    """One compressed stream, as bz2 and lzma have it."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class Compression(NamedTuple):
    """How to begin a stream, and what may fill up the space behind one."""

    new_decoder: Callable[[], Decoder]
    padding: bytes


def compression(magic: bytes) -> Compression | None:
    """Return what an archive that begins with `magic` is compressed with, None: nothing. Unsupported without libzstd."""
    if magic.startswith(b"\x1f\x8b"):
        return Compression(_Gzip, b"\0")
    if magic.startswith(b"BZh"):
        return Compression(bz2.BZ2Decompressor, b"")
    if magic.startswith(b"\xfd7zXZ\0"):
        return Compression(lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ), b"\0")
    if magic.startswith(b"\x28\xb5\x2f\xfd"):
        _libzstd()
        return Compression(_Zstd, b"")
    return None


class Decompressed:
    """The plain form of a compressed file, one stream after the other."""

    def __init__(self, file: IO[bytes], form: Compression) -> None:
        self._file, self._form = file, form
        self._decoder = form.new_decoder()
        self._rest = b""

    def read(self, size: int, /) -> bytes:
        """Return 1 to `size` bytes, none at the end; InvalidInput for damage."""
        return guarded(lambda: self._read(size))

    def _read(self, size: int) -> bytes:
        while True:
            if self._decoder.eof and not self._begin_next():
                return b""
            data, self._rest = self._rest, b""
            is_at_end = False
            if not data and self._decoder.needs_input:
                data = self._file.read(_INPUT_BYTES)
                is_at_end = not data
            block = self._decoder.decompress(data, size)
            if block:
                return block
            if is_at_end and not self._decoder.eof:
                raise InvalidInput("the archive is cut off", hint=HINT)

    def _begin_next(self) -> bool:
        """Begin the stream that follows; tell whether there is one."""
        rest = self._decoder.unused_data.lstrip(self._form.padding)
        while not rest:
            data = self._file.read(_INPUT_BYTES)
            if not data:
                return False
            rest = data.lstrip(self._form.padding)
        self._decoder, self._rest = self._form.new_decoder(), rest
        return True


def guarded(call: Callable[[], _T]) -> _T:
    """Call into the parsers; whatever they make of hostile bytes becomes InvalidInput."""
    try:
        return call()
    except InvalidInput:
        raise
    except (*_PARSER_ERRORS, RecursionError) as error:
        raise InvalidInput(f"the archive is damaged: {str(error) or type(error).__name__}", hint=HINT) from error
    except OSError as error:
        if error.errno is None:  # bz2 raises it for damaged data
            raise InvalidInput(f"the archive is damaged: {error}", hint=HINT) from error
        raise


class _Gzip:
    """zlib's object with the face of the others."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(_GZIP_WBITS)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, max_length)


class _Buffer(ctypes.Structure):
    """ZSTD_inBuffer and ZSTD_outBuffer"""

    _fields_ = (("address", ctypes.c_void_p), ("size", ctypes.c_size_t), ("position", ctypes.c_size_t))


class _Zstd:
    """One frame, by libzstd. Its window is at most 128 MiB, the library's own limit, as for the program zstd."""

    def __init__(self) -> None:
        self._library = _libzstd()
        self._stream = self._library.ZSTD_createDStream()
        if not self._stream:
            raise MemoryError
        self._output = ctypes.create_string_buffer(_ZSTD_OUTPUT_BYTES)
        self._input = b""
        self._has_more = False
        self.eof = False

    def __del__(self) -> None:
        self._library.ZSTD_freeDStream(self._stream)

    @property
    def needs_input(self) -> bool:
        return not self._input and not self._has_more

    @property
    def unused_data(self) -> bytes:
        return self._input if self.eof else b""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        self._input += data
        source = _Buffer(ctypes.cast(ctypes.c_char_p(self._input), ctypes.c_void_p), len(self._input), 0)
        room = min(max_length, _ZSTD_OUTPUT_BYTES)
        output = _Buffer(ctypes.addressof(self._output), room, 0)
        code = self._library.ZSTD_decompressStream(self._stream, ctypes.byref(output), ctypes.byref(source))
        if self._library.ZSTD_isError(code):
            raise ValueError(self._library.ZSTD_getErrorName(code).decode(errors="replace"))
        self._input = self._input[source.position :]
        self._has_more = output.position == room  # what it holds back comes without further input
        self.eof = code == 0
        return ctypes.string_at(self._output, output.position)


@functools.cache
def _libzstd() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL("libzstd.so.1")
    except OSError as error:
        raise Unsupported(
            "the archive is compressed with zstd, and there is no libzstd.so.1 here",
            hint="install libzstd (Debian: libzstd1), or compress the archive with gzip",
            feature="zstd",
        ) from error
    pointer, size = ctypes.c_void_p, ctypes.c_size_t
    library.ZSTD_createDStream.argtypes, library.ZSTD_createDStream.restype = [], pointer
    library.ZSTD_freeDStream.argtypes, library.ZSTD_freeDStream.restype = [pointer], size
    library.ZSTD_decompressStream.argtypes = [pointer, pointer, pointer]
    library.ZSTD_decompressStream.restype = size
    library.ZSTD_isError.argtypes, library.ZSTD_isError.restype = [size], ctypes.c_uint
    library.ZSTD_getErrorName.argtypes, library.ZSTD_getErrorName.restype = [size], ctypes.c_char_p
    return library
