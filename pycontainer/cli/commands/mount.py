"""`pycontainer mount`: look at the root file system of a stopped container."""

import click

from pycontainer.cli.context import Settings, container_argument, pass_settings


@click.command
@container_argument
@pass_settings
def command(settings: Settings, container: str) -> None:
    """Mount the root of a stopped container, and print where.

    User and group ids are those inside; volumes are not mounted. It cannot be started until 'pycontainer umount'.

    \b
    Example:
      pycontainer mount web
    """
    with settings.client() as host:
        click.echo(host.container(container).mount())
