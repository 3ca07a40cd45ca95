"""`pycontainer version`: which versions are at work."""

import click

import pycontainer
from pycontainer.cli import output
from pycontainer.cli.context import Settings, pass_settings
from pycontainer.errors import NotPermitted


@click.command
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@pass_settings
def command(settings: Settings, form: str) -> None:
    """Show the versions of this command and the supervisor.

    \b
    Example:
      pycontainer version
    """
    try:
        with settings.client() as host:
            versions = host.version()
    except NotPermitted:  # who is not root may ask for ours
        versions = {"client": pycontainer.__version__, "supervisor": None}
    if form == "json":
        output.show_json(versions)
    else:
        click.echo(f"pycontainer {versions['client']}")
        click.echo(f"supervisor {versions['supervisor'] or 'not running'}")
