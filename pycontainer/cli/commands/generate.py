"""`pycontainer generate`: files for the host's init."""

import os
import sys

import click

from pycontainer.cli.context import Settings, complete_containers, pass_settings
from pycontainer.cli.report import show_error
from pycontainer.errors import InvalidInput, PycontainerError


@click.group
def command() -> None:
    """Make files for the host's init: units, or a script."""


@command.command
@click.argument("containers", metavar="[CONTAINER...]", nargs=-1, shell_complete=complete_containers)
@click.option("-d", "--directory", metavar="DIR", help="Write files there, such as /etc/systemd/system.")
@pass_settings
def systemd(settings: Settings, containers: tuple[str, ...], directory: str | None) -> None:
    """Make units of systemd: of the service, or of single containers.

    Without CONTAINER those of the service: its socket, the supervisor, pycontainer-boot, which starts containers with the
    host (--onboot) and stops all when it goes down, and pycontainer-frontdoor. A container with a unit of its own is one
    that systemd starts, stops and orders among its services; it needs no --onboot.

    \b
    Examples:
      pycontainer generate systemd --directory /etc/systemd/system
      pycontainer generate systemd web >/etc/systemd/system/container-web.service
    """
    from pycontainer.client import units  # what `--help` does not need
    from pycontainer.paths import HostPaths

    paths = HostPaths(settings.root)
    if not containers:
        _put(units.service_units(paths, _program(), sys.executable), directory)
        return
    made = {}
    with settings.client() as host:
        for reference in containers:
            record = host.container(reference).inspect()
            name, timeout_seconds = record["name"], record["spec"]["stop_timeout_seconds"]
            made[f"container-{name}.service"] = units.container_unit(paths, name, _program(), timeout_seconds)
            if record["onboot"] != "no":
                show_error(
                    f"container '{name}' starts at boot without its unit as well",
                    f"pycontainer set {name} --onboot no",
                )
    _put(made, directory)


@command.command
@pass_settings
def initscript(settings: Settings) -> None:
    """Make a script for an init that is not systemd.

    As System V's has them, with the header of the LSB; others call the same two commands, 'service boot' when the host
    comes up and 'service shutdown' when it goes down.

    \b
    Example:
      pycontainer generate initscript >/etc/init.d/pycontainer
    """
    from pycontainer.client import units  # what `--help` does not need
    from pycontainer.paths import HostPaths

    click.echo(units.init_script(HostPaths(settings.root), _program()), nl=False)


def _program() -> str:
    """Return the path of this command, as it will be found after a reboot."""
    beside = os.path.join(os.path.dirname(sys.executable), "pycontainer")
    if os.access(beside, os.X_OK):
        return beside
    invoked = os.path.abspath(sys.argv[0])
    if not os.access(invoked, os.X_OK):
        raise PycontainerError(f"'{invoked}' is no program", hint="call the installed command 'pycontainer'")
    return invoked


def _put(texts: dict[str, str], directory: str | None) -> None:
    if directory is None:
        for name, text in texts.items():
            click.echo(f"# {name}\n{text}" if len(texts) > 1 else text, nl=len(texts) > 1)
        return
    if not os.path.isdir(directory):
        raise InvalidInput(f"'{directory}' is not a directory", field="directory")
    for name, text in texts.items():
        path = os.path.join(directory, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        click.echo(path)
