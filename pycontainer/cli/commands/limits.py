"""`pycontainer limits`: how near containers are to their caps."""

from typing import TYPE_CHECKING

import click

from pycontainer.cli import output
from pycontainer.cli.context import Settings, complete_containers, pass_settings
from pycontainer.units import format_bit_rate, format_bytes_short, format_cpus

if TYPE_CHECKING:
    from pycontainer.client.types import Limit

_HEADERS = ("NAME", "RESOURCE", "HELD", "PEAK", "LIMIT", "FAILED", "PRESSURE")
_NEAR = 0.9  # of the limit
_HIGH_PRESSURE_PERCENT = 10
_SETS = ("cpus", "nodes")  # which a container may use all of, always


@click.command
@click.argument("containers", metavar="[CONTAINER...]", nargs=-1, shell_complete=complete_containers)
@click.option("--tenant", "tenants", metavar="NAME", multiple=True, help="A tenant's containers together. Repeatable.")
@click.option("-q", "--quiet", is_flag=True, help="Only what is near its limit, has failed, or makes tasks wait.")
@click.option("-r", "--recent", is_flag=True, help="Count failures since the last look with -r.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@pass_settings
def command(
    settings: Settings, containers: tuple[str, ...], tenants: tuple[str, ...], quiet: bool, recent: bool, form: str
) -> None:
    """Show how near running containers are to their limits.

    FAILED counts allocations refused (memory), periods throttled (cpu), forks refused (pids) and packets dropped (net).
    PRESSURE is the share of the last ten seconds in which a task waited; it needs cgroup v2.

    \b
    Example:
      pycontainer limits -q
    """
    with settings.client() as host:
        found = host.limits(containers, tenants=tenants, recent=recent)
    limits = [limit for limit in found if not quiet or _is_tight(limit)]
    if form == "json":
        output.show_json(limits)
    else:
        output.table(_HEADERS, [_row(limit) for limit in limits])


def _is_tight(limit: "Limit") -> bool:
    held, cap, soft = limit["held"], limit["limit"], limit["soft_limit"]
    near = held is not None and cap is not None and limit["unit"] not in _SETS and held >= cap * _NEAR
    over = held is not None and soft is not None and held >= soft
    return near or over or limit["fail_count"] > 0 or (limit["pressure"] or 0) >= _HIGH_PRESSURE_PERCENT


def _row(limit: "Limit") -> tuple[str, ...]:
    return (
        limit["name"],
        limit["resource"],
        _amount(limit["held"], limit["unit"], "-"),
        _amount(limit["peak"], limit["unit"], "-"),
        _amount(limit["limit"], limit["unit"], "unlimited"),
        str(limit["fail_count"]),
        "-" if limit["pressure"] is None else f"{limit['pressure']:.2f}%",
    )


def _amount(value: int | None, unit: str, none: str) -> str:
    if value is None:
        return none
    if unit in ("bytes", "bytes/s"):
        return format_bytes_short(value) + unit.removeprefix("bytes")
    if unit == "bits/s":
        return format_bit_rate(value)
    return f"{format_cpus(value)} CPUs" if unit == "usec" else f"{value}"
