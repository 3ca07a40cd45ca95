"""`pycontainer kill`: send a signal."""

import click

from pycontainer.cli.context import Settings, containers_argument, pass_settings
from pycontainer.cli.report import for_each


@click.command
@containers_argument
@click.option("-s", "--signal", metavar="SIGNAL", default="KILL", show_default=True, help="Name or number.")
@pass_settings
def command(settings: Settings, containers: tuple[str, ...], signal: str) -> None:
    """Send a signal to the first process of containers.

    \b
    Example:
      pycontainer kill -s HUP web
    """
    with settings.client() as host:
        for_each(containers, lambda name: host.container(name).kill(signal))
