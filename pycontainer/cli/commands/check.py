"""`pycontainer check`: what this host can do, and what is missing."""

import json
import sys

import click

from pycontainer.cli.context import Settings, pass_settings
from pycontainer.cli.report import in_world
from pycontainer.errors import Unsupported
from pycontainer.paths import HostPaths
from pycontainer.runtime.check import is_usable, run_checks
from pycontainer.runtime.finding import Check, Status


@click.command("check")
@click.option(
    "--format",
    "output_format",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="A list for people, or JSON for scripts.",
)
@pass_settings
def command(settings: Settings, output_format: str) -> None:
    """Show what this host can do, what is missing and how to get it.

    Everything is tried, not guessed from versions; nothing is changed. The last section says which walls between containers
    and the host stand here, and what it means where one does not. Run it as root. Ends with 0 if everything that
    containers need is there, and with 6 if not; what is merely useful does not count.
    """
    checks = run_checks(HostPaths(settings.root))
    if output_format == "json":
        click.echo(json.dumps({"usable": is_usable(checks), "checks": [check._asdict() for check in checks]}, indent=2))
    else:
        for line in table(checks):
            click.echo(line)
    if not is_usable(checks):
        sys.exit(Unsupported.exit_code)


def table(checks: list[Check]) -> list[str]:
    """Return the lines for people, coloured; click takes the colours off where no terminal is."""
    width = max(len(check.name) for check in checks)
    lines = []
    section = ""
    for check in checks:
        if check.section != section:
            section = check.section
            lines.append(click.style(f"{section}:", bold=True))
        status = click.style(f"{check.status:<8}", fg=_colour(check))
        lines.append(f"{status}  {check.name:<{width}}  {check.detail}".rstrip())
        if check.fix:
            lines.append(f"{'':8}  {'':{width}}  fix: {in_world(check.fix)}")
    refused = [check.name for check in checks if check.needed and check.status is not Status.OK]
    if refused:
        lines.append(click.style(f"containers cannot run here: {', '.join(refused)}", fg="red", bold=True))
    else:
        lines.append(click.style("containers can run here", fg="green", bold=True))
    return lines


def _colour(check: Check) -> str:
    if check.status is Status.OK:
        return "green"
    return "red" if check.needed else "yellow"
