"""`pycontainer umount`: the end of `pycontainer mount`."""

import click

from pycontainer.cli.context import Settings, containers_argument, pass_settings
from pycontainer.cli.report import for_each


@click.command
@containers_argument
@pass_settings
def command(settings: Settings, containers: tuple[str, ...]) -> None:
    """Take down what 'pycontainer mount' has mounted.

    \b
    Example:
      pycontainer umount web
    """
    with settings.client() as host:
        for_each(containers, lambda name: host.container(name).umount())
