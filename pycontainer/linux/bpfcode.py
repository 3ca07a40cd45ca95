"""Write a BPF program by the names of its instructions, with labels to jump to.

    code = Code()
    code.load(U32, 1, 6, 16)               r1 = *(u32 *)(r6 + 16)
    code.jump_unless(1, 0x0008, "other")   if r1 != 8: goto other
    ...
    code.label("other")
    code.leave(-1)                         return -1
    bytes(code)                            what bpf.load_classifier takes

Registers are numbers: 0 is what a call returns, 1 to 5 what it is given and may destroy, 6 to 9 are kept, 10 is the end of
the stack. Source: kernel Documentation/bpf/standardization/instruction-set.rst.
"""

from pycontainer.linux.bpf import instruction

U8, U16, U32, U64 = 0x10, 0x08, 0x00, 0x18  # BPF_B, _H, _W, _DW
_LOAD, _STORE, _ADD_ATOMICALLY = 0x61, 0x63, 0xC3  # BPF_LDX, BPF_STX, BPF_STX | BPF_ATOMIC, all of U32
_LOAD_64, _PSEUDO_MAP_FD = 0x18, 1
_SET, _COPY, _ADD, _ADD_REGISTER, _AND, _XOR, _SHIFT_RIGHT = 0xB7, 0xBF, 0x07, 0x0F, 0x57, 0xA7, 0x77  # of 64 bits
_JUMP, _JUMP_IF, _JUMP_UNLESS, _JUMP_IF_SET, _JUMP_IF_AT_MOST = 0x05, 0x15, 0x55, 0x45, 0xB5
_JUMP_UNLESS_ALIKE, _JUMP_IF_MORE = 0x5D, 0x2D
_CALL, _RETURN = 0x85, 0x95
STACK = 10


class Code:
    """A program that is being written."""

    def __init__(self) -> None:
        self._instructions: list[tuple[int, int, int, int | str, int]] = []  # an offset may be a label still
        self._labels: dict[str, int] = {}

    def __bytes__(self) -> bytes:
        """Return the program; KeyError if a label is nowhere."""
        return b"".join(
            instruction(
                opcode,
                destination,
                source,
                self._labels[offset] - place - 1 if isinstance(offset, str) else offset,
                immediate,
            )
            for place, (opcode, destination, source, offset, immediate) in enumerate(self._instructions)
        )

    def label(self, name: str) -> None:
        """Name the place of the next instruction."""
        self._labels[name] = len(self._instructions)

    def load(self, size: int, register: int, base: int, offset: int) -> None:
        self._write(_LOAD | size, register, base, offset)

    def store(self, size: int, register: int, base: int, offset: int) -> None:
        self._write(_STORE | size, base, register, offset)

    def add_atomically(self, register: int, base: int, offset: int) -> None:
        """Add a register to 64 bits of memory that others change, too."""
        self._write(_ADD_ATOMICALLY | U64, base, register, offset)

    def set(self, register: int, value: int) -> None:
        self._write(_SET, register, immediate=value)

    def copy(self, register: int, other: int) -> None:
        self._write(_COPY, register, other)

    def point(self, register: int, base: int, offset: int) -> None:
        """Have a register point so many bytes behind another."""
        self.copy(register, base)
        self.add(register, offset)

    def point_to_map(self, register: int, map_fd: int) -> None:
        self._write(_LOAD_64, register, _PSEUDO_MAP_FD, 0, map_fd)
        self._write(0)

    def add(self, register: int, value: int) -> None:
        self._write(_ADD, register, immediate=value)

    def add_register(self, register: int, other: int) -> None:
        self._write(_ADD_REGISTER, register, other)

    def mask(self, register: int, value: int) -> None:
        self._write(_AND, register, immediate=value)

    def flip(self, register: int, value: int) -> None:
        self._write(_XOR, register, immediate=value)

    def shift_right(self, register: int, bits: int) -> None:
        self._write(_SHIFT_RIGHT, register, immediate=bits)

    def jump(self, label: str) -> None:
        self._write(_JUMP, offset=label)

    def jump_if(self, register: int, value: int, label: str) -> None:
        self._write(_JUMP_IF, register, 0, label, value)

    def jump_unless(self, register: int, value: int, label: str) -> None:
        self._write(_JUMP_UNLESS, register, 0, label, value)

    def jump_unless_alike(self, register: int, other: int, label: str) -> None:
        self._write(_JUMP_UNLESS_ALIKE, register, other, label)

    def jump_if_more(self, register: int, other: int, label: str) -> None:
        """Jump if a register is more than another: so the kernel wants the end of a frame to be looked at."""
        self._write(_JUMP_IF_MORE, register, other, label)

    def jump_if_set(self, register: int, bits: int, label: str) -> None:
        self._write(_JUMP_IF_SET, register, 0, label, bits)

    def jump_if_at_most(self, register: int, value: int, label: str) -> None:
        self._write(_JUMP_IF_AT_MOST, register, 0, label, value)

    def call(self, helper: int) -> None:
        """Call a function of the kernel by its number, enum bpf_func_id."""
        self._write(_CALL, immediate=helper)

    def leave(self, value: int | None = None) -> None:
        """Return a value, or what the last call returned."""
        if value is not None:
            self.set(0, value)
        self._write(_RETURN)

    def _write(
        self, opcode: int, destination: int = 0, source: int = 0, offset: int | str = 0, immediate: int = 0
    ) -> None:
        self._instructions.append((opcode, destination, source, offset, immediate))
