"""`pycontainer rm`: delete containers."""

import click

from pycontainer.cli.context import Settings, containers_argument, pass_settings
from pycontainer.cli.report import for_each


@click.command
@containers_argument
@click.option("-f", "--force", is_flag=True, help="Kill it first if it runs.")
@click.option("-v", "--volumes", is_flag=True, help="Also its anonymous volumes.")
@pass_settings
def command(settings: Settings, containers: tuple[str, ...], force: bool, volumes: bool) -> None:
    """Delete containers and what they wrote.

    Immutable and append-only files go too. What cannot go, such as what is mounted among the files, is named; rm with
    the container's id then tries again.

    \b
    Example:
      pycontainer rm -f web
    """
    with settings.client() as host:
        for_each(containers, lambda name: host.remove(name, force=force, volumes=volumes))
