"""`pycontainer wait`: wait for the end of containers."""

import click

from pycontainer.cli.context import Settings, containers_argument, pass_settings


@click.command
@containers_argument
@pass_settings
def command(settings: Settings, containers: tuple[str, ...]) -> None:
    """Wait for containers to end and print their exit codes.

    \b
    Example:
      pycontainer wait job
    """
    with settings.client() as host:
        found = [host.container(name) for name in containers]  # a wrong name is told before the first wait
        for container in found:
            code = container.wait()
            click.echo("unknown" if code is None else code)
