"""`pycontainer inspect`: everything there is to know about containers."""

import click

from pycontainer.cli import output
from pycontainer.cli.context import Settings, containers_argument, pass_settings


@click.command
@containers_argument
@output.inspected
@pass_settings
def command(settings: Settings, containers: tuple[str, ...]) -> None:
    """Show all there is to know about containers, as JSON.

    \b
    Example:
      pycontainer inspect web
    """
    with settings.client() as host:
        output.show_each(containers, lambda name: host.container(name).inspect())
