"""`pycontainer system`: what everything takes on disk, and giving back what nobody uses."""

from typing import Any

import click

from pycontainer.cli import output
from pycontainer.cli.context import Settings, pass_settings
from pycontainer.cli.group import Group
from pycontainer.units import format_bytes_short


@click.group(cls=Group)
def command() -> None:
    """Show what takes disk space, and give back what nobody uses."""


@command.command
@click.option("-v", "--verbose", is_flag=True, help="Each image, container and volume.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@pass_settings
def df(settings: Settings, verbose: bool, form: str) -> None:
    """Show what images, containers, volumes and logs take on disk.

    What no quota counts is walked for up to half a minute; "more than" says that this was not enough.

    \b
    Example:
      pycontainer system df -v
    """
    with settings.client() as host:
        usage = host.disk_usage()
    if form == "json":
        output.show_json(usage)
        return
    rows = [
        (
            row["type"],
            str(row["count"]),
            str(row["active"]),
            _size(row["size_bytes"], row["is_exact"]),
            _reclaimable(row["reclaimable_bytes"], row["size_bytes"]),
        )
        for row in usage["summary"]
    ]
    output.table(("TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"), rows)
    if verbose:
        _show_each(usage)


@command.command
@click.option("-a", "--all", "with_named", is_flag=True, help="Also images with a name that no container is made of.")
@click.option("--volumes", is_flag=True, help="Also anonymous volumes that no container has.")
@click.option("-y", "--yes", "-f", "--force", "yes", is_flag=True, help="Do not ask.")
@pass_settings
def prune(settings: Settings, with_named: bool, volumes: bool, yes: bool) -> None:
    """Delete stopped containers, unused images and leftovers.

    Leftovers are what crashes left, and pulls that were interrupted. Without --all, images that lost their name go alone.
    Volumes with a name are never deleted here, and networks neither.

    \b
    Example:
      pycontainer system prune --yes
    """
    what = [
        "all stopped containers",
        "all images that no container is made of" if with_named else "images without a name",
    ]
    what += ["all anonymous volumes that no container has"] if volumes else []
    output.confirm(f"This deletes {', '.join(what)}, interrupted pulls, and what crashes left.", yes=yes)
    with settings.client() as host:
        pruned = host.prune(all=with_named, volumes=volumes)
    for kind in ("containers", "images", "volumes"):
        for name in pruned[kind]:
            click.echo(f"{kind.removesuffix('s')} {name}")
    for line in pruned["leftovers"]:
        click.echo(line)
    click.echo(f"freed: {format_bytes_short(pruned['freed_bytes'])}")


def _show_each(usage: dict[str, Any]) -> None:
    images = [
        (
            image["name"] or "-",
            image["id"].removeprefix("sha256:")[:12],
            format_bytes_short(image["size_bytes"]),
            format_bytes_short(image["shared_bytes"]),
            format_bytes_short(image["unique_bytes"]),
            str(len(image["containers"])),
        )
        for image in usage["images"]
    ]
    containers = [
        (
            container["name"],
            container["status"],
            _size(container["size_bytes"], container["is_exact"]),
            format_bytes_short(container["log_bytes"]),
        )
        for container in usage["containers"]
    ]
    volumes = [
        (volume["name"], _size(volume["used_bytes"], volume["used_is_exact"]), ", ".join(volume["containers"]) or "-")
        for volume in usage["volumes"]
    ]
    for headers, rows in (
        (("IMAGE", "ID", "SIZE", "SHARED", "UNIQUE", "CONTAINERS"), images),
        (("CONTAINER", "STATUS", "SIZE", "LOG"), containers),
        (("VOLUME", "SIZE", "CONTAINERS"), volumes),
    ):
        if rows:
            click.echo()
            output.table(headers, rows)


def _size(size_bytes: int, is_exact: bool) -> str:
    return ("" if is_exact else "more than ") + format_bytes_short(size_bytes)


def _reclaimable(size_bytes: int, of_bytes: int) -> str:
    percent = f" ({100 * size_bytes // of_bytes}%)" if of_bytes else ""
    return format_bytes_short(size_bytes) + percent
