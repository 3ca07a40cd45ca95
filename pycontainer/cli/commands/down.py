"""`pycontainer down`: remove the tenants and sites of a file."""

import click

from pycontainer.cli.context import Settings, pass_settings
from pycontainer.cli.hostingwords import Report, confirm_removal, file_option, load, work_options
from pycontainer.cli.report import printable


@click.command
@file_option
@click.option("--volumes", is_flag=True, help="Also the named volumes: the data of the sites.")
@work_options
@pass_settings
def command(settings: Settings, file: str, volumes: bool, parallel: int, yes: bool) -> int | None:
    """Remove all sites of a file, and its tenants.

    Tenants that have other containers stay. Named volumes stay without --volumes: the next up finds the data there.

    \b
    Examples:
      pycontainer down
      pycontainer down -f examples/hosting/hosting.yaml --yes
    """
    with settings.client() as host:
        hosting = load(file, host, check_certificates=False)  # an expired one hinders nobody from leaving
        changes = hosting.what_goes()
        data = {f"volume {name}": f"- volume {name}" for name in hosting.volumes()} if volumes else {}
        consequence = "All that is in them is lost." if data else "What they wrote outside of named volumes goes, too."
        confirm_removal([*changes.removed, *data], consequence, yes=yes)
        report = Report(changes.described())
        outcome = hosting.down(volumes=volumes, parallel=parallel, on_progress=report)
        for subject in outcome.done:
            if subject in data:
                click.echo(printable(data[subject]))
        code = report.end(outcome)
        if not changes and not data and not code:
            click.echo(f"nothing to do: nothing of '{printable(file)}' is there")
        return code
