"""`pycontainer image`: the root file systems that containers start from."""

import json
from typing import Any

import click

from pycontainer.cli import image_transfer, output
from pycontainer.cli.bar import Bar
from pycontainer.cli.commands import image_build
from pycontainer.cli.context import Settings, complete_images, pass_settings
from pycontainer.cli.group import Group
from pycontainer.cli.report import for_each
from pycontainer.cli.sources import opened
from pycontainer.errors import InvalidInput
from pycontainer.units import format_bytes_short


@click.group(cls=Group)
def command() -> None:
    """Bring in, list, name and remove images."""


for one in (image_transfer.save, image_transfer.pull, image_transfer.push):
    command.add_command(one)


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
@click.argument("source", metavar="SOURCE|-", type=click.Path())
@click.argument("name")
@click.option("--config", "config_path", metavar="FILE", help="The following as JSON, as rootfs-tools writes it.")
@click.option("--entrypoint", metavar="JSON", help="Program that gets the command, like '[\"nginx\"]' or nginx.")
@click.option("--cmd", metavar="JSON", help='Command of its containers, like \'["nginx", "-g", "daemon off;"]\' or sh.')
@click.option("-e", "--env", multiple=True, metavar="NAME=VALUE", help="Environment variable. Repeatable.")
@click.option("-u", "--user", metavar="USER[:GROUP]", help="User to run as.")
@click.option("-w", "--workdir", metavar="DIR", help="Directory to start in.")
@click.option("--expose", multiple=True, metavar="PORT[/udp]", help="Port it listens on. Repeatable.")
@click.option(
    "-v", "--volume", multiple=True, metavar="DIR", help="Directory whose files outlive containers. Repeatable."
)
@click.option("--stop-signal", metavar="SIGNAL", help="Signal that asks it to end.")
@click.option("-l", "--label", multiple=True, metavar="KEY=VALUE", help="Label. Repeatable.")
@click.option("--platform", metavar="OS/ARCH", help="Take the image for another platform, like linux/arm64.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["squashfs", "erofs"]),
    help="Take the file for this, which the kernel itself reads: only if you trust who made it.",
)
@pass_settings
def import_(
    settings: Settings,
    source: str,
    name: str,
    config_path: str | None,
    entrypoint: str | None,
    cmd: str | None,
    env: tuple[str, ...],
    user: str | None,
    workdir: str | None,
    expose: tuple[str, ...],
    volume: tuple[str, ...],
    stop_signal: str | None,
    label: tuple[str, ...],
    platform: str | None,
    form: str | None,
) -> None:
    """Import a root file system or an image.

    A root file system is a directory, a tarball, or a squashfs or erofs file; the options say how its containers start. An
    image, which says that itself, is an OCI layout (a directory or a tarball) or a docker archive. It becomes image NAME of
    the store; its id is printed. A squashfs or erofs file needs --format, or a name that ends in .squashfs, .sqfs, .sfs or
    .erofs. A file comes on standard input with - for the SOURCE.

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
        "volumes": list(volume),
        "stop_signal": stop_signal,
        "labels": dict(text.partition("=")[::2] for text in label),
    }
    wanted = {**image_build.read_config(config_path), **{key: value for key, value in config.items() if value}}
    place = opened(source)
    with settings.client() as host, Bar("importing") as bar:
        image = host.import_image(
            place, name, wanted, platform=platform or "", format=form or "", on_progress=bar.update
        )
        image_id = image.info["id"]
    click.echo(image_id)


@command.command("load")
@click.option(
    "-i", "--input", "source", metavar="SOURCE|-", type=click.Path(), default="-",
    help="The archive, or the directory of a layout; - is standard input, the default.",
)  # fmt: skip
@click.option("--name", metavar="NAME", help="What the image is called here, if there is one only.")
@click.option("--platform", metavar="OS/ARCH", help="Take the image for another platform, like linux/arm64.")
@pass_settings
def load(settings: Settings, source: str, name: str | None, platform: str | None) -> None:
    """Load the images of an OCI layout or docker archive.

    They get the names that are written there, which are printed.

    \b
    Examples:
      pycontainer image load -i images.tar
      docker save web | pycontainer image load
    """
    place = opened(source, "-i FILE")
    with settings.client() as host, Bar("loading") as bar:
        loaded = host.load_images(place, name=name or "", platform=platform or "", on_progress=bar.update)
    for image in loaded:
        click.echo(image.name)


@command.command("inspect")
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True, shell_complete=complete_images)
@output.inspected
@pass_settings
def inspect(settings: Settings, images: tuple[str, ...]) -> None:
    """Show all that is known of images, as JSON.

    \b
    Example:
      pycontainer image inspect debian-nginx
    """
    with settings.client() as host:
        output.show_each(images, lambda name: host.image(name).details)


@command.command("tag")
@click.argument("image", shell_complete=complete_images)
@click.argument("name")
@pass_settings
def tag(settings: Settings, image: str, name: str) -> None:
    """Give an image one more name.

    \b
    Example:
      pycontainer image tag debian-nginx debian-nginx:2026-11
    """
    with settings.client() as host:
        host.image(image).tag(name)


@command.command("prune")
@click.option("-a", "--all", "unused", is_flag=True, help="Also images with a name that no container is made of.")
@click.option("-f", "--force", is_flag=True, hidden=True, expose_value=False, help="Docker's: nothing is asked here.")
@pass_settings
def prune(settings: Settings, unused: bool) -> None:
    """Delete images without a name that no container needs.

    What imports left that were killed, and layers that no image has, go as well. Prints the images.

    \b
    Example:
      pycontainer image prune
    """
    with settings.client() as host:
        for image in host.prune_images(all=unused):
            click.echo(image["name"])


command.add_command(image_build.command)


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
        for_each(images, host.remove_image)


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
