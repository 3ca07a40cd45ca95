"""`pycontainer top`: the processes of a container."""

import click

from pycontainer.cli import output
from pycontainer.cli.context import Settings, container_argument, pass_settings
from pycontainer.units import format_bytes_short


@click.command
@container_argument
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@pass_settings
def command(settings: Settings, container: str, form: str) -> None:
    """Show the processes of a container.

    PID is the number on the host, INSIDE the one that the container sees.

    \b
    Example:
      pycontainer top web
    """
    with settings.client() as host:
        processes = host.container(container).top()
    if form == "json":
        output.show_json(processes)
        return
    rows = [
        (
            str(process["pid"]),
            str(process["ns_pid"]),
            process["user"],
            f"{process['cpu_seconds']:.2f}",
            format_bytes_short(process["rss_bytes"]),
            process["command"],
        )
        for process in processes
    ]
    output.table(("PID", "INSIDE", "USER", "CPU SECONDS", "MEMORY", "COMMAND"), rows)
