"""`pycontainer volume`: directories that outlive the containers that mount them."""

import os
from typing import TYPE_CHECKING

import click

from pycontainer.cli import output
from pycontainer.cli.context import Settings, complete_volumes, pass_settings
from pycontainer.cli.group import Group
from pycontainer.cli.report import for_each, printable, tell
from pycontainer.cli.sources import opened
from pycontainer.errors import InvalidInput
from pycontainer.units import format_bytes_short

if TYPE_CHECKING:
    from pycontainer.client.types import VolumeInfo

_SIZE_HELP = "Cap on the bytes in it, like 1G."
_INODES_HELP = "Cap on the files in it."


@click.group(cls=Group)
def command() -> None:
    """Create, list, inspect, resize, back up, restore and remove volumes."""


@command.command
@click.argument("name", required=False, default="")
@click.option("--size", default="", metavar="SIZE", help=_SIZE_HELP)
@click.option("--inodes", default="", metavar="NUMBER", help=_INODES_HELP)
@click.option("-l", "--label", multiple=True, metavar="KEY=VALUE", help="Label. Repeatable.")
@pass_settings
def create(settings: Settings, name: str, size: str, inodes: str, label: tuple[str, ...]) -> None:
    """Create a volume and print its name.

    Without NAME, an anonymous one.

    \b
    Example:
      pycontainer volume create --size 1G db
    """
    labels = dict(text.partition("=")[::2] for text in label)
    with settings.client() as host:
        click.echo(host.create_volume(name, size=size, inodes=inodes, labels=labels).name)


@command.command("list")
@click.option("-q", "--quiet", is_flag=True, help="Only the names.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@pass_settings
def list_(settings: Settings, quiet: bool, form: str) -> None:
    """List the volumes, what they hold and what caps them.

    \b
    Example:
      pycontainer volume list
    """
    with settings.client() as host:
        volumes = host.list_volumes()
    if quiet:
        for volume in volumes:
            click.echo(volume["name"])
    elif form == "json":
        output.show_json(volumes)
    else:
        rows = [
            (
                volume["name"] + (" (anonymous)" if volume["anonymous"] else ""),
                _used(volume),
                "-" if volume["size_bytes"] is None else format_bytes_short(volume["size_bytes"]),
                volume["backend"],
                ", ".join(volume["containers"]) or "-",
            )
            for volume in volumes
        ]
        output.table(("NAME", "USED", "SIZE", "BACKEND", "CONTAINERS"), rows)


@command.command
@click.argument("volumes", metavar="VOLUME...", nargs=-1, required=True, shell_complete=complete_volumes)
@output.inspected
@pass_settings
def inspect(settings: Settings, volumes: tuple[str, ...]) -> None:
    """Show everything there is to know about volumes, as a JSON list.

    \b
    Example:
      pycontainer volume inspect db
    """
    with settings.client() as host:
        output.show_each(volumes, lambda name: host.volume(name).info)


@command.command("set")
@click.argument("volume", shell_complete=complete_volumes)
@click.option("--size", default="", metavar="SIZE", help=_SIZE_HELP + " Or 'unlimited'.")
@click.option("--inodes", default="", metavar="NUMBER", help=_INODES_HELP + " Or 'unlimited'.")
@pass_settings
def set_(settings: Settings, volume: str, size: str, inodes: str) -> None:
    """Change what caps a volume, also while containers use it.

    \b
    Example:
      pycontainer volume set db --size 2G
    """
    if not size and not inodes:
        raise InvalidInput("nothing to change", hint="give --size or --inodes")
    with settings.client() as host:
        host.volume(volume).set(size=size, inodes=inodes)
        click.echo(volume)


@command.command
@click.argument("volumes", metavar="VOLUME...", nargs=-1, required=True, shell_complete=complete_volumes)
@click.option("-f", "--force", is_flag=True, help="One that is not there is no error.")
@pass_settings
def rm(settings: Settings, volumes: tuple[str, ...], force: bool) -> None:
    """Delete volumes that no container has, with all that is in them.

    \b
    Example:
      pycontainer volume rm db
    """
    with settings.client() as host:
        for_each(volumes, lambda name: host.remove_volume(name, force=force))


@command.command
@click.option("-a", "--all", "with_named", is_flag=True, help="Also those with a name.")
@click.option("-y", "--yes", "-f", "--force", "yes", is_flag=True, help="Do not ask.")
@pass_settings
def prune(settings: Settings, with_named: bool, yes: bool) -> None:
    """Delete anonymous volumes that no container has, or all such.

    \b
    Example:
      pycontainer volume prune --yes
    """
    what = "all volumes" if with_named else "all anonymous volumes"
    output.confirm(f"This deletes {what} that no container has, with what is in them.", yes=yes)
    with settings.client() as host:
        pruned = host.prune_volumes(all=with_named)
    for name in pruned["removed"]:
        click.echo(name)
    click.echo(f"freed: {format_bytes_short(pruned['freed_bytes'])}")


@command.command
@click.argument("volume", shell_complete=complete_volumes)
@click.option("-o", "--output", "target", required=True, metavar="FILE|-", help="Where to; - is standard output.")
@click.option("--pause", is_flag=True, help="Have its containers stand still meanwhile.")
@click.option("--compress", type=click.Choice(["zstd", "none"]), default="zstd", show_default=True)
@pass_settings
def backup(settings: Settings, volume: str, target: str, pause: bool, compress: str) -> None:
    """Write what a volume holds to a tar archive.

    The same content gives the same bytes.

    \b
    Example:
      pycontainer volume backup db --pause -o db.tar.zst
    """
    if target == "-" and os.isatty(1):
        raise InvalidInput("a backup is not for a terminal", hint="send it to a file, or give one: -o FILE")
    with settings.client() as host:
        lines = host.volume(volume).backup(1 if target == "-" else target, pause=pause, compress=compress)  # type: ignore[arg-type]
    for line in lines:
        tell(f"pycontainer: {printable(line)}")


@command.command
@click.argument("volume")
@click.argument("source", metavar="FILE|-")
@click.option("--size", default="", metavar="SIZE", help=_SIZE_HELP)
@click.option("--inodes", default="", metavar="NUMBER", help=_INODES_HELP)
@pass_settings
def restore(settings: Settings, volume: str, source: str, size: str, inodes: str) -> None:
    """Unpack a backup into a volume.

    The volume is a new one, or empty and not in use.

    \b
    Example:
      pycontainer volume restore db2 db.tar.zst --size 1G
    """
    place = opened(source)
    with settings.client() as host:
        click.echo(host.restore_volume(volume, place, size=size, inodes=inodes).name)


def _used(volume: "VolumeInfo") -> str:
    return ("" if volume["used_is_exact"] else "more than ") + format_bytes_short(volume["used_bytes"])
