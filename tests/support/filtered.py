"""Run a program, and all that it starts, with one system call failing:

    python -m tests.support.filtered NUMBER ERRNO PROGRAM ...

The filter is inherited over fork and execve, so it reaches processes that no test can patch. seccomp(2)
"""

import ctypes
import os
import struct
import sys

_LOAD, _JUMP_EQUAL, _RETURN = 0x20, 0x15, 0x06  # BPF_LD|BPF_W|BPF_ABS, BPF_JMP|BPF_JEQ|BPF_K, BPF_RET|BPF_K
_ERRNO, _ALLOW = 0x00050000, 0x7FFF0000
_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 22, 2


def main() -> None:
    number, code, program = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    rows = [(_LOAD, 0, 0, 0), (_JUMP_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ERRNO | code), (_RETURN, 0, 0, _ALLOW)]
    filter_bytes = b"".join(struct.pack("<HBBI", *row) for row in rows)
    filters = ctypes.create_string_buffer(filter_bytes, len(filter_bytes))
    fprog = ctypes.create_string_buffer(struct.pack("<HxxxxxxQ", len(rows), ctypes.addressof(filters)))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.c_void_p(ctypes.addressof(fprog)), 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_SECCOMP)")
    os.execv(program[0], program)


if __name__ == "__main__":
    main()
