"""`pycontainer diff`: what a container has changed of its image."""

import click

from pycontainer.cli import output
from pycontainer.cli.context import Settings, container_argument, pass_settings
from pycontainer.cli.report import printable


@click.command
@container_argument
@click.option("--format", "form", type=click.Choice(["lines", "json"]), default="lines", show_default=True)
@pass_settings
def command(settings: Settings, container: str, form: str) -> None:
    """Show what a container has changed of its image.

    A for what it added, C for what it changed, D for what it deleted.

    \b
    Example:
      pycontainer diff web
    """
    with settings.client() as host:
        found = host.container(container).diff()
    if form == "json":
        output.show_json(found)
    else:
        for change in found:
            click.echo(f"{change['kind']} {printable(change['path'])}")
