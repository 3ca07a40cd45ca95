"""`pycontainer enter`: a root shell in a container."""

import os

import click

from pycontainer.cli.context import Settings, container_argument, pass_settings
from pycontainer.cli.report import workload_codes

# A login shell if there is bash, else what every system has; `exec` leaves no shell waiting in between.
_SHELL = ("/bin/sh", "-c", "if command -v bash >/dev/null; then exec bash -l; else exec sh -l; fi")


@click.command
@container_argument
@click.option(
    "--detach-keys", metavar="KEYS", default="ctrl-p,ctrl-q", show_default=True, help="Keys that leave it running."
)
@pass_settings
def command(settings: Settings, container: str, detach_keys: str) -> int | None:
    """Open a root shell in a running container.

    It is bash if the container has one, else sh.

    \b
    Example:
      pycontainer enter web
    """
    with workload_codes(), settings.client() as host:
        return host.container(container).exec_attached(
            _SHELL,
            user="0",
            env={"TERM": os.environ.get("TERM", "xterm")},
            tty=os.isatty(0),
            interactive=True,
            detach_keys=detach_keys,
        )
