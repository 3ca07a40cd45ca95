"""`pycontainer stop`: ask containers to end, then make them."""

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
    """Ask containers to end, and kill what does not in time.

    \b
    Example:
      pycontainer stop -t 30 web
    """
    with settings.client() as host:
        for_each(containers, lambda name: host.container(name).stop(seconds), at_once=True)
