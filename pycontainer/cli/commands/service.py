"""`pycontainer service`: the supervisor itself."""

import click

from pycontainer.cli.context import Settings, pass_settings
from pycontainer.errors import InvalidInput


@click.group
def command() -> None:
    """Control the supervisor.

    It starts by itself when root needs it."""


@command.command
@click.option(
    "--group",
    metavar="NAME",
    help="Let members of this group of the host drive it like root, who they thereby are. Kept, also over a reboot.",
)
@click.option("--no-group", is_flag=True, help="Let root alone drive it again.")
@pass_settings
def start(settings: Settings, group: str | None, no_group: bool) -> None:
    """Start the supervisor, or open it to a group.

    WITH --group, EVERY MEMBER OF THE GROUP IS ROOT ON THIS HOST, as with Docker's group: he can mount any of its
    directories into a container of his. Give it to those alone who might have root's password as well.

    Members cannot start it, so it stays when nothing runs; have it started at boot. With --group or --no-group one that
    runs is started anew, containers go on.

    \b
    Example:
      pycontainer service start --group operators
    """
    from pycontainer.client.service import start as start_service  # 4 ms that `--help` does not need
    from pycontainer.paths import HostPaths

    if group == "" or (group is not None and no_group):
        raise InvalidInput("name one group, or say --no-group", field="group")
    started = start_service(HostPaths(settings.root), "" if no_group else group)
    click.echo("supervisor started" if started else "supervisor was running")
    if group:
        click.echo(f"members of group '{group}' are as good as root on this host now", err=True)


@command.command
@pass_settings
def stop(settings: Settings) -> None:
    """End the supervisor; containers go on.

    Root's next command starts it again.

    \b
    Example:
      pycontainer service stop
    """
    with settings.client() as host:
        click.echo("supervisor stopped" if host.shutdown() else "supervisor was not running")
