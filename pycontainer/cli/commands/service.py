"""`pycontainer service`: the supervisor itself, and the containers of a host that comes up or goes down."""

import os
from typing import Any

import click

from pycontainer.cli.context import Settings, pass_settings
from pycontainer.cli.group import Group
from pycontainer.cli.numbers import Count, Seconds
from pycontainer.cli.report import in_world, show_error, tell
from pycontainer.errors import InvalidInput


@click.group(cls=Group)
def command() -> None:
    """Control the supervisor, and start or stop all with the host.

    It starts by itself when root needs it."""


@command.command
@click.option(
    "--group",
    metavar="NAME",
    help="Let members of this group of the host drive it like root, who they thereby are. Kept, also over a reboot.",
)
@click.option("--no-group", is_flag=True, help="Let root alone drive it again.")
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    envvar="PYCONTAINER_LOG_FORMAT",
    help="How it writes its log, if it is started by this: text, or an object a line, events too (text).",
)
@pass_settings
def start(settings: Settings, group: str | None, no_group: bool, log_format: str | None) -> None:
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
    if log_format is not None:
        os.environ["PYCONTAINER_LOG_FORMAT"] = log_format  # as whoever starts it otherwise would have it
    started = start_service(HostPaths(settings.root), "" if no_group else group)
    click.echo("supervisor started" if started else "supervisor was running")
    if log_format is not None and not started:
        tell(in_world("its log is as it was; to change that: pycontainer service stop"))
    if group:
        tell(f"members of group '{group}' are as good as root on this host now")


@command.command
@pass_settings
def reload(settings: Settings) -> None:
    """Have the service become the version that is installed now.

    Containers go on, and so do who is attached to them and who waits: supervisor and monitor execute the new code in their
    own place. Code that cannot be loaded changes nothing.

    \b
    Example:
      pycontainer service reload
    """
    from pycontainer.client.service import reload as reload_service  # 4 ms that `--help` does not need
    from pycontainer.paths import HostPaths

    version = reload_service(HostPaths(settings.root))
    click.echo(f"the service is version {version} now" if version else "the service was not running")


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


@command.command
@click.option(
    "--parallel",
    metavar="NUMBER",
    type=Count(1, 1024),
    help="So many at once (as many as the host has CPUs, at least 2).",
)
@pass_settings
def boot(settings: Settings, parallel: int | None) -> None:
    """Start the containers that start with the host.

    For the host's init, once in each boot: the unit pycontainer-boot.service calls it, and so can any script. Which they
    are says --onboot of 'run', 'create' and 'set', in which order --boot-order; --boot-delay gives each its time.

    \b
    Example:
      pycontainer service boot --parallel 4
    """

    def show(outcome: dict[str, Any]) -> None:
        if "error" in outcome:
            show_error(f"{outcome['name']}: {outcome['error']}", outcome.get("hint", ""))
        else:
            click.echo(outcome["name"])

    with settings.client() as host:
        done = host.boot(parallel, on_outcome=show)
    if done["was_done"]:
        tell("done before, in this boot of the host")
    if done["failed"]:
        raise click.exceptions.Exit(1)


@command.command
@click.option(
    "-t",
    "--timeout",
    "seconds",
    metavar="SECONDS",
    type=Seconds(0, 86400),
    help="All must have ended by then; who has not is killed (300).",
)
@pass_settings
def shutdown(settings: Settings, seconds: float | None) -> None:
    """Stop all containers, then the supervisor: the host goes down.

    The other way round than at boot, each with its own stop signal and time-out. Nothing can be started meanwhile. Those
    with --onboot last start again with the next boot, or 'service boot'.

    \b
    Example:
      pycontainer service shutdown --timeout 120
    """

    def show(outcome: dict[str, Any]) -> None:
        if "error" in outcome:
            show_error(f"{outcome['name']}: {outcome['error']}")
        else:
            click.echo(outcome["name"])

    with settings.client() as host:
        done = host.stop_all(seconds, on_outcome=show)
        host.shutdown()
    if done["left"]:
        show_error(f"still running: {', '.join(done['left'])}", "the host's init ends them with the rest")
        raise click.exceptions.Exit(1)
