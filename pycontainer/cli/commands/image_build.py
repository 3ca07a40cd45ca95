"""`pycontainer image build-from`: a root file system made by a builder, and imported with its config."""

import os
import signal
import sys
from typing import Any

import click

from pycontainer.cli import output
from pycontainer.cli.context import Settings, pass_settings
from pycontainer.cli.report import printable, tell
from pycontainer.spec.names import check_image
from pycontainer.units import format_bytes_short

_HELP = {"-h", "--help"}


@click.command("build-from")
@click.argument("recipe", required=False)
@click.argument("name", required=False)
@click.argument("arguments", metavar="[-- OPTION...]", nargs=-1, type=click.UNPROCESSED)
@click.option("--list", "show_list", is_flag=True, help="Show the recipes.")
@pass_settings
def command(
    settings: Settings, recipe: str | None, name: str | None, arguments: tuple[str, ...], show_list: bool
) -> None:
    """Build an image from a recipe and import it.

    RECIPE is one of rootfs-tools, or the path of a program with the same interface. It makes a root file system, which
    becomes image NAME with the recipe's command, ports and so on; the image's id is printed. OPTIONs are the recipe's own,
    and '-- --help' shows them.

    \b
    Examples:
      pycontainer image build-from --list
      pycontainer image build-from nginx -- --help
      pycontainer image build-from nginx debian-nginx
      pycontainer image build-from systemd vps -- --suite bookworm --include openssh-server
    """
    from pycontainer.client import builders  # 15 ms (subprocess, tempfile) that the other commands save

    if show_list:
        output.table(("RECIPE", "MAKES"), [(one.name, one.about) for one in builders.list_builders()])
        return
    if recipe is None:
        raise click.UsageError("missing the recipe", click.get_current_context())
    if name in _HELP or _HELP & {*arguments}:
        program = builders.find(recipe)
        os.execv(program, [program, "--help"])
    if name is None:
        raise click.UsageError("missing the name of the image", click.get_current_context())
    check_image(name)  # before the work
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    with settings.client() as host:
        on_progress = _show_progress if sys.stderr.isatty() else None
        image = host.build_image(recipe, name, arguments, on_output=tell, on_progress=on_progress)
        if on_progress is not None:
            tell("\r\x1b[K", newline=False)
        click.echo(image.info["id"])


def _show_progress(now: dict[str, Any]) -> None:
    """Draw one line over the last one: "importing: 80MiB"."""
    step = printable(str(now.get("step") or "importing"))
    tell(f"\r\x1b[K{step}: {format_bytes_short(now.get('bytes', 0))}", newline=False)


def _leave(number: int, _frame: object) -> None:
    """End by way of the cleaning up."""
    sys.exit(128 + number)


def read_config(path: str | None) -> dict[str, Any]:
    """Return what `image import --config` reads."""
    if path is None:
        return {}
    from pycontainer.client.builders import read_config  # 15 ms that an import without it saves

    return read_config(path)
