"""`pycontainer events`: what happens, as it happens."""

import json
import time

import click

from pycontainer.cli.context import Settings, pass_settings
from pycontainer.cli.report import printable


@click.command
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="json: one object per line.",
)
@pass_settings
def command(settings: Settings, form: str) -> None:
    """Show what happens to the containers, as it happens.

    \b
    Example:
      pycontainer events --format json
    """
    with settings.client() as host:
        for event in host.events():
            if form == "json":
                click.echo(json.dumps(event))
                continue
            when = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(event.get("time", 0.0)))
            rest = [f"{key}={value}" for key, value in event.items() if key not in ("time", "type")]
            click.echo(printable(" ".join([when, str(event.get("type", "")), *rest])))
