"""What a compiled filter says of a call, found out without the kernel. Documentation/userspace-api/seccomp_filter.rst

Only what libseccomp and we put into programs is understood; of any other program nothing is said.
"""

import struct

from pycontainer.linux.libc import MACHINE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # <linux/audit.h>
_DATA = struct.Struct("<iIQ6Q")  # struct seccomp_data
_INSTRUCTION = struct.Struct("<HBBI")  # struct sock_filter
_LOAD, _AND, _RETURN, _JUMP = 0x20, 0x54, 0x06, 0x05
_TESTS: "dict[int, Callable[[int, int], bool]]" = {
    0x15: lambda value, operand: value == operand,
    0x25: lambda value, operand: value > operand,
    0x35: lambda value, operand: value >= operand,
    0x45: lambda value, operand: value & operand != 0,
}
_ACTION = 0xFFFF0000
_ALLOW, _LOG = 0x7FFF0000, 0x7FFC0000


def permits(program: bytes, number: int, *arguments: int) -> bool:
    """Say whether the filter lets a call through; False as well if that cannot be told."""
    data = _DATA.pack(number, AUDIT_ARCH[MACHINE], 0, *arguments, *([0] * (6 - len(arguments))))
    instructions = list(_INSTRUCTION.iter_unpack(program))
    value = at = 0
    while at < len(instructions):  # jumps go forward alone
        code, when_true, when_false, operand = instructions[at]
        at += 1
        if code == _LOAD and operand <= len(data) - 4:
            (value,) = struct.unpack_from("<I", data, operand)
        elif code == _AND:
            value &= operand
        elif code == _RETURN:
            return operand & _ACTION in (_ALLOW, _LOG)
        elif code == _JUMP:
            at += operand
        elif code in _TESTS:
            at += when_true if _TESTS[code](value, operand) else when_false
        else:
            return False
    return False
