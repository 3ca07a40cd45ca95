"""`pycontainer cp`: copy files between the host and a container."""

import os

import click

from pycontainer.cli.context import Settings, pass_settings
from pycontainer.cli.report import printable, tell
from pycontainer.errors import InvalidInput


@click.command
@click.argument("source", metavar="CONTAINER:PATH|PATH|-")
@click.argument("target", metavar="CONTAINER:PATH|PATH|-")
@click.option("-a", "--archive", is_flag=True, help="Keep the user and group ids.")
@click.option("-q", "--quiet", is_flag=True, help="Do not tell what was left out.")
@pass_settings
def command(settings: Settings, source: str, target: str, archive: bool, quiet: bool) -> None:
    """Copy files between the host and a container.

    Into a directory that is there, else under the target's name; 'DIR/.' means its contents alone. '-' is a tar stream on
    standard input or output.

    The container may run or not; in one that does not, its volumes are not there. Links are copied as links and never
    followed out of the target; devices and sockets are left out, and so is what is mounted beneath a copied directory.
    A file that is replaced stays as it is until the new one is whole.

    \b
    Examples:
      pycontainer cp web:/etc/nginx/nginx.conf .
      pycontainer cp site web:/var/www
      pycontainer cp web:/var/log - | tar -tv
    """
    container, inside = _split(source)
    target_container, target_inside = _split(target)
    if bool(container) == bool(target_container):
        raise InvalidInput(
            "exactly one of the two must be in a container", hint="write it as CONTAINER:/path", field="source"
        )
    if target == "-" and os.isatty(1):
        raise InvalidInput("a tar stream is not for a terminal", hint="send it to a file, or to a program: | tar -x")
    with settings.client() as host:
        other = host.container(container or target_container)
        if source == "-":
            left_out = other.put_tar(0, target_inside)
        elif target == "-":
            left_out = other.get_tar(inside, 1)
        elif target_container:
            left_out = other.put(source, target_inside, archive=archive)
        else:
            left_out = other.get(inside, target, archive=archive)
    for line in left_out if not quiet else ():
        tell(f"pycontainer: left out: {printable(line)}")


def _split(argument: str) -> tuple[str, str]:
    """Return (container, path inside), or empty strings for a path of the host; `./a:b` and `/a:b` are such paths."""
    container, separator, path = argument.partition(":")
    if not separator or not container or "/" in container or container.startswith("."):
        return "", ""
    return container, path if path.startswith("/") else f"/{path}"
