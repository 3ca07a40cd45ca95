"""`pycontainer unpause`: thaw containers."""

import click

from pycontainer.cli.context import Settings, containers_argument, pass_settings
from pycontainer.cli.report import for_each


@click.command
@containers_argument
@pass_settings
def command(settings: Settings, containers: tuple[str, ...]) -> None:
    """Let the processes of paused containers go on.

    \b
    Example:
      pycontainer unpause web
    """
    with settings.client() as host:
        for_each(containers, lambda name: host.container(name).unpause())
