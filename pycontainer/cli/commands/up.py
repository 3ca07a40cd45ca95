"""`pycontainer up`: make tenants and sites what a file says."""

import click

from pycontainer.cli.context import Settings, pass_settings
from pycontainer.cli.hostingwords import Report, confirm_removal, file_option, load, work_options
from pycontainer.cli.report import printable, show_warnings


@click.command
@file_option
@click.option("--dry-run", is_flag=True, help="Only show what would be done.")
@work_options
@pass_settings
def command(settings: Settings, file: str, dry_run: bool, parallel: int, yes: bool) -> int | None:
    """Make tenants and sites what a file says.

    What is as it should be is not touched, so it can be done again at any time, also after it was cut off. What is wrong with
    the file is told before anything changes. Sites that the file does not name any more are removed, after a question; named
    volumes stay. A site that fails does not hold up the others: it is named at the end, and the exit code is 1.

    \b
    Examples:
      pycontainer up --dry-run
      pycontainer up -f examples/hosting/hosting.yaml
    """
    with settings.client() as host:
        hosting = load(file, host)
        changes = hosting.diff()
        show_warnings(hosting.warnings)
        if dry_run:
            for line in changes.lines():
                click.echo(printable(line))
        else:
            confirm_removal(changes.removed, "What they wrote outside of named volumes goes, too.", yes=yes)
            report = Report(changes.described())
            if code := report.end(hosting.up(remove=True, parallel=parallel, on_progress=report)):
                return code
        if not changes:
            count = len(hosting.description.sites)
            click.echo(f"nothing to do: {count} site{'' if count == 1 else 's'} as '{printable(file)}' says")
    return None
