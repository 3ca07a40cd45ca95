"""`pycontainer create`: make a container without starting it."""

from typing import Any

import click

from pycontainer.cli.context import Settings, complete_images, pass_settings
from pycontainer.cli.options import container_options, plain_spec
from pycontainer.cli.report import show_warnings
from pycontainer.cli.specfile import complete_specs


@click.command(context_settings={"allow_interspersed_args": False})
@click.argument(
    "words", metavar="[IMAGE] [COMMAND...]", nargs=-1, type=click.UNPROCESSED, shell_complete=complete_images
)
@click.option("-f", "--file", metavar="FILE", help="Read the same settings from a YAML file; options here override it.")
@container_options
@pass_settings
def command(settings: Settings, /, words: tuple[str, ...], file: str | None, **given: Any) -> None:
    """Create a container without starting it, and print its id.

    It starts from IMAGE, or with --rootfs DIR from a directory.

    \b
    Example:
      pycontainer create --name web -p 8080:80 debian-nginx
      pycontainer start web
    """
    specs = complete_specs(plain_spec(words, given), file=file, plans_dir=settings.paths().plans_dir)
    with settings.client() as host:
        for spec in specs:
            container = host.create_from(spec)
            show_warnings(container.warnings)
            click.echo(container.id)
