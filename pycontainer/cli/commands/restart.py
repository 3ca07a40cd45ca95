"""`pycontainer restart`: stop and start containers."""

import click

from pycontainer.cli.context import Settings, containers_argument, pass_settings
from pycontainer.cli.numbers import Seconds
from pycontainer.cli.report import for_each


@click.command
@containers_argument
@click.option(
    "-t",
    "--time",
    "--timeout",
    "seconds",
    metavar="SECONDS",
    type=Seconds(min=0),
    help="Wait this long before killing (the container's own, else 10).",
)
@pass_settings
def command(settings: Settings, containers: tuple[str, ...], seconds: float | None) -> None:
    """Stop containers, as 'stop' does, and start them again.

    \b
    Example:
      pycontainer restart web
    """
    with settings.client() as host:
        for_each(containers, lambda name: host.container(name).restart(seconds), at_once=True)
