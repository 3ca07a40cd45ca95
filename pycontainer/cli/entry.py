"""The program `pycontainer`. Garbage is not looked for while modules load, 2 ms in which none would be found."""

import gc


def main() -> None:
    """Run the command line and end the process with its exit code."""
    gc.disable()  # until a command begins, which may last for days: `cli` in main.py
    from pycontainer.cli.main import main as run

    run()
