"""`pycontainer capacity`: what of the host is promised."""

from typing import TYPE_CHECKING

import click

from pycontainer.cli import output
from pycontainer.cli.context import Settings, pass_settings
from pycontainer.cli.numbers import Seconds
from pycontainer.cli.report import show_error
from pycontainer.units import format_bit_rate, format_bytes_short, format_cpus

if TYPE_CHECKING:
    from pycontainer.client.types import Promise

_HEADERS = ("RESOURCE", "PHYSICAL", "PROMISED", "USED", "RATIO", "ALLOWED", "LEFT", "UNCAPPED")


@click.command
@click.option(
    "--seconds",
    type=Seconds(0, 60),
    default=1.0,
    show_default=True,
    metavar="NUMBER",
    help="Time over which the use of CPU and network is measured.",
)
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@pass_settings
def command(settings: Settings, seconds: float, form: str) -> None:
    """Show what the host has, what of it is promised and what used.

    A container promises its own limits, running or not, a tenant its own in place of those of its containers. RATIO is how
    many times what there is has been promised, ALLOWED how many times it may be, LEFT what can still be promised, and
    UNCAPPED the number of containers and volumes that could take all. docs/plans.md tells how promises are judged.

    \b
    Example:
      pycontainer capacity
    """
    with settings.client() as host:
        found = host.capacity(seconds)
    if form == "json":
        output.show_json(found)
    else:
        output.table(_HEADERS, [_row(row) for row in found["resources"]])
        if not found["problem"]:
            click.echo(f"admission: {found['admission']}")
    if found["problem"]:
        show_error(found["problem"])
    if found["uncounted"]:
        show_error(
            f"{found['uncounted']} records are damaged, and what they promise is not counted", "pycontainer doctor"
        )


def _row(row: "Promise") -> tuple[str, ...]:
    there, promised = row["physical"], row["promised"]
    left = None if there is None or row["ratio"] is None else max(0, int(there * row["ratio"]) - promised)
    return (
        row["resource"],
        _amount(there, row["unit"], "unknown"),
        _amount(promised, row["unit"], "-"),
        _amount(row["used"], row["unit"], "-"),
        "-" if not there else f"{promised / there:.2f}",
        "-" if row["ratio"] is None else f"{row['ratio']:g}",
        _amount(left, row["unit"], "-"),
        str(row["uncapped"]),
    )


def _amount(value: int | None, unit: str, none: str) -> str:
    if value is None:
        return none
    if unit == "bytes":
        return format_bytes_short(value)
    if unit == "bits/s":
        return format_bit_rate(value if value < 1000 else value // 1000 * 1000)
    return format_cpus(value // 1000 * 1000) if unit == "usec" else str(value)
