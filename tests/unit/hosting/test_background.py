"""A process that stays: the kernel says who it is."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pycontainer.errors import Busy
from pycontainer.hosting import background

CLAIM = """\
import signal, sys
from pycontainer.hosting import background
fd = background.claim(sys.argv[1])
print("it", flush=True)
signal.pause()
"""


def claimant(path: Path) -> "subprocess.Popen[str]":
    process = subprocess.Popen([sys.executable, "-c", CLAIM, path], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "it\n"
    return process


def test_there_is_one(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    assert background.holder(str(path)) is None and not background.end(str(path))
    with claimant(path) as process:
        assert background.holder(str(path)) == process.pid == int(path.read_text())
        with pytest.raises(Busy, match=f"process {process.pid} does this already"):
            background.claim(str(path))
        assert background.holder(str(path)) == process.pid  # who was turned away has not taken it
        assert background.end(str(path))
    assert background.holder(str(path)) is None


def test_a_file_that_is_left_means_nobody(tmp_path: Path) -> None:
    """Least of all the process that has the number now."""
    path = tmp_path / "pid"
    path.write_text(f"{os.getpid()}\n")
    assert background.holder(str(path)) is None and not background.end(str(path))
    with claimant(path) as process:
        assert int(path.read_text()) == process.pid
        process.kill()
        process.wait()
        assert background.holder(str(path)) is None
