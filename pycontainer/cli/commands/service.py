"""`pycontainer service`: the supervisor itself."""

import click

from pycontainer.cli.context import Settings, pass_settings


@click.group
def command() -> None:
    """Control the supervisor.

    It starts by itself when it is needed."""


@command.command
@pass_settings
def stop(settings: Settings) -> None:
    """End the supervisor; containers go on.

    The next command starts it again.

    \b
    Example:
      pycontainer service stop
    """
    with settings.client() as host:
        click.echo("supervisor stopped" if host.shutdown() else "supervisor was not running")
