"""`pycontainer clone`: make a container like another one."""

import click

from pycontainer.cli.context import Settings, container_argument, pass_settings


@click.command
@container_argument
@click.argument("name")
@click.option("--snapshot", metavar="NAME", default="", help="With the files of a snapshot, not with those of now.")
@click.option(
    "-p", "--publish", "ports", metavar="[IP:]HOST:PORT[/udp]", multiple=True,
    help="Publish this instead of the same ports. Repeatable.",
)  # fmt: skip
@pass_settings
def command(settings: Settings, container: str, name: str, snapshot: str, ports: tuple[str, ...]) -> None:
    """Make a container like another one, and print its id.

    It gets the same settings, files and limits, with a name, user ids and addresses of its own, and shares what both do not
    change. Volumes are the same ones. It is not started; two containers that run cannot publish the same port.

    \b
    Example:
      pycontainer clone web web2 -p 8081:80
    """
    with settings.client() as host:
        click.echo(host.container(container).clone(name, snapshot=snapshot, ports=ports).id)
