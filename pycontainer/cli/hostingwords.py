"""What `up`, `down` and `diff` share: the file, the words, and how far it is."""

import os
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pycontainer.cli.numbers import Count
from pycontainer.cli.output import ask
from pycontainer.cli.report import printable, show_error, show_warnings, tell
from pycontainer.errors import InvalidInput

if TYPE_CHECKING:
    from pycontainer.client.client import Client
    from pycontainer.hosting.apply import Outcome, Progress
    from pycontainer.hosting.hosting import Hosting

F = TypeVar("F", bound=Callable[..., Any])
DEFAULT_FILE = "hosting.yaml"
_PARALLEL_MOST = 64
_NAMED_MOST = 20


def file_option(command: F) -> F:
    """Add -f/--file."""
    return click.option(
        "-f",
        "--file",
        metavar="FILE",
        default=DEFAULT_FILE,
        show_default=True,
        help="The file that describes the hosting.",
    )(command)


def work_options(command: F) -> F:
    """Add --parallel and --yes."""
    command = click.option("-y", "--yes", is_flag=True, help="Do not ask before anything is removed.")(command)
    return click.option(
        "--parallel",
        type=Count(1, _PARALLEL_MOST),
        default=8,
        show_default=True,
        metavar="NUMBER",
        help="How many requests are made at the same time.",
    )(command)


def confirm_removal(what: list[str], consequence: str, *, yes: bool) -> None:
    """Ask whether what is named may go; InvalidInput with the names where nobody can be asked."""
    if yes or not what:
        return
    names = ", ".join(what[:_NAMED_MOST]) + (f" and {len(what) - _NAMED_MOST} more" if len(what) > _NAMED_MOST else "")
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise InvalidInput(f"these would be removed: {names}", hint="nobody can be asked here: give --yes", field="yes")
    ask(f"Remove {names}? {consequence}")


def load(file: str, client: "Client", *, check_certificates: bool = True) -> "Hosting":
    """Read a hosting file; with certificates that nobody looks at, for who only takes it down."""
    from pycontainer.hosting.hosting import Hosting  # 30 ms (yaml, threads) that --help does not need

    try:
        return Hosting.load(file, client, check_certificate=None if check_certificates else lambda *_: [])
    except InvalidInput as error:
        if not os.path.exists(file):
            error.hint = "name the file that describes tenants and sites: -f FILE"
        raise


class Report:
    """Tells what is done: a line for each change that is finished, and on a terminal one for what is going on."""

    def __init__(self, described: Mapping[str, str]) -> None:
        """`described` has the line of each subject."""
        self._described = described
        self._draws = sys.stderr.isatty()

    def __call__(self, progress: "Progress") -> None:
        """Take news; called by one thread at a time."""
        if self._draws:
            tell("\r\x1b[K", newline=False)
        if progress.is_finished and progress.error is None and (line := self._described.get(progress.subject)):
            click.echo(printable(line))
        if self._draws and progress.done < progress.total:
            where = f"{progress.done} of {progress.total}"
            tell(printable(f"{where}  {progress.subject}: {progress.step}"), newline=False)

    def end(self, outcome: "Outcome") -> int | None:
        """Name what failed, and what is to be warned of; return the exit code."""
        show_warnings(outcome.warnings)
        for subject, error in outcome.failed:
            show_error(f"{subject}: {error.message}", error.hint)
        if outcome.failed:
            count = len(outcome.failed)
            show_error(f"{count} of {count + len(outcome.done)} changes failed; the others are done")
            return 1
        return None
