"""`python -m tests.vm [--kernel SERIES] -- COMMAND...`: one command on a stock kernel."""

import argparse
import shlex
import sys

from tests.support.features import why_not
from tests.vm import kernel, machine


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.vm", description="Run a command on a stock Debian kernel.")
    parser.add_argument("--kernel", default="6.12", help="series, such as 6.12 or 6.1 (%(default)s)")
    parser.add_argument("--systemd", action="store_true", help="with systemd as the first process")
    parser.add_argument(
        "--reboots", type=int, default=0, metavar="N", help="that the command does, and runs again after"
    )
    parser.add_argument("--timeout", type=float, default=1200, metavar="SECONDS")
    parser.add_argument("command", nargs="+", help="one word goes to sh -c, several are a command with its arguments")
    arguments = parser.parse_args()
    if reason := why_not("vm"):
        parser.error(reason)
    words = arguments.command
    command = words[0] if len(words) == 1 else shlex.join(words)
    status, output = machine.run(
        kernel.fetch(arguments.kernel),
        command,
        timeout_seconds=arguments.timeout,
        systemd=arguments.systemd,
        reboots=arguments.reboots,
    )
    sys.stdout.write(output)
    return status


if __name__ == "__main__":
    sys.exit(main())
