"""`pycontainer snapshot`: what containers' files were at certain moments."""

import click

from pycontainer.cli import output
from pycontainer.cli.context import Settings, container_argument, pass_settings
from pycontainer.cli.group import Group


@click.group(cls=Group)
def command() -> None:
    """Make, list, restore and remove snapshots.

    A snapshot holds all files that a container has written, not its volumes, memory or settings. It goes with the container.
    """


@command.command
@container_argument
@click.argument("name", required=False, default="")
@pass_settings
def create(settings: Settings, container: str, name: str) -> None:
    """Make a snapshot and print its name.

    At once when the container is stopped. One that runs stands still while what it has written is copied; on a btrfs with
    quotas nothing is copied.

    \b
    Example:
      pycontainer snapshot create web before-upgrade
    """
    with settings.client() as host:
        click.echo(host.container(container).snapshots.create(name)["name"])


@command.command("list")
@container_argument
@click.option("-q", "--quiet", is_flag=True, help="Only the names.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@pass_settings
def list_(settings: Settings, container: str, quiet: bool, form: str) -> None:
    """List the snapshots of a container, oldest first.

    \b
    Example:
      pycontainer snapshot list web
    """
    with settings.client() as host:
        found = host.container(container).snapshots.list()
    if quiet:
        for snapshot in found:
            click.echo(snapshot["name"])
    elif form == "json":
        output.show_json(found)
    else:
        rows = [(one["name"], output.ago(one["created"]), "yes" if one["automatic"] else "no") for one in found]
        output.table(("NAME", "CREATED", "AUTOMATIC"), rows)


@command.command
@container_argument
@click.argument("name")
@click.option("-f", "--force", is_flag=True, help="Stop it first if it runs.")
@pass_settings
def restore(settings: Settings, container: str, name: str, force: bool) -> None:
    """Put a stopped container back to where it was.

    What it has written since is lost; snapshots stay, the younger ones too.

    \b
    Example:
      pycontainer snapshot restore --force web before-upgrade
    """
    with settings.client() as host:
        host.container(container).snapshots.restore(name, force=force)


@command.command
@container_argument
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@pass_settings
def rm(settings: Settings, container: str, names: tuple[str, ...]) -> None:
    """Delete snapshots.

    \b
    Example:
      pycontainer snapshot rm web before-upgrade
    """
    with settings.client() as host:
        host.container(container).snapshots.remove(names)
