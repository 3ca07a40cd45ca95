"""The child's half of a start: a table of plain system calls, and the bytes that both executors run.

A table is built once, by the planner, and laid out at a fixed address, so that pointers can be numbers:

    BASE + 0     ELF and program header, machine code            (the sealed program; 176 bytes of header, then code)
         + CODE  report_bytes, report_fd │ report: row, result, slots...
         + ...   rows, 80 bytes each: number, 6 arguments, where the result goes, mode, expected result
         + ...   strings and buffers

The kernel maps these bytes as an executable (init/sealed.py); where we have no machine code, the forked Python child maps
the same bytes at the same address and runs the same rows (init/interpreter.py). Nothing here touches the kernel.
"""

import struct

from pycontainer.linux.libc import syscall_number

BASE = 0x70000000  # above the heap of an interpreter that is not position-independent: brk starts within 1 GiB of it
ROW_BYTES = 80
MODE_CHECK, MODE_IGNORE, MODE_EXACT, MODE_SEARCH = 0, 1, 2, 3  # as in x86_64.s
REAPER_NUMBER = -1  # the row that makes process 1 a reaper and goes on in its child
_ROW = struct.Struct("<10q")
_REPORT_HEAD = struct.Struct("<qq")


class Slot:
    """A word in the report that a row's result is stored in; used as an argument it stands for that result."""

    __slots__ = ("index",)

    def __init__(self, index: int) -> None:
        self.index = index


class Counted:
    """A structure of a count and a pointer to what is counted, as struct sock_fprog."""

    __slots__ = ("count", "data")

    def __init__(self, count: int, data: bytes) -> None:
        self.count, self.data = count, data


class At:
    """A pointer into `memory`, which all that point into it share."""

    __slots__ = ("memory", "offset")

    def __init__(self, memory: bytearray, offset: int) -> None:
        self.memory, self.offset = memory, offset


Argument = int | bytes | Slot | Counted | At | list[bytes]


class Row:
    """One system call of the table; `step` and `path` name it in an error."""

    __slots__ = ("arguments", "expected", "mode", "number", "path", "slot", "step")

    def __init__(
        self,
        step: str,
        number: int,
        arguments: tuple[Argument, ...],
        mode: int,
        expected: int,
        slot: Slot | None,
        path: str,
    ) -> None:
        self.step, self.number, self.arguments, self.mode = step, number, arguments, mode
        self.expected, self.slot, self.path = expected, slot, path


class Table:
    """An ordered list of system calls; the order is the design."""

    __slots__ = ("report_fd", "rows", "slots")

    def __init__(self, report_fd: int) -> None:
        """Failures are written to descriptor `report_fd` of the child."""
        self.rows: list[Row] = []
        self.report_fd = report_fd
        self.slots = 0

    def call(
        self, step: str, number: int, *arguments: Argument, mode: int = MODE_CHECK, expected: int = 0, path: str = ""
    ) -> None:
        """Append a call. `bytes` become a pointer to themselves and a NUL, a list of bytes an argv, a Slot its value,
        Counted a pointer to its count and a pointer to its data, At a pointer into memory."""
        self.rows.append(Row(step, number, arguments, mode, expected, None, path))

    def call_keeping(
        self, step: str, number: int, *arguments: Argument, mode: int = MODE_CHECK, path: str = ""
    ) -> Slot:
        """Append a call whose result later rows use, or the report carries."""
        slot = Slot(self.slots)
        self.slots += 1
        self.rows.append(Row(step, number, arguments, mode, 0, slot, path))
        return slot

    def report_bytes(self) -> int:
        """Return the length of the report a failure writes."""
        return _REPORT_HEAD.size + 8 * self.slots

    def layout(self, code: bytes, base: int) -> tuple[bytes, int, int]:
        """Return (the bytes, the address of the report, the address of the first row), `code` standing at `base`."""
        head = base + (len(code) + 15) // 16 * 16
        report = head + 16
        scratch = report + self.report_bytes()  # where results go that nobody asked for
        rows_at = scratch + 8
        data_at = rows_at + ROW_BYTES * len(self.rows)
        data = bytearray()
        fills: dict[int, list[tuple[int, int]]] = {}  # slot index -> where its value is an argument (row, position)

        def put(value: bytes) -> int:
            address = data_at + len(data)
            data.extend(value)
            data.extend(b"\0" * (1 + -(len(value) + 1) % 8))
            return address

        shared: dict[int, int] = {}  # what several rows point to, an argv or memory, is laid out once

        def word(value: Argument, row: int, position: int) -> int:
            if isinstance(value, int):
                return value
            if isinstance(value, Slot):
                fills.setdefault(value.index, []).append((row, position))
                return 0
            if isinstance(value, bytes):
                return put(value)
            if isinstance(value, Counted):
                return put(struct.pack("<QQ", value.count, put(value.data)))
            if isinstance(value, At):
                if id(value.memory) not in shared:
                    shared[id(value.memory)] = put(bytes(value.memory))
                return shared[id(value.memory)] + value.offset
            if id(value) not in shared:
                pointers = [put(text) for text in value]
                shared[id(value)] = put(struct.pack(f"<{len(pointers) + 1}Q", *pointers, 0))
            return shared[id(value)]

        words: list[list[int]] = []
        for number, row in enumerate(self.rows):
            # Most are numbers: a call for each would be half of the time.
            arguments = [
                value if type(value) is int else word(value, number, position)
                for position, value in enumerate(row.arguments)
            ]
            arguments += [0] * (6 - len(arguments))
            words.append([row.number, *arguments, scratch, row.mode, row.expected])
        for number, row in enumerate(self.rows):
            if row.slot is None:
                continue
            uses = fills.get(row.slot.index, [])
            # One result goes to one place: the report, or the one later row that needs it.
            if len(uses) > 1:
                raise ValueError(f"the result of '{row.step}' is used {len(uses)} times; a row stores it once")
            words[number][7] = (
                rows_at + ROW_BYTES * uses[0][0] + 8 + 8 * uses[0][1] if uses else report + 16 + 8 * row.slot.index
            )
        image = bytearray(code.ljust(head - base, b"\0"))
        image += struct.pack("<qq", self.report_fd, self.report_bytes())
        image += bytes(self.report_bytes() + 8)
        for row_words in words:
            image += _ROW.pack(*row_words)
        return bytes(image + data), report, rows_at


class Failure:
    """What a child's report says: which row failed, and with which error number."""

    __slots__ = ("errno", "path", "step")

    def __init__(self, step: str, errno: int, path: str) -> None:
        self.step, self.errno, self.path = step, errno, path


def read_report(report: bytes, rows: list[tuple[str, str, int, int]], rows_at: int) -> Failure:
    """Turn the bytes of a failed child into words.

    `rows` holds (step, path, mode, slot index or -1) per row. A PATH search fails with EACCES if any attempt did, as
    execvp(3) has it, else with what its last attempt said.
    """
    if len(report) < _REPORT_HEAD.size:
        return Failure("report", 5, "")  # EIO: the child died while it wrote
    address, result = _REPORT_HEAD.unpack_from(report)
    index = (address - rows_at) // ROW_BYTES
    if not 0 <= index < len(rows):
        return Failure("report", 5, "")
    step, path, mode, _ = rows[index]
    errno = -result if -4095 <= result < 0 else 5  # an unexpected result, not an error: EIO
    if step == "execve":
        for other_step, other_path, other_mode, slot in rows:
            if other_step == "execve" and other_mode == MODE_SEARCH and slot >= 0:
                (other,) = struct.unpack_from("<q", report, _REPORT_HEAD.size + 8 * slot)
                if other == -13:
                    return Failure(step, 13, other_path)
    return Failure(step, errno, path)


def describe_rows(table: Table) -> list[tuple[str, str, int, int]]:
    """Return what `read_report` needs to know of a table, as plain data."""
    return [(row.step, row.path, row.mode, row.slot.index if row.slot else -1) for row in table.rows]


def call_by_name(
    table: Table, step: str, name: str, *arguments: Argument, mode: int = 0, expected: int = 0, path: str = ""
) -> None:
    """Add a row for the system call `name`, as `Table.call` does for a number."""
    table.call(step, syscall_number(name), *arguments, mode=mode, expected=expected, path=path)
