"""The launcher: an ELF of one page that maps a dump, and without one executes the interpreter. elf(5)

python -m pycontainer.startup.launcher PATH      writes that of `pycontainer`; oci/launcher.py has the other
"""

import os
import struct
import sys

from pycontainer.linux.files import write_atomically
from pycontainer.startup.dump import HEADER_ADDRESS, HEADER_BYTES, LAUNCHER_ADDRESS
from pycontainer.startup.machine import CODES
from pycontainer.startup.programs import Program, command

_EHDR = struct.Struct("<16sHHIQQQIHHHHHH")
_PHDR = struct.Struct("<IIQQQQQQ")
_HEADERS_BYTES = _EHDR.size + 2 * _PHDR.size
_PT_LOAD, _PT_GNU_STACK, _READ_EXECUTE, _READ_WRITE = 1, 0x6474E551, 5, 6


def write(path: str, program: Program) -> None:
    """Write the launcher of a program to `path`, executable, replacing what is there."""
    dump_path = program.dump_path()
    otherwise = (program.python, *program.options, program.script, dump_path)
    write_atomically(path, image(os.uname().machine, program, dump_path, otherwise), mode=0o755)


def image(machine: str, program: Program, dump_path: str, otherwise: tuple[str, ...]) -> bytes:
    """Return an executable that goes on in the dump at `dump_path`; `otherwise` is what it executes if it cannot.

    KeyError: there is no machine code for `machine`.
    """
    code = CODES[machine]
    data = bytearray(code.data)

    def put(content: bytes) -> int:
        """Lay `content` behind the code; return its address."""
        data.extend(bytes(-len(data) % 8))
        data.extend(content)
        return LAUNCHER_ADDRESS + _HEADERS_BYTES + len(data) - len(content)

    message = f"{program.name}: cannot execute '{otherwise[0]}': install pycontainer again\n".encode()
    path_at = put(os.fsencode(dump_path) + b"\0")
    words = [put(os.fsencode(each) + b"\0") for each in otherwise]
    first_at = put(struct.pack(f"<{len(words)}Q", *words))
    message_at = put(message)
    struct.pack_into(
        "<7Q16s",
        data,
        code.words,
        *(path_at, HEADER_ADDRESS, HEADER_BYTES, len(words), first_at, message_at, len(message)),
        program.key(),
    )
    length = _HEADERS_BYTES + len(data)
    entry = LAUNCHER_ADDRESS + _HEADERS_BYTES
    ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    return b"".join(
        (
            _EHDR.pack(ident, 2, code.elf_machine, 1, entry, 64, 0, 0, 64, 56, 2, 0, 0, 0),
            _PHDR.pack(_PT_LOAD, _READ_EXECUTE, 0, LAUNCHER_ADDRESS, LAUNCHER_ADDRESS, length, length, 0x1000),
            _PHDR.pack(_PT_GNU_STACK, _READ_WRITE, 0, 0, 0, 0, 0, 16),  # without it all memory would be executable
            data,
        )
    )


def main() -> None:
    """Write the launcher of `pycontainer` to the path that is given; without machine code what is there stays."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m pycontainer.startup.launcher PATH")
    if os.uname().machine in CODES:
        try:
            write(sys.argv[1], command())
        except OSError as error:
            sys.exit(f"cannot write the launcher: {error}")


if __name__ == "__main__":
    main()
