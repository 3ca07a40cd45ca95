"""`pycontainer export`: a whole instance as a file."""

import os

import click

from pycontainer.cli.context import Settings, container_argument, pass_settings
from pycontainer.cli.report import printable, tell
from pycontainer.errors import InvalidInput


@click.command
@container_argument
@click.option("-o", "--output", default="-", metavar="FILE|-", help="Where to; - is standard output, the default.")
@pass_settings
def command(settings: Settings, container: str, output: str) -> None:
    """Write a container with its image, files and settings to one file.

    'pycontainer import' makes the same container of it, on this host or another one. It is an OCI archive, which other tools
    read as an image. The environment is in it, with the passwords that it holds; volumes and snapshots are not.

    \b
    Example:
      pycontainer export web -o web.tar
    """
    if output == "-" and os.isatty(1):
        raise InvalidInput("an archive is not for a terminal", hint="give -o FILE, or send it to a file or a program")
    with settings.client() as host:
        left_out = host.container(container).export(1 if output == "-" else output)
    for line in left_out:
        tell(f"pycontainer: left out: {printable(line)}")
