"""The machine code: the bytes are what the assembler makes of the sources, and they run tables right on both machines."""

import os
import struct
import subprocess
from pathlib import Path

import pytest

import pycontainer.init
from pycontainer.init.machine import CODES
from pycontainer.init.sealed import build
from pycontainer.init.table import (
    MODE_EXACT,
    MODE_IGNORE,
    MODE_SEARCH,
    REAPER_NUMBER,
    Table,
    describe_rows,
    read_report,
)

pytestmark = pytest.mark.requires("assembler")

SOURCES = Path(pycontainer.init.__file__).parent
TOOLS = {"x86_64": "", "aarch64": "aarch64-linux-gnu-"}
EMULATOR = {"x86_64": [], "aarch64": ["qemu-aarch64-static"]}
NUMBERS = {
    "x86_64": {
        "write": 1,
        "exit_group": 231,
        "getppid": 110,
        "close": 3,
        "execve": 59,
        "dup": 32,
        "kill": 62,
        "getpid": 39,
    },
    "aarch64": {
        "write": 64,
        "exit_group": 94,
        "getppid": 173,
        "close": 57,
        "execve": 221,
        "dup": 23,
        "kill": 129,
        "getpid": 172,
    },
}


@pytest.mark.parametrize("machine", CODES)
def test_bytes_are_what_the_assembler_makes(machine: str, tmp_path: Path) -> None:
    prefix = TOOLS[machine]
    subprocess.run([prefix + "as", "-o", tmp_path / "o", SOURCES / f"{machine}.s"], check=True)
    subprocess.run([prefix + "objcopy", "-O", "binary", "-j", ".text", tmp_path / "o", tmp_path / "bin"], check=True)
    names = subprocess.run([prefix + "nm", tmp_path / "o"], check=True, capture_output=True, text=True).stdout
    places = {parts[2]: int(parts[0], 16) for line in names.splitlines() if len(parts := line.split()) == 3}
    code = CODES[machine]
    assert code.data == (tmp_path / "bin").read_bytes()
    assert (code.program_offset, code.rows_word, code.report_word) == (
        places["program"],
        places["rows_at"],
        places["report_at"],
    )
    assert places["birth"] == 0


class Ran:
    def __init__(self, machine: str, table: Table, tmp_path: Path) -> None:
        image, rows_at = build(table, machine)
        program = tmp_path / "program"
        program.write_bytes(image)
        program.chmod(0o755)
        read_fd, write_fd = os.pipe()
        os.dup2(write_fd, 60)
        os.close(write_fd)
        try:
            done = subprocess.run([*EMULATOR[machine], program], capture_output=True, pass_fds=[60], timeout=30)
        finally:
            os.close(60)
        with os.fdopen(read_fd, "rb") as file:
            self.report = file.read()
        self.code, self.stdout = done.returncode, done.stdout
        self.failure = read_report(self.report, describe_rows(table), rows_at) if self.report else None


@pytest.fixture(params=list(CODES))
def machine(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def test_rows_run_in_order(machine: str, tmp_path: Path) -> None:
    n, table = NUMBERS[machine], Table(60)
    table.call("first", n["write"], 1, b"one ", 4)
    table.call("second", n["write"], 1, b"two", 3, mode=MODE_EXACT, expected=3)
    table.call("end", n["exit_group"], 5)
    ran = Ran(machine, table, tmp_path)
    assert (ran.code, ran.stdout, ran.report) == (5, b"one two", b"")


def test_a_result_becomes_an_argument(machine: str, tmp_path: Path) -> None:
    n, table = NUMBERS[machine], Table(60)
    copy = table.call_keeping("copy", n["dup"], 1)
    table.call("write", n["write"], copy, b"through the copy", 16)
    table.call("end", n["exit_group"], 0)
    assert Ran(machine, table, tmp_path).stdout == b"through the copy"


def test_failure_names_its_row(machine: str, tmp_path: Path) -> None:
    n, table = NUMBERS[machine], Table(60)
    table.call("harmless", n["close"], 999, mode=MODE_IGNORE)
    table.call("fatal", n["close"], 999, path="/where")
    table.call("never", n["write"], 1, b"no", 2)
    ran = Ran(machine, table, tmp_path)
    assert ran.failure is not None
    assert (ran.failure.step, ran.failure.errno, ran.failure.path) == ("fatal", 9, "/where")
    assert (ran.code, ran.stdout) == (127, b"")


def test_an_unexpected_result_is_a_failure(machine: str, tmp_path: Path) -> None:
    """End of file on the pipe is not the byte that releases a child: the monitor may have died."""
    n, table = NUMBERS[machine], Table(60)
    table.call("release", n["write"], 1, b"xx", 2, mode=MODE_EXACT, expected=1)
    table.call("never", n["exit_group"], 0)
    ran = Ran(machine, table, tmp_path)
    assert ran.failure is not None
    assert (ran.failure.step, ran.failure.errno, ran.code) == ("release", 5, 127)


def test_path_search_says_permission_denied_when_any_attempt_did(machine: str, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.write_text("not executable")
    n, table = NUMBERS[machine], Table(60)
    argv: list[bytes] = [b"x"]
    for path in (tmp_path / "missing", closed, tmp_path / "missing too"):
        table.call_keeping("execve", n["execve"], bytes(path), argv, argv, mode=MODE_SEARCH, path=str(path))
    table.call("execve", n["execve"], b"/nowhere", argv, argv, path="/nowhere")
    ran = Ran(machine, table, tmp_path)
    assert ran.failure is not None
    assert (ran.failure.step, ran.failure.errno, ran.failure.path) == ("execve", 13, str(closed))


def test_reaper_ends_as_its_child_ends(machine: str, tmp_path: Path) -> None:
    for rows, expected in (([("exit_group", 7)], 7), ([("kill", 0), ("exit_group", 1)], 137)):
        n, table = NUMBERS[machine], Table(60)
        table.call("reaper", REAPER_NUMBER)
        for name, argument in rows:
            if name == "kill":
                own = table.call_keeping("who", n["getpid"])
                table.call("kill", n["kill"], own, 9)
            else:
                table.call("end", n[name], argument)
        assert Ran(machine, table, tmp_path).code == expected


def test_layout_refuses_a_result_used_twice() -> None:
    table = Table(60)
    slot = table.call_keeping("once", 1)
    table.call("use", 2, slot)
    table.call("use again", 3, slot)
    with pytest.raises(ValueError, match="used 2 times"):
        table.layout(b"", 0x1000)


def test_argv_that_rows_share_is_laid_out_once() -> None:
    argv = [b"a" * 4096]
    table = Table(60)
    table.call("execve", 1, b"/one", argv)
    single = len(table.layout(b"", 0)[0])
    table.call("execve", 1, b"/two", argv)
    assert len(table.layout(b"", 0)[0]) < single + 200


def test_report_bytes_match_the_slots() -> None:
    table = Table(60)
    table.call_keeping("a", 1)
    table.call_keeping("b", 1)
    assert table.report_bytes() == struct.calcsize("<qqqq")
