"""`pycontainer import`: a container from the file that `pycontainer export` wrote."""

import click

from pycontainer.cli.context import Settings, pass_settings
from pycontainer.cli.report import show_warnings
from pycontainer.cli.sources import opened


@click.command("import")
@click.argument("file", metavar="FILE|-", type=click.Path())
@click.argument("name", required=False, default="")
@click.option(
    "-p", "--publish", "ports", metavar="[IP:]HOST:PORT[/udp]", multiple=True,
    help="Publish this instead of the ports it had. Repeatable.",
)  # fmt: skip
@click.option("--tenant", metavar="NAME", default="", help="Tenant whose pool of resources it shares.")
@click.option(
    "--trusted",
    is_flag=True,
    help="Let it have what reaches the host: binds, volumes that are there, ports, devices, capabilities.",
)
@pass_settings
def command(settings: Settings, file: str, name: str, ports: tuple[str, ...], tenant: str, trusted: bool) -> None:
    """Make a container of an exported file, and print its id.

    The file is what 'pycontainer export' has written; - is standard input. The container has the files and settings it had,
    with addresses of its own, and is not started. What reaches the host, as the ports it published and volumes that are there
    already, is refused unless --trusted says that you trust who made the file; -p names ports.

    \b
    Examples:
      pycontainer import web.tar web2 -p 8081:80
      pycontainer export web | ssh host pycontainer import -
    """
    place = opened(file)
    with settings.client() as host:
        made = host.import_container(place, name, ports=ports, tenant=tenant, trusted=trusted)
        show_warnings(made.info["warnings"])
        click.echo(made.id)
