"""`--trace FILE`: the command's own share of a trace, and the writing of the file when the command is over."""

from typing import TYPE_CHECKING

import click

import pycontainer
from pycontainer.cli.report import show_error
from pycontainer.errors import PycontainerError

if TYPE_CHECKING:
    from pycontainer.client.tracefile import Trace


def begin(ctx: click.Context, path: str) -> "Trace":
    """Begin a trace that is written to `path` when `ctx` closes, however the command ends."""
    from pycontainer.client.tracefile import Trace, process_began_ns  # 2 ms that only who traces pays

    trace = Trace(path)
    first_ns, computed_ns = pycontainer.BEGAN
    began_ns = process_began_ns(first_ns, computed_ns)
    trace.began(began_ns)
    if began_ns <= first_ns:  # else we are a fork of a process that had loaded all this
        trace.step("interpreter", first_ns)
    trace.step("imports")
    ctx.call_on_close(lambda: _end(trace, f"pycontainer {ctx.invoked_subcommand or ''}".rstrip()))
    return trace


def _end(trace: "Trace", title: str) -> None:
    """Write the file. That it cannot be is told; the exit code stays the command's."""
    trace.step("command")
    try:
        trace.write(title)
    except PycontainerError as error:
        show_error(error.message)
