"""`pycontainer frontdoor`: one nginx on the host's ports 80 and 443, by which requests come to the sites they name."""

from typing import TYPE_CHECKING

import click

from pycontainer.cli import output
from pycontainer.cli.context import Settings, pass_settings
from pycontainer.cli.group import Group
from pycontainer.cli.report import show_error
from pycontainer.errors import InvalidInput
from pycontainer.units import shown

if TYPE_CHECKING:
    from pycontainer.hosting.frontdoor import FrontDoor
    from pycontainer.hosting.routes import Backend


@click.group(cls=Group)
def command() -> None:
    """Control the front door: nginx, on the host's ports 80 and 443.

    It leads requests to sites by the domain that they name. Which sites there are says 'up'; docs/frontdoor.md tells the
    rest.
    """


@command.command
@click.option("--http", metavar="ADDRESS:PORT", multiple=True, help="Listen there for HTTP, from now on. Repeatable.")
@click.option("--https", metavar="ADDRESS:PORT", multiple=True, help="Listen there for TLS, from now on. Repeatable.")
@pass_settings
def start(settings: Settings, http: tuple[str, ...], https: tuple[str, ...]) -> None:
    """Start the front door, and have it follow who is well.

    That is nginx, and a process that takes replicas out that are not well. At first it listens on ports 80 and 443 of all
    addresses. What has died is started again, what runs is left as it is.

    \b
    Examples:
      pycontainer frontdoor start
      pycontainer frontdoor start --http 192.0.2.10:80 --https 192.0.2.10:443
    """
    started = _door(settings).start(
        [_address(text, "http") for text in http], [_address(text, "https") for text in https]
    )
    click.echo("front door started" if started else "front door was running")


@command.command
@pass_settings
def stop(settings: Settings) -> None:
    """End the front door.

    Requests that are being answered get five seconds. What is to be served is kept for the next start.

    \b
    Example:
      pycontainer frontdoor stop
    """
    click.echo("front door stopped" if _door(settings).stop() else "front door was not running")


@command.command
@pass_settings
def reload(settings: Settings) -> None:
    """Look now who is well, and for certificates that were renewed.

    The front door does so by itself, for certificates every minute or so.

    \b
    Example:
      pycontainer frontdoor reload
    """
    click.echo("front door changed" if _door(settings).refresh() else "front door was as it should be")


@command.command
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@pass_settings
def status(settings: Settings, form: str) -> None:
    """Show whether it runs, and which sites lack replicas.

    Ends with code 1 if it does not run.

    \b
    Example:
      pycontainer frontdoor status
    """
    found = _door(settings).status()
    if form == "json":
        import dataclasses  # 14 ms; Status is one, so it is there

        output.show_json(dataclasses.asdict(found))
    else:
        from pycontainer.hosting.routes import shown_backend

        click.echo(f"nginx      {_running(found.pid)}")
        click.echo(f"follower   {_running(found.follower_pid)}")
        click.echo(f"http       {', '.join(map(shown_backend, found.http))}")
        click.echo(f"https      {', '.join(map(shown_backend, found.https))}")
        click.echo(f"sites      {found.sites}, {found.domains} domains")
        click.echo(f"clients    {found.connections} connections")
        for name, count in found.left_out.items():
            click.echo(f"left out   {count} of {name}: not running, or not well")
        for problem in found.problems:
            show_error(problem)
    if found.pid is None or found.follower_pid is None:
        raise click.exceptions.Exit(1)


@command.command
@pass_settings
def serve(settings: Settings) -> None:
    """Follow who is well, in the foreground; for the host's init.

    It starts nginx, which outlives it until 'stop'. The unit pycontainer-frontdoor.service calls it.

    \b
    Example:
      pycontainer frontdoor serve
    """
    from pycontainer.hosting.follower import serve as follow  # 60 ms (ssl, dataclasses) that `--help` does not need

    follow(settings.paths())


def _door(settings: Settings) -> "FrontDoor":
    from pycontainer.hosting.frontdoor import FrontDoor  # 60 ms (ssl, dataclasses) that `--help` does not need

    return FrontDoor(settings.paths())


def _address(text: str, field: str) -> "Backend":
    from pycontainer.hosting.routes import check_backend

    ip, _, port = text.rpartition(":")
    if not port.isascii() or not port.isdigit() or (":" in ip) != (ip.startswith("[") and ip.endswith("]")):
        raise InvalidInput(
            f"{shown(text)} is not ADDRESS:PORT", hint="write 192.0.2.10:80 or [2001:db8::10]:80", field=field
        )
    return check_backend(ip.strip("[]"), int(port))


def _running(pid: int | None) -> str:
    return "not running" if pid is None else f"running, pid {pid}"
