"""Compression by the system's libzstd: one thread, a fixed level, so the same data gives the same bytes. zstd.h, RFC 8878."""

import ctypes

_LEVEL = 3  # the library's own default
_OUTPUT_BYTES = 1 << 18
_CONTINUE, _END = 0, 2  # ZSTD_EndDirective
_COMPRESSION_LEVEL, _CHECKSUM = 100, 201  # ZSTD_cParameter


class _Buffer(ctypes.Structure):
    """ZSTD_inBuffer and ZSTD_outBuffer"""

    _fields_ = (("address", ctypes.c_void_p), ("size", ctypes.c_size_t), ("position", ctypes.c_size_t))


class Compressor:
    """One frame, with a check sum. Raises OSError where there is no libzstd."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL("libzstd.so.1")
        pointer, size = ctypes.c_void_p, ctypes.c_size_t
        self._library.ZSTD_createCCtx.argtypes, self._library.ZSTD_createCCtx.restype = [], pointer
        self._library.ZSTD_freeCCtx.argtypes, self._library.ZSTD_freeCCtx.restype = [pointer], size
        self._library.ZSTD_CCtx_setParameter.argtypes = [pointer, ctypes.c_int, ctypes.c_int]
        self._library.ZSTD_CCtx_setParameter.restype = size
        self._library.ZSTD_compressStream2.argtypes = [pointer, pointer, pointer, ctypes.c_int]
        self._library.ZSTD_compressStream2.restype = size
        self._library.ZSTD_isError.argtypes, self._library.ZSTD_isError.restype = [size], ctypes.c_uint
        self._library.ZSTD_getErrorName.argtypes, self._library.ZSTD_getErrorName.restype = [size], ctypes.c_char_p
        self._context = self._library.ZSTD_createCCtx()
        if not self._context:
            raise MemoryError
        self._output = ctypes.create_string_buffer(_OUTPUT_BYTES)
        for parameter, value in ((_COMPRESSION_LEVEL, _LEVEL), (_CHECKSUM, 1)):
            self._checked(self._library.ZSTD_CCtx_setParameter(self._context, parameter, value))

    def __del__(self) -> None:
        if getattr(self, "_context", None):
            self._library.ZSTD_freeCCtx(self._context)

    def compress(self, data: bytes) -> bytes:
        """Return what is ready of the frame after `data`, often nothing."""
        return self._run(data, _CONTINUE)

    def finish(self) -> bytes:
        """Return the rest of the frame."""
        return self._run(b"", _END)

    def _run(self, data: bytes, directive: int) -> bytes:
        source = _Buffer(ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p), len(data), 0)
        parts = []
        while True:
            output = _Buffer(ctypes.addressof(self._output), _OUTPUT_BYTES, 0)
            left = self._checked(
                self._library.ZSTD_compressStream2(self._context, ctypes.byref(output), ctypes.byref(source), directive)
            )
            parts.append(ctypes.string_at(self._output, output.position))
            if source.position == len(data) and (directive == _CONTINUE or not left):
                return b"".join(parts)

    def _checked(self, code: int) -> int:
        if self._library.ZSTD_isError(code):
            raise ValueError(self._library.ZSTD_getErrorName(code).decode(errors="replace"))
        return code
