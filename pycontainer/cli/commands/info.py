"""`pycontainer info`: facts about this host and what is on it."""

from typing import Any

import click

from pycontainer.cli import output
from pycontainer.cli.context import Settings, pass_settings
from pycontainer.cli.report import printable
from pycontainer.units import format_bytes_short


@click.command
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@pass_settings
def command(settings: Settings, form: str) -> None:
    """Show facts about this host and what is on it.

    \b
    Example:
      pycontainer info
    """
    with settings.client() as host:
        facts = host.info()
    if form == "json":
        output.show_json(facts)
    else:
        for line in lines(facts):
            click.echo(printable(line))


def lines(facts: dict[str, Any], indent: str = "") -> list[str]:
    """Return nested facts as indented `key: value` lines."""
    found = []
    for key, value in facts.items():
        label = key.replace("_", " ")
        if isinstance(value, dict):
            found += [f"{indent}{label}:", *lines(value, indent + "  ")]
        elif isinstance(value, list):
            found.append(f"{indent}{label}: {', '.join(map(str, value)) or '-'}")
        elif key.endswith("_bytes") and isinstance(value, int):
            found.append(f"{indent}{label.removesuffix(' bytes')}: {format_bytes_short(value)}")
        else:
            shown = {None: "-", True: "yes", False: "no"}[value] if value is None or isinstance(value, bool) else value
            found.append(f"{indent}{label}: {shown}")
    return found
