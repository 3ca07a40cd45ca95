"""Tables: aligned, and whole words wherever they are shown."""

import os

import pytest

from pycontainer.cli.output import table


def test_columns_are_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    table(["NAME", "IP"], [["web", "10.0.0.1"], ["a-longer-name", ""]])
    assert capsys.readouterr().out == "NAME            IP\nweb             10.0.0.1\na-longer-name\n"


def test_a_narrow_terminal_breaks_no_word(monkeypatch: pytest.MonkeyPatch) -> None:
    master_fd, slave_fd = os.openpty()
    with os.fdopen(master_fd, "rb", buffering=0) as master, os.fdopen(slave_fd, "w") as terminal:
        monkeypatch.setenv("COLUMNS", "20")
        monkeypatch.setattr("sys.stdout", terminal)
        table(["NAME", "IMAGE"], [["n" * 30, "i" * 30]])
        terminal.flush()
        shown = master.read(4096).decode()
    assert shown == f"\x1b[1m{'NAME':30}   IMAGE\x1b[0m\r\n{'n' * 30}   {'i' * 30}\r\n"
