"""bpf(2): load a program, hang it on a cgroup or a link, look at what hangs there; maps that it shares with us.

Numbers and layouts from the kernel's include/uapi/linux/bpf.h. Programs are made here of instructions: nothing is compiled.
"""

import os
import struct

from pycontainer.linux import ffi
from pycontainer.linux.libc import syscall
from pycontainer.linux.named import NamedTuple

_MAP_CREATE, _MAP_LOOKUP, _MAP_UPDATE, _MAP_DELETE = 0, 1, 2, 3
_PROG_LOAD, _PROG_ATTACH, _PROG_TEST_RUN, _PROG_GET_FD_BY_ID, _OBJ_GET_INFO_BY_FD, _PROG_QUERY = 5, 8, 10, 13, 15, 16
_LINK_CREATE = 28
_MAP_TYPE_HASH, _NO_PREALLOC = 1, 1
_PROG_TYPE_SCHED_CLS, _PROG_TYPE_CGROUP_DEVICE = 3, 15
_CGROUP_DEVICE, _TCX_INGRESS, _TCX_EGRESS = 6, 46, 47  # enum bpf_attach_type
_ALLOW_MULTI, _REPLACE = 2, 4  # BPF_F_*
INSTRUCTION_BYTES = 8
_LICENSE = b"MIT\0"  # no helper that is for GPL programs alone is called
_LOAD = struct.Struct("=IIQQ24x16s")  # type, instruction count, instructions, license; log, kernel, flags; name
_ATTACH = struct.Struct("=IIIII")  # cgroup, program, attach type, flags, program that is replaced
# Cgroup or interface, attach type, query flags, attach flags (out), where ids go, their count.
_QUERY = struct.Struct("=IIIIQI")
_GET_INFO = struct.Struct("=IIQ")  # program, size of the information, where it goes
_INFO = struct.Struct("=II8sIIQQ24x16s")  # type, id, tag, compiled and plain size, where each goes; ...; name
_MAP = struct.Struct("=IIIII8x16s")  # type, bytes of a key and of a value, how many at most, flags; ...; name
_ELEMENT = struct.Struct("=I4xQQQ")  # map, where key and value are, flags
_LINK = struct.Struct("=IIII")  # program, interface, attach type, flags
_TEST = struct.Struct("=IIIIQQ")  # program, what it returned, bytes of both packets, and where they are
_ATTRIBUTES_BYTES = 128  # the kernel writes into fields of bpf_attr that older ones do not have, unasked for their room
_PROGRAMS_MAX = 64  # BPF_CGROUP_MAX_PROGS


class Program(NamedTuple):
    """What the kernel tells of a program; `instructions` is empty where it hides them (net.core.bpf_jit_harden=2)."""

    id: int
    name: str
    instructions: bytes


def instruction(opcode: int, destination: int, source: int, offset: int, immediate: int) -> bytes:
    """Encode one instruction; registers are 0 to 10. Source: kernel Documentation/bpf/standardization."""
    return struct.pack("=BBhi", opcode, source << 4 | destination, offset, immediate)


def load_classifier(program: bytes, name: str = "") -> int:
    """Load a traffic classifier (BPF_PROG_TYPE_SCHED_CLS) and return its descriptor; `name` as of `load_device_filter`.

    OSError(EPERM) where we may not, EINVAL or ENOSYS where the kernel was built without.
    """
    return _load(_PROG_TYPE_SCHED_CLS, program, name)


def attach_to_link(index: int, program_fd: int) -> int:
    """Have a classifier see all that comes in on a link, behind those that are there; return what holds it there.

    It is gone when that descriptor is closed, or with the link. The kernel waits until nobody uses what was there before:
    10 to 20 ms. OSError(EINVAL) before Linux 6.6 (TCX), ENODEV if there is no such link in this network namespace.
    """
    return _call(_LINK_CREATE, _LINK.pack(program_fd, index, _TCX_INGRESS, 0))


def run_classifier(program_fd: int, frame: bytes, *, most_bytes: int = 2048) -> tuple[int, bytes]:
    """Give a frame to a program as if it came in by `lo`; return what the program said, and the frame as it then is."""
    given, got = ffi.create_string_buffer(frame, len(frame)), ffi.create_string_buffer(most_bytes)
    places = ffi.addressof(given), ffi.addressof(got)
    answer = _bpf(_PROG_TEST_RUN, _TEST.pack(program_fd, 0, len(frame), most_bytes, *places))
    _, result, _, length, _, _ = _TEST.unpack_from(answer)
    return result, got.raw[:length]


class HashMap:
    """Keys and values of fixed sizes, which a program finds by key; `fd` is its descriptor."""

    def __init__(self, name: str, key_bytes: int, value_bytes: int, most: int) -> None:
        """`name` is as that of a program. Errors as of `load_classifier`."""
        self.fd = _call(
            _MAP_CREATE, _MAP.pack(_MAP_TYPE_HASH, key_bytes, value_bytes, most, _NO_PREALLOC, name.encode())
        )
        self._value_bytes = value_bytes

    def put(self, key: bytes, value: bytes) -> None:
        """Put a value there, in place of one that is there already. OSError(E2BIG) if the map is full."""
        place = ffi.create_string_buffer(value, len(value))
        self._do(_MAP_UPDATE, key, ffi.addressof(place))

    def get(self, key: bytes) -> bytes | None:
        place = ffi.create_string_buffer(self._value_bytes)
        return bytes(place.raw) if self._do(_MAP_LOOKUP, key, ffi.addressof(place)) else None

    def remove(self, key: bytes) -> bool:
        """Return whether it was there."""
        return self._do(_MAP_DELETE, key, 0)

    def close(self) -> None:
        os.close(self.fd)

    def _do(self, command: int, key: bytes, value_at: int) -> bool:
        place = ffi.create_string_buffer(key, len(key))
        try:
            _call(command, _ELEMENT.pack(self.fd, ffi.addressof(place), value_at, 0))
        except FileNotFoundError:
            return False
        return True


def load_device_filter(program: bytes, name: str) -> int:
    """Load a filter of devices (BPF_PROG_TYPE_CGROUP_DEVICE) and return its descriptor. Errors as above.

    `name` has at most 15 letters, digits, dots and underscores; by it people, and we, know whose it is.
    """
    return _load(_PROG_TYPE_CGROUP_DEVICE, program, name)


def attach_device_filter(cgroup_fd: int, program_fd: int, *, replaced_fd: int = -1) -> None:
    """Have a filter decide, beside those above, for a cgroup of v2 and all beneath it; at once in the place of another.

    Every one of them must allow a device. The cgroup keeps it when its descriptor is closed. OSError(EPERM) where one
    above it allows none beside itself.
    """
    flags = _ALLOW_MULTI | (_REPLACE if replaced_fd >= 0 else 0)
    _bpf(_PROG_ATTACH, _ATTACH.pack(cgroup_fd, program_fd, _CGROUP_DEVICE, flags, max(replaced_fd, 0)))


def attached_device_filters(cgroup_fd: int) -> list[int]:
    """Return the ids of the filters that hang on this very cgroup."""
    return _attached(cgroup_fd, _CGROUP_DEVICE)


def attached_to_link(index: int, *, is_egress: bool = False) -> list[int]:
    """Return the ids of the programs (TCX) that see what comes in on a link, or leaves by it."""
    return _attached(index, _TCX_EGRESS if is_egress else _TCX_INGRESS)


def _attached(target: int, attach_type: int) -> list[int]:
    ids = (ffi.c_uint32 * _PROGRAMS_MAX)()
    answer = _bpf(_PROG_QUERY, _QUERY.pack(target, attach_type, 0, 0, ffi.addressof(ids), _PROGRAMS_MAX))
    return ids[: _QUERY.unpack_from(answer)[5]]


def open_program(program_id: int) -> int:
    """Return a descriptor of a program by its id; FileNotFoundError if it is gone."""
    return _call(_PROG_GET_FD_BY_ID, struct.pack("=I", program_id))


def program_info(program_fd: int) -> Program:
    """Ask the kernel for a program."""
    size = _INFO.unpack(_info(program_fd, 0, 0))[4]
    instructions = ffi.create_string_buffer(max(size, 1))
    _, program_id, _, _, length, _, place, name = _INFO.unpack(
        _info(program_fd, size, ffi.addressof(instructions) if size else 0)
    )
    return Program(program_id, name.rstrip(b"\0").decode(), instructions.raw[:length] if size and place else b"")


def _info(program_fd: int, size: int, address: int) -> bytes:
    """Return struct bpf_prog_info, the first 80 bytes, which all kernels have."""
    found = ffi.create_string_buffer(_INFO.pack(0, 0, b"", 0, size, 0, address, b""), _INFO.size)
    _bpf(_OBJ_GET_INFO_BY_FD, _GET_INFO.pack(program_fd, _INFO.size, ffi.addressof(found)))
    return found.raw


def _load(program_type: int, program: bytes, name: str) -> int:
    code = ffi.create_string_buffer(program, len(program))
    license = ffi.create_string_buffer(_LICENSE, len(_LICENSE))
    count = len(program) // INSTRUCTION_BYTES
    return _call(
        _PROG_LOAD, _LOAD.pack(program_type, count, ffi.addressof(code), ffi.addressof(license), name.encode())
    )


def _call(command: int, attributes: bytes) -> int:
    """Do a command that returns a number, most often a descriptor; the kernel closes these on exec."""
    buffer = ffi.create_string_buffer(attributes, _ATTRIBUTES_BYTES)
    return syscall("bpf", command, ffi.addressof(buffer), _ATTRIBUTES_BYTES)


def _bpf(command: int, attributes: bytes) -> bytes:
    """Do a command that answers in its attributes, and return them."""
    buffer = ffi.create_string_buffer(attributes, _ATTRIBUTES_BYTES)
    syscall("bpf", command, ffi.addressof(buffer), _ATTRIBUTES_BYTES)
    return buffer.raw
