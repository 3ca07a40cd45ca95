"""The small part of `ctypes` that we use, made of its C half `_ctypes` alone.

`ctypes` itself takes 5 ms of each process that starts: it brings `types` and `struct`, and makes some fifty types and
functions. The names here, and what they do, are those of `ctypes`; for a type checker they are `ctypes`. Nothing promises
that `_ctypes` stays as it is, so where it lacks a piece `ctypes` takes its place, whole.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from ctypes import (
        CFUNCTYPE,
        PYFUNCTYPE,
        Array,
        Structure,
        addressof,
        byref,
        c_char,
        c_char_p,
        c_int,
        c_int64,
        c_long,
        c_size_t,
        c_uint,
        c_uint32,
        c_uint64,
        c_ulong,
        c_ushort,
        c_void_p,
        create_string_buffer,
        get_errno,
        memmove,
        sizeof,
        string_at,
    )
    from typing import Any

    _dlopen: Callable[[str | None], int]
    _dlsym: Callable[[int, str], int]

__all__ = [
    "Array",
    "CFUNCTYPE",
    "PYFUNCTYPE",
    "Structure",
    "addressof",
    "byref",
    "c_char",
    "c_char_p",
    "c_int",
    "c_int64",
    "c_long",
    "c_size_t",
    "c_uint",
    "c_uint32",
    "c_uint64",
    "c_ulong",
    "c_ushort",
    "c_void_p",
    "create_string_buffer",
    "get_errno",
    "memmove",
    "sizeof",
    "string_at",
]


def open_library(name: str | None) -> int:
    """Return a handle on a shared library, for good; None: on all that the interpreter is linked with.

    OSError: there is no such library.
    """
    return _dlopen(name)


def address(library: int, name: str) -> int:
    """Return where a library has a function or a variable. OSError: it has none of this name."""
    return _dlsym(library, name)


def function(
    library: int, name: str, argtypes: "tuple[type, ...]", restype: "type | None" = None
) -> "Callable[..., Any]":
    """Return a function of a library, typed once; restype None: `int`. What it leaves in errno is for `get_errno`.

    OSError: the library has no such function.
    """
    made = _Function(_dlsym(library, name))
    made.argtypes, made.restype = argtypes, restype or c_int
    return made


def prototype(restype: type, *argtypes: type) -> "Callable[[int], Callable[..., Any]]":
    """Return what makes a function of an address; a call of it does not let go of the interpreter's lock."""
    return PYFUNCTYPE(restype, *argtypes)


if not TYPE_CHECKING:
    try:
        from _ctypes import (
            FUNCFLAG_CDECL,
            FUNCFLAG_PYTHONAPI,
            FUNCFLAG_USE_ERRNO,
            Array,
            CFuncPtr,
            Structure,
            _memmove_addr,
            _SimpleCData,
            _string_at_addr,
            addressof,
            byref,
            dlopen,
            get_errno,
            sizeof,
        )
        from _ctypes import dlsym as _dlsym

        class c_char(_SimpleCData):
            _type_ = "c"

        class c_ushort(_SimpleCData):
            _type_ = "H"

        class c_int(_SimpleCData):
            _type_ = "i"

        class c_uint(_SimpleCData):
            _type_ = "I"

        class c_long(_SimpleCData):
            _type_ = "l"

        class c_ulong(_SimpleCData):
            _type_ = "L"

        class c_int64(_SimpleCData):
            _type_ = "q"

        class c_uint64(_SimpleCData):
            _type_ = "Q"

        class c_void_p(_SimpleCData):
            _type_ = "P"

        class c_char_p(_SimpleCData):
            _type_ = "z"

        class _PythonObject(_SimpleCData):
            _type_ = "O"

        c_uint32, c_size_t = c_uint, c_ulong
        if (sizeof(c_uint32), sizeof(c_size_t)) != (4, sizeof(c_void_p)):
            raise ImportError("a machine with integers of other sizes")

        def CFUNCTYPE(restype, *argtypes, use_errno=False):
            class Function(CFuncPtr):
                _flags_ = FUNCFLAG_CDECL | (FUNCFLAG_USE_ERRNO if use_errno else 0)
                _restype_, _argtypes_ = restype, argtypes

            return Function

        def PYFUNCTYPE(restype, *argtypes):
            class Function(CFuncPtr):
                _flags_ = FUNCFLAG_CDECL | FUNCFLAG_PYTHONAPI
                _restype_, _argtypes_ = restype, argtypes

            return Function

        def create_string_buffer(init, size=None):
            if isinstance(init, int):
                return (c_char * init)()
            buffer = (c_char * (len(init) + 1 if size is None else size))()
            buffer.value = init
            return buffer

        memmove = CFUNCTYPE(c_void_p, c_void_p, c_void_p, c_size_t)(_memmove_addr)
        string_at = PYFUNCTYPE(_PythonObject, c_void_p, c_int)(_string_at_addr)

        def _dlopen(name):
            return dlopen(name, 0)

    except (ImportError, AttributeError, TypeError):
        import ctypes

        globals().update({name: getattr(ctypes, name) for name in __all__})

        def _dlopen(name):
            return ctypes.CDLL(name)._handle

        def _dlsym(library, name):
            try:
                return ctypes.cast(getattr(ctypes.CDLL(None, handle=library), name), ctypes.c_void_p).value
            except AttributeError as error:
                raise OSError(str(error)) from None


_Function = CFUNCTYPE(c_int, use_errno=True)  # one class for all functions: each is typed on its own
