"""`pycontainer network`: the networks that containers are on."""

import click

from pycontainer.cli import output
from pycontainer.cli.context import Settings, container_argument, pass_settings
from pycontainer.cli.group import Group
from pycontainer.cli.report import for_each
from pycontainer.errors import InvalidInput

_FAST_PATH = "--fast-path/--no-fast-path"
_FAST_PATH_HELP = "Hand long connections to published ports over, past the host's firewall once that let them."


@click.group(cls=Group)
def command() -> None:
    """Create, list, inspect and remove networks; connect containers."""


@command.command
@click.argument("name")
@click.option(
    "-d",
    "--driver",
    type=click.Choice(["routed", "bridge"]),
    default="routed",
    show_default=True,
    help="routed isolates containers from each other's frames; bridge is a shared segment.",
)
@click.option("--subnet", default="", metavar="CIDR", help="IPv4 subnet, like 10.90.0.0/24; picked if left out.")
@click.option("--subnet6", default="", metavar="CIDR", help="IPv6 subnet, like fd00:90::/64; picked if left out.")
@click.option(_FAST_PATH, default=False, help=_FAST_PATH_HELP)
@pass_settings
def create(settings: Settings, name: str, driver: str, subnet: str, subnet6: str, fast_path: bool) -> None:
    """Create a network and print its name.

    \b
    Example:
      pycontainer network create --driver bridge --subnet 10.90.0.0/24 backend
    """
    with settings.client() as host:
        network = host.create_network(name, driver=driver, subnet=subnet, subnet6=subnet6, fast_path=fast_path)
        click.echo(network.name)


@command.command("set")
@click.argument("network")
@click.option(_FAST_PATH, default=None, help=_FAST_PATH_HELP)
@pass_settings
def set_(settings: Settings, network: str, fast_path: bool | None) -> None:
    """Change a network while containers are on it.

    \b
    Example:
      pycontainer network set default --fast-path
    """
    if fast_path is None:
        raise InvalidInput("nothing to change", hint="give --fast-path or --no-fast-path")
    with settings.client() as host:
        host.network(network).set(fast_path=fast_path)


@command.command("list")
@click.option("-q", "--quiet", is_flag=True, help="Only the names.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@pass_settings
def list_(settings: Settings, quiet: bool, form: str) -> None:
    """List the networks.

    \b
    Example:
      pycontainer network list
    """
    with settings.client() as host:
        networks = host.list_networks()
    if quiet:
        for network in networks:
            click.echo(network["name"])
    elif form == "json":
        output.show_json(networks)
    else:
        rows = [
            (
                network["name"],
                network["driver"] or "damaged",
                network["subnet"] or "-",
                network["subnet6"] or "-",
                str(len(network["containers"])),
            )
            for network in networks
        ]
        output.table(("NAME", "DRIVER", "SUBNET", "SUBNET6", "CONTAINERS"), rows)
        output.tell_of_damage(networks)


@command.command
@click.argument("networks", metavar="NETWORK...", nargs=-1, required=True)
@output.inspected
@pass_settings
def inspect(settings: Settings, networks: tuple[str, ...]) -> None:
    """Show everything there is to know about networks, as a JSON list.

    \b
    Example:
      pycontainer network inspect default
    """
    with settings.client() as host:
        output.show_each(networks, lambda name: host.network(name).info)


@command.command
@click.argument("networks", metavar="NETWORK...", nargs=-1, required=True)
@pass_settings
def rm(settings: Settings, networks: tuple[str, ...]) -> None:
    """Delete networks that no container is on.

    \b
    Example:
      pycontainer network rm backend
    """
    with settings.client() as host:
        for_each(networks, lambda name: host.network(name).remove())


@command.command
@click.argument("network")
@container_argument
@click.option("--ip", default="", metavar="ADDRESS", help="IPv4 address; a free one if left out.")
@click.option("--ip6", default="", metavar="ADDRESS", help="IPv6 address; a free one if left out.")
@pass_settings
def connect(settings: Settings, network: str, container: str, ip: str, ip6: str) -> None:
    """Put a container on a network.

    \b
    Example:
      pycontainer network connect backend web
    """
    with settings.client() as host:
        host.network(network).connect(container, ip=ip, ip6=ip6)


@command.command
@click.argument("network")
@container_argument
@pass_settings
def disconnect(settings: Settings, network: str, container: str) -> None:
    """Take a container off a network.

    \b
    Example:
      pycontainer network disconnect backend web
    """
    with settings.client() as host:
        host.network(network).disconnect(container)
