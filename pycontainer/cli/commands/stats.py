"""`pycontainer stats`: what containers use, live."""

import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from pycontainer.cli import output
from pycontainer.cli.context import Settings, complete_containers, pass_settings
from pycontainer.cli.report import printable
from pycontainer.errors import InvalidState
from pycontainer.units import format_bytes_short

if TYPE_CHECKING:
    from pycontainer.client.types import Stats

_INTERVAL_SECONDS = 1.0
_FIRST_INTERVAL_SECONDS = 0.5  # CPU use is the difference of two samples
_HEADERS = ("CONTAINER ID", "NAME", "CPU %", "MEM USAGE / LIMIT", "MEM %", "NET I/O", "BLOCK I/O", "PIDS")
_HOME, _CLEAR_LINE, _CLEAR_BELOW = "\x1b[H", "\x1b[K", "\x1b[J"


@click.command
@click.argument("containers", metavar="[CONTAINER...]", nargs=-1, shell_complete=complete_containers)
@click.option("--no-stream", is_flag=True, help="Show one table and end.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@pass_settings
def command(settings: Settings, containers: tuple[str, ...], no_stream: bool, form: str) -> None:
    """Show what running containers use, live.

    100 % CPU is one CPU in full use.

    \b
    Example:
      pycontainer stats --no-stream web
    """
    redraw = not no_stream and form == "table" and sys.stdout.isatty()
    with settings.client() as host:
        before = {sample["id"]: sample for sample in host.stats(containers)}
        if len(before) < len(set(containers)):
            running = ", ".join(sample["name"] for sample in before.values()) or "none"
            raise InvalidState(f"not all of these are running: {', '.join(containers)}", hint=f"running: {running}")
        interval = _FIRST_INTERVAL_SECONDS
        if redraw:
            click.echo(_HOME + _CLEAR_BELOW, nl=False)
        while True:
            time.sleep(interval)
            samples = host.stats(containers)
            cpu = {sample["id"]: cpu_percent(before.get(sample["id"]), sample) for sample in samples}
            if form == "json":
                output.show_json([{**sample, "cpu_percent": cpu[sample["id"]]} for sample in samples])
            else:
                text = output.aligned(_HEADERS, [_row(sample, cpu) for sample in samples])
                if redraw:
                    text = _HOME + "".join(f"{line}{_CLEAR_LINE}\n" for line in text.split("\n")) + _CLEAR_BELOW
                click.echo(text, nl=not redraw)
            if no_stream:
                return
            before = {sample["id"]: sample for sample in samples}
            interval = _INTERVAL_SECONDS


def cpu_percent(before: "Stats | None", after: "Stats") -> float | None:
    """Return the CPU use between two samples in percent of one CPU; None if there is no earlier one of the same run."""
    if before is None or after["cpu_usec"] < before["cpu_usec"]:
        return None
    elapsed = after["monotonic_seconds"] - before["monotonic_seconds"]
    return round((after["cpu_usec"] - before["cpu_usec"]) / (elapsed * 1e6) * 100, 2) if elapsed > 0 else None


def _row(sample: "Stats", cpu: Mapping[str, float | None]) -> tuple[str, ...]:
    percent, limit, pids_limit = cpu[sample["id"]], sample["memory_limit_bytes"], sample["pids_limit"]
    used = format_bytes_short(sample["memory_bytes"])
    return (
        sample["id"],
        printable(sample["name"]),
        "-" if percent is None else f"{percent:.2f}%",
        f"{used} / {format_bytes_short(limit) if limit else 'no limit'}",
        f"{sample['memory_bytes'] / limit * 100:.2f}%" if limit else "-",
        f"{format_bytes_short(sample['net_rx_bytes'])} / {format_bytes_short(sample['net_tx_bytes'])}",
        f"{format_bytes_short(sample['io_read_bytes'])} / {format_bytes_short(sample['io_write_bytes'])}",
        f"{sample['pids']} / {pids_limit}" if pids_limit else str(sample["pids"]),
    )
