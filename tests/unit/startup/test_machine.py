"""The machine code of the launcher: the bytes are what the assembler makes of the source."""

import subprocess
from pathlib import Path

import pytest

import pycontainer.startup
from pycontainer.startup.machine import CODES

pytestmark = pytest.mark.requires("assembler")

SOURCES = Path(pycontainer.startup.__file__).parent


@pytest.mark.parametrize("machine", CODES)
def test_bytes_are_what_the_assembler_makes(machine: str, tmp_path: Path) -> None:
    subprocess.run(["as", "-o", tmp_path / "o", SOURCES / f"{machine}.s"], check=True)
    subprocess.run(["objcopy", "-O", "binary", "-j", ".text", tmp_path / "o", tmp_path / "bin"], check=True)
    names = subprocess.run(["nm", tmp_path / "o"], check=True, capture_output=True, text=True).stdout
    places = {parts[2]: int(parts[0], 16) for line in names.splitlines() if len(parts := line.split()) == 3}
    code = CODES[machine]
    assert code.data == (tmp_path / "bin").read_bytes()
    assert (code.on_stack, code.stop, code.words) == (places["on_stack"], places["stop"], places["words"])
    assert places["launch"] == 0
