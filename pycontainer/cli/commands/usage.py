"""`pycontainer usage`: what was used in a month, for bills."""

import csv
import sys
from typing import Any

import click

from pycontainer.cli import output
from pycontainer.cli.context import Settings, pass_settings
from pycontainer.cli.report import printable
from pycontainer.units import format_bytes_short

_SUMS = (
    "run_hours", "cpu_seconds", "memory_byte_hours", "disk_byte_hours", "io_read_bytes", "io_write_bytes", "net_in_bytes",
    "net_out_bytes",
)  # fmt: skip
_HEADERS = ("RUN", "CPU", "MEMORY", "DISK", "READ", "WRITTEN", "NET IN", "NET OUT")


@click.command
@click.option("--tenant", metavar="NAME", help="Its instances, one by one; without it, the sums of all tenants.")
@click.option("--month", metavar="YYYY-MM", help="Which month (UTC); left out, the present one so far.")
@click.option("--by", type=click.Choice(["tenant", "instance"]), help="A row for each tenant, or for each instance.")
@click.option("--format", "form", type=click.Choice(["table", "csv", "json"]), default="table", show_default=True)
@pass_settings
def command(settings: Settings, tenant: str | None, month: str | None, by: str | None, form: str) -> None:
    """Show what was used in a month.

    CPU is hours of one CPU; MEMORY and DISK are what was held times how long (GiBh: GiB times hours). An instance keeps its
    account when it is made anew under its name, and after it is removed. The row without a tenant is that of containers that
    have none. CSV and JSON have exact numbers: hours, seconds and bytes.

    \b
    Example:
      pycontainer usage --month 2026-11 --format csv
    """
    with settings.client() as host:
        found: Any = host.usage(tenant=tenant, month=month)
    if form == "json":
        output.show_json(found)
        return
    kind = by or ("instance" if tenant else "tenant")
    rows = found["instances" if kind == "instance" else "tenants"]
    names = ("tenant", "name") if kind == "instance" else ("tenant", "instances")
    if form == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(("month", *names, *_SUMS))
        writer.writerows((found["month"], *(printable(str(row[name])) for name in names), *_exact(row)) for row in rows)
        return
    shown = [(*(str(row[name]) or "-" for name in names), *_short(row)) for row in rows]
    if kind == "instance" and tenant:
        shown += [("total", "", *_short(row)) for row in found["tenants"]]
    output.table((*(name.upper() for name in names), *_HEADERS), shown)


def _exact(row: Any) -> list[str]:
    return [format(row[key], ".6f").rstrip("0").rstrip(".") if isinstance(row[key], float) else str(row[key])
            for key in _SUMS]  # fmt: skip


def _short(row: Any) -> tuple[str, ...]:
    return (
        f"{row['run_hours']:.1f}h",
        f"{row['cpu_seconds'] / 3600:.2f}h",
        *(f"{format_bytes_short(round(row[key]))}h" for key in ("memory_byte_hours", "disk_byte_hours")),
        *(format_bytes_short(row[key]) for key in _SUMS[4:]),
    )
