"""`pycontainer attach`: connect to the output and input of a running container."""

import click

from pycontainer.cli.context import Settings, container_argument, pass_settings
from pycontainer.cli.report import workload_codes


@click.command
@container_argument
@click.option("--no-stdin", is_flag=True, help="Only watch.")
@click.option(
    "--detach-keys",
    metavar="KEYS",
    default="ctrl-p,ctrl-q",
    show_default=True,
    help="Keys that leave a container with a terminal.",
)
@click.option(
    "--sig-proxy/--no-sig-proxy",
    default=True,
    help="Without a terminal, pass signals such as SIGINT on.  [default: on]",
)
@pass_settings
def command(settings: Settings, container: str, no_stdin: bool, detach_keys: str, sig_proxy: bool) -> int | None:
    """Connect to the output and input of a running container.

    Its exit code becomes ours.

    \b
    Example:
      pycontainer attach web
    """
    with workload_codes(), settings.client() as host:
        return host.container(container).attach(
            interactive=not no_stdin, detach_keys=detach_keys, proxy_signals=sig_proxy
        )
