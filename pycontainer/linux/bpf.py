"""bpf(2): load a program. Numbers and layouts from the kernel's include/uapi/linux/bpf.h."""

import ctypes
import struct

from pycontainer.linux.libc import syscall

_PROG_LOAD = 5
_PROG_TYPE_SCHED_CLS = 3
_INSTRUCTION_BYTES = 8
_LICENSE = b"MIT\0"  # no helper that is for GPL programs alone is called
_LOAD_ATTRIBUTES = struct.Struct("=IIQQ32x")  # type, instruction count, instructions, license; log, version, flags...


def instruction(opcode: int, destination: int, source: int, offset: int, immediate: int) -> bytes:
    """Encode one instruction; registers are 0 to 10. Source: kernel Documentation/bpf/standardization."""
    return struct.pack("=BBhi", opcode, source << 4 | destination, offset, immediate)


def load_classifier(program: bytes) -> int:
    """Load a traffic classifier (BPF_PROG_TYPE_SCHED_CLS) and return its descriptor.

    OSError(EPERM) where we may not, EINVAL or ENOSYS where the kernel was built without.
    """
    code = ctypes.create_string_buffer(program, len(program))
    license = ctypes.create_string_buffer(_LICENSE, len(_LICENSE))
    count = len(program) // _INSTRUCTION_BYTES
    attributes = _LOAD_ATTRIBUTES.pack(_PROG_TYPE_SCHED_CLS, count, ctypes.addressof(code), ctypes.addressof(license))
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    return syscall("bpf", _PROG_LOAD, ctypes.addressof(buffer), len(attributes))
