"""Foreign functions without `ctypes`, and with it where the half in C lacks something."""

import ctypes
import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pycontainer.linux import ffi

ROOT = Path(ffi.__file__).parent.parent.parent
NUMBERS = ["c_ushort", "c_int", "c_uint", "c_long", "c_ulong", "c_int64", "c_uint32", "c_uint64", "c_size_t"]


@pytest.mark.parametrize("name", [*NUMBERS, "c_char", "c_char_p", "c_void_p"])
def test_types_are_as_wide_as_those_of_ctypes(name: str) -> None:
    assert ctypes.sizeof(getattr(ffi, name)) == ctypes.sizeof(getattr(ctypes, name))


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_have_the_sign_of_those_of_ctypes(name: str) -> None:
    assert getattr(ffi, name)(-1).value == getattr(ctypes, name)(-1).value


def test_buffers_are_those_of_ctypes() -> None:
    for arguments in ((5,), (b"abc",), (b"abc", 3), (b"a\0c", 8), (b"",), (b"", 0)):
        ours, theirs = ffi.create_string_buffer(*arguments), ctypes.create_string_buffer(*arguments)
        assert (ours.raw, ffi.sizeof(ours)) == (theirs.raw, ctypes.sizeof(theirs))
    with pytest.raises(ValueError, match="too long"):
        ffi.create_string_buffer(b"abcd", 3)


def test_a_structure_is_laid_out_as_by_ctypes() -> None:
    class Comparison(ffi.Structure):
        _fields_ = (("index", ffi.c_uint), ("op", ffi.c_int), ("value", ffi.c_uint64), ("second", ffi.c_uint64))

    assert bytes(Comparison(1, -2, 3, 4)) == b"\1\0\0\0\xfe\xff\xff\xff\3\0\0\0\0\0\0\0\4\0\0\0\0\0\0\0"


def test_a_call_keeps_its_own_errno() -> None:
    close = ffi.function(ffi.open_library(None), "close", (ffi.c_int,))
    assert close(-1) == -1 and ffi.get_errno() == errno.EBADF
    with pytest.raises(FileNotFoundError):
        os.stat("/nonexistent")
    assert ffi.get_errno() == errno.EBADF


def test_results_and_arguments_of_each_kind() -> None:
    libc = ffi.open_library(None)
    strchr = ffi.function(libc, "strchr", (ffi.c_char_p, ffi.c_int), ffi.c_char_p)
    assert strchr(b"key=value", ord("=")) == b"=value"
    assert strchr(b"key", ord("=")) is None
    high = ffi.function(libc, "labs", (ffi.c_long,), ffi.c_long)
    assert high(-(1 << 40)) == 1 << 40
    buffer = ffi.create_string_buffer(8)
    memset = ffi.function(libc, "memset", (ffi.c_void_p, ffi.c_int, ffi.c_size_t), ffi.c_void_p)
    assert memset(buffer, ord("x"), 3) == ffi.addressof(buffer) and buffer.value == b"xxx"
    word = ffi.c_uint32(0)
    memset(ffi.byref(word), 0xFF, 2)
    assert word.value == 0xFFFF
    ffi.memmove(ffi.addressof(buffer), b"yz", 2)
    assert ffi.string_at(ffi.addressof(buffer), 3) == b"yzx"


def test_what_is_not_there() -> None:
    with pytest.raises(OSError, match="libnone.so.1"):
        ffi.open_library("libnone.so.1")
    with pytest.raises(OSError, match="no_such_function"):
        ffi.function(ffi.open_library(None), "no_such_function", ())


PROGRAM = """
import sys
sys.path.insert(0, {root!r})
{before}
from pycontainer.linux import ffi
print("ctypes" in sys.modules)
libc = ffi.open_library(None)
close = ffi.function(libc, "close", (ffi.c_int,))
print(close(-1), ffi.get_errno(), ffi.function(libc, "getenv", (ffi.c_char_p,), ffi.c_char_p)(b"NAME"))
buffer = ffi.create_string_buffer(b"abc")
ffi.memmove(ffi.addressof(buffer), b"x", 1)
print(buffer.value, ffi.string_at(ffi.addressof(buffer), 2), (ffi.c_uint32 * 2)()[:])
print(ffi.prototype(ffi.c_int, ffi.c_int)(ffi._dlsym(libc, "close"))(-1))
for call in (lambda: ffi.open_library("libnone.so.1"), lambda: ffi.function(libc, "no_such_function", ())):
    try: call()
    except OSError as error: print("OSError", "no" in str(error))
"""


@pytest.mark.parametrize("before", ["", "import _ctypes; del _ctypes.dlsym"])
def test_what_the_half_in_c_lacks_ctypes_has(before: str) -> None:
    """Both ways do the same, and the first does not load `ctypes`."""
    done = subprocess.run(
        [sys.executable, "-IS", "-c", PROGRAM.format(root=str(ROOT), before=before)],
        capture_output=True,
        text=True,
        check=True,
        env={"NAME": "value"},
    )
    assert done.stdout.splitlines() == [
        str(bool(before)),
        "-1 9 b'value'",
        "b'xbc' b'xb' [0, 0]",
        "-1",
        "OSError True",
        "OSError True",
    ]
