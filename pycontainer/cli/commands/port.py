"""`pycontainer port`: where the published ports of a container are."""

import re

import click

from pycontainer.cli import output
from pycontainer.cli.context import Settings, container_argument, pass_settings
from pycontainer.errors import InvalidInput, NotFound, shown

_PORT = re.compile(r"[0-9]{1,5}(?:/(?:tcp|udp))?", re.ASCII)


@click.command
@container_argument
@click.argument("private", metavar="[PORT[/udp]]", required=False)
@pass_settings
def command(settings: Settings, container: str, private: str | None) -> None:
    """Show which ports of the host lead to a container.

    \b
    Example:
      pycontainer port web 80
    """
    if private is not None and not _PORT.fullmatch(private):
        raise InvalidInput(f"{shown(private)} is not a port", hint="write a number, like 80, or 53/udp", field="port")
    with settings.client() as host:
        ports = host.container(container).ports
    if private is None:
        for port in ports:
            click.echo(f"{port['container_port']}/{port['protocol']} -> {output.host_address(port)}")
        return
    wanted = private if "/" in private else f"{private}/tcp"
    found = [port for port in ports if f"{port['container_port']}/{port['protocol']}" == wanted]
    if not found:
        raise NotFound(f"port {wanted} of container '{container}' is not published", hint="publish it with 'run -p'")
    for port in found:
        click.echo(output.host_address(port))
