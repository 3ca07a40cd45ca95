"""`pycontainer tenant`: pools of resources that containers share."""

from typing import Any

import click

from pycontainer.cli import output
from pycontainer.cli.context import Settings, pass_settings
from pycontainer.cli.group import Group
from pycontainer.cli.options import changes, pool_options, some_changes
from pycontainer.cli.report import for_each, show_warnings
from pycontainer.units import format_bit_rate, format_bytes_short, format_cpus


@click.group(cls=Group)
def command() -> None:
    """Create, change, list, inspect and remove tenants.

    The containers of a tenant borrow from each other beneath its limits, and together never exceed them.
    """


@command.command
@click.argument("name")
@pool_options
@click.option("--best-effort", is_flag=True, help="Also with limits that this host cannot hold, and warn.")
@pass_settings
def create(settings: Settings, /, name: str, **options: Any) -> None:
    """Create a tenant and print its name.

    \b
    Example:
      pycontainer tenant create acme --memory 2G --cpus 2 --net-out 100mbit --pids-limit 2000
    """
    with settings.client() as host:
        tenant = host.create_tenant(name, **changes(options))
        show_warnings(tenant.warnings)
        click.echo(tenant.name)


@command.command
@click.argument("tenants", metavar="TENANT...", nargs=-1, required=True)
@pool_options
@click.option("--transient", is_flag=True, help="Until its last container ends; the record keeps the old limits.")
@click.option("--force", is_flag=True, help="Also below what is in use: the kernel takes it back, and may kill for it.")
@pass_settings
def set(settings: Settings, /, tenants: tuple[str, ...], transient: bool, force: bool, **options: Any) -> None:
    """Change what the containers of tenants may use together.

    \b
    Example:
      pycontainer tenant set acme --memory 4G
    """
    wanted = some_changes(options)
    with settings.client() as host:

        def change(name: str) -> None:
            show_warnings(host.tenant(name).set(transient=transient, force=force, **wanted)["warnings"])

        for_each(tenants, change)


@command.command("list")
@click.option("-q", "--quiet", is_flag=True, help="Only the names.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@pass_settings
def list_(settings: Settings, quiet: bool, form: str) -> None:
    """List the tenants.

    \b
    Example:
      pycontainer tenant list
    """
    with settings.client() as host:
        tenants = host.list_tenants()
    if quiet:
        for tenant in tenants:
            click.echo(tenant["name"])
    elif form == "json":
        output.show_json(tenants)
    else:
        headers = ("NAME", "MEMORY", "CPUS", "PIDS", "NET IN", "NET OUT", "TRANSFER", "CONTAINERS", "RUNNING")
        rows = [
            (
                tenant["name"],
                *(_limits(tenant["limits"]) if not tenant["damaged"] else ("damaged", "-", "-", "-", "-")),
                _transfer(tenant["transfer"]),
                str(len(tenant["containers"])),
                str(tenant["running"]),
            )
            for tenant in tenants
        ]
        output.table(headers, rows)
        output.tell_of_damage(tenants)


@command.command
@click.argument("tenants", metavar="TENANT...", nargs=-1, required=True)
@output.inspected
@pass_settings
def inspect(settings: Settings, tenants: tuple[str, ...]) -> None:
    """Show everything there is to know about tenants, as a JSON list.

    \b
    Example:
      pycontainer tenant inspect acme
    """
    with settings.client() as host:
        output.show_each(tenants, lambda name: host.tenant(name).info)


@command.command
@click.argument("tenants", metavar="TENANT...", nargs=-1, required=True)
@pass_settings
def rm(settings: Settings, tenants: tuple[str, ...]) -> None:
    """Delete tenants that have no containers.

    \b
    Example:
      pycontainer tenant rm acme
    """
    with settings.client() as host:
        for_each(tenants, lambda name: host.tenant(name).remove())


def _limits(limits: dict[str, Any]) -> tuple[str, ...]:
    formats = (
        ("memory_bytes", format_bytes_short),
        ("cpu_quota_usec", format_cpus),
        ("pids_max", str),
        ("net_in_bits", format_bit_rate),
        ("net_out_bits", format_bit_rate),
    )
    return tuple(show(limits[key]) if key in limits else "unlimited" for key, show in formats)


def _transfer(transfer: Any) -> str:
    """Return what was used of what may be, and what has followed: "1.2TiB / 1TiB slow:1mbit"."""
    if not transfer:
        return "-"
    allowed = transfer["allowance_bytes"]
    of = format_bytes_short(allowed) if allowed else "unlimited"
    return f"{format_bytes_short(transfer['used_bytes'])} / {of} {transfer['measure']}".rstrip()
