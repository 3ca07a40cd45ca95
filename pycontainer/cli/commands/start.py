"""`pycontainer start`: start containers that were created or have ended."""

import click

from pycontainer.cli.context import Settings, containers_argument, pass_settings
from pycontainer.cli.report import for_each, workload_codes
from pycontainer.errors import InvalidInput


@click.command
@containers_argument
@click.option("-a", "--attach", is_flag=True, help="Stay, show the output, and end with its exit code.")
@click.option("-i", "--interactive", is_flag=True, help="As -a, and pass standard input on.")
@click.option(
    "--detach-keys",
    metavar="KEYS",
    default="ctrl-p,ctrl-q",
    show_default=True,
    help="Keys that leave a terminal session.",
)
@pass_settings
def command(
    settings: Settings, containers: tuple[str, ...], attach: bool, interactive: bool, detach_keys: str
) -> int | None:
    """Start containers that were created or have ended.

    \b
    Example:
      pycontainer start web db
    """
    with settings.client() as host:
        if not (attach or interactive):
            for_each(containers, lambda name: host.container(name).start())
            return None
        if len(containers) > 1:
            raise InvalidInput(
                f"cannot attach to {len(containers)} containers at once", hint="name one", field="container"
            )
        with workload_codes():
            return host.container(containers[0]).start_attached(interactive=interactive, detach_keys=detach_keys)
