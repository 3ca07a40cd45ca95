"""`pycontainer metrics`: what Prometheus reads."""

import click

from pycontainer.cli.context import Settings, pass_settings


@click.group
def command() -> None:
    """Serve metrics for Prometheus, or show them."""


@command.command
@click.option(
    "-l",
    "--listen",
    "addresses",
    metavar="ADDRESS",
    multiple=True,
    help="IP:PORT, [IPV6]:PORT or unix:PATH (127.0.0.1:9323); may be repeated.",
)
@click.option("--group", metavar="NAME", help="Let members of this group use the unix sockets, too.")
@pass_settings
def serve(settings: Settings, addresses: tuple[str, ...], group: str | None) -> None:
    """Serve metrics over HTTP, in the foreground.

    At /metrics, in OpenMetrics 1.0; /healthz says that this process is well. It is a client of the supervisor, which may come
    and go. WHO REACHES THE ADDRESS READS THE NAMES AND THE USE OF ALL TENANTS; there is no password and no encryption.

    \b
    Example:
      pycontainer metrics serve --listen 127.0.0.1:9323
    """
    from pycontainer.metrics.serve import DEFAULT_LISTEN
    from pycontainer.metrics.serve import serve as serve_metrics  # 20 ms that `--help` does not need
    from pycontainer.paths import HostPaths

    serve_metrics(HostPaths(settings.root), addresses or (DEFAULT_LISTEN,), group or "")


@command.command
@click.option("--format", "form", type=click.Choice(["openmetrics", "plain"]), default="openmetrics", show_default=True)
@pass_settings
def show(settings: Settings, form: str) -> None:
    """Show the metrics once.

    'plain' is the older text format of Prometheus, as node_exporter's textfile collector takes it.

    \b
    Example:
      pycontainer metrics show --format plain
    """
    from pycontainer.metrics.serve import show as show_metrics  # 20 ms that `--help` does not need
    from pycontainer.paths import HostPaths

    click.echo(show_metrics(HostPaths(settings.root), openmetrics=form == "openmetrics"), nl=False)
