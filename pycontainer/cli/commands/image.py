"""`pycontainer image`: the root file systems that containers start from."""

import json
import sys
from typing import Any

import click

from pycontainer.cli import output
from pycontainer.cli.context import Settings, complete_images, pass_settings
from pycontainer.cli.report import for_each
from pycontainer.errors import InvalidInput
from pycontainer.units import format_bytes_short


@click.group
def command() -> None:
    """List, import and remove images."""


@command.command("list")
@click.option("-q", "--quiet", is_flag=True, help="Only the names.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@pass_settings
def list_(settings: Settings, quiet: bool, form: str) -> None:
    """List the images.

    \b
    Example:
      pycontainer image list
    """
    with settings.client() as host:
        images = host.list_images()
    if quiet:
        for image in images:
            click.echo(image["name"])
    elif form == "json":
        output.show_json(images)
    else:
        rows = [
            (
                image["name"],
                *(
                    ("damaged", "-", "-")
                    if image["damaged"]
                    else (
                        image["id"].removeprefix("sha256:")[:12],
                        output.ago(image["created"]),
                        format_bytes_short(image["size_bytes"]),
                    )
                ),
            )
            for image in images
        ]
        output.table(("NAME", "IMAGE ID", "CREATED", "SIZE"), rows)
        output.tell_of_damage(images)


@command.command("import")
@click.argument("source", type=click.Path())
@click.argument("name")
@click.option("--entrypoint", metavar="JSON", help="Program that gets the command, like '[\"nginx\"]' or nginx.")
@click.option("--cmd", metavar="JSON", help='Command of its containers, like \'["nginx", "-g", "daemon off;"]\' or sh.')
@click.option("-e", "--env", multiple=True, metavar="NAME=VALUE", help="Environment variable. Repeatable.")
@click.option("-u", "--user", metavar="USER[:GROUP]", help="User to run as.")
@click.option("-w", "--workdir", metavar="DIR", help="Directory to start in.")
@click.option("--expose", multiple=True, metavar="PORT[/udp]", help="Port it listens on. Repeatable.")
@click.option("--stop-signal", metavar="SIGNAL", help="Signal that asks it to end.")
@click.option("-l", "--label", multiple=True, metavar="KEY=VALUE", help="Label. Repeatable.")
@pass_settings
def import_(
    settings: Settings,
    source: str,
    name: str,
    entrypoint: str | None,
    cmd: str | None,
    env: tuple[str, ...],
    user: str | None,
    workdir: str | None,
    expose: tuple[str, ...],
    stop_signal: str | None,
    label: tuple[str, ...],
) -> None:
    """Import a root file system, a directory or a tarball.

    It becomes image NAME of the store; its id is printed.

    \b
    Example:
      pycontainer image import --cmd '["nginx", "-g", "daemon off;"]' rootfs.tar debian-nginx
    """
    config: dict[str, Any] = {
        "entrypoint": _words(entrypoint, "entrypoint"),
        "cmd": _words(cmd, "cmd"),
        "env": list(env),
        "user": user,
        "workdir": workdir,
        "exposed_ports": list(expose),
        "stop_signal": stop_signal,
        "labels": dict(text.partition("=")[::2] for text in label),
    }
    with settings.client() as host:
        wanted = {key: value for key, value in config.items() if value}
        image = host.import_image(source, name, wanted, on_progress=_show_progress if sys.stderr.isatty() else None)
        if sys.stderr.isatty():
            click.echo("\r\x1b[K", nl=False, err=True)
        click.echo(image.info["id"])


def _show_progress(counters: dict[str, Any]) -> None:
    """Draw one line over the last one: "importing: entries 1200, bytes 80MiB"."""
    shown = [
        f"{key.removesuffix('_bytes')} {format_bytes_short(value) if key.endswith('bytes') else value}"
        for key, value in counters.items()
        if isinstance(value, int)
    ]
    click.echo(f"\r\x1b[Kimporting: {', '.join(shown)}", nl=False, err=True)


@command.command("rm")
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True, shell_complete=complete_images)
@pass_settings
def rm(settings: Settings, images: tuple[str, ...]) -> None:
    """Delete images that no container is made of.

    \b
    Example:
      pycontainer image rm debian-nginx
    """
    with settings.client() as host:
        for_each(images, lambda name: host.image(name).remove())


def _words(text: str | None, field: str) -> list[str]:
    """Return the words of a command, written as a JSON list, or as a single word."""
    if not text:
        return []
    if not text.startswith("["):
        return [text]
    try:
        words = json.loads(text)
    except ValueError:
        words = None
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise InvalidInput(
            f"'{text}' is not a JSON list of words", hint='write \'["program", "argument"]\'', field=field
        )
    return words
