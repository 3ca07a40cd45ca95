"""The program `pycontainer`. Garbage is not looked for while modules load, 2 ms in which none would be found."""

import gc
import os
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line and end the process with its exit code."""
    os._exit(run())  # Python would take itself apart first, piece by piece: 8 ms


def run() -> int:
    """Run the command line and return its exit code."""
    gc.disable()  # until a command begins, which may last for days: `cli` in main.py
    from pycontainer.cli.main import main

    return main()
