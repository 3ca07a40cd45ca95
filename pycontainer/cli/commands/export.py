"""`pycontainer export`: a whole instance as a file."""

import os

import click

from pycontainer.cli.context import Settings, container_argument, pass_settings
from pycontainer.cli.report import printable
from pycontainer.errors import InvalidInput


@click.command
@container_argument
@click.option("-o", "--output", metavar="FILE", help="File to write to; standard output when left out.")
@pass_settings
def command(settings: Settings, container: str, output: str | None) -> None:
    """Write a container with its image, files and settings to one file.

    'pycontainer import' makes the same container of it, on this host or another one. It is an OCI archive, which other tools
    read as an image. The environment is in it, with the passwords that it holds; volumes and snapshots are not.

    \b
    Example:
      pycontainer export web -o web.tar
    """
    if output is None and os.isatty(1):
        raise InvalidInput("an archive is not for a terminal", hint="give -o FILE, or send it to a file or a program")
    with settings.client() as host:
        left_out = host.container(container).export(1 if output is None else output)
    for line in left_out:
        click.echo(f"pycontainer: left out: {printable(line)}", err=True)
