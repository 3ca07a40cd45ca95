"""`pycontainer rename`: give a container another name."""

import click

from pycontainer.cli.context import Settings, container_argument, pass_settings


@click.command
@container_argument
@click.argument("name")
@pass_settings
def command(settings: Settings, container: str, name: str) -> None:
    """Give a container another name.

    \b
    Example:
      pycontainer rename web old-web
    """
    with settings.client() as host:
        host.container(container).rename(name)
