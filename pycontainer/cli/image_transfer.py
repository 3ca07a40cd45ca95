"""`pycontainer image save|pull|push`: images that leave the store, and those that come from registries."""

import os
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

from pycontainer.cli.bar import Bar
from pycontainer.cli.context import Settings, complete_images, pass_settings
from pycontainer.errors import InvalidInput

F = TypeVar("F", bound=Callable[..., Any])


@click.command
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True, shell_complete=complete_images)
@click.option("-o", "--output", default="-", metavar="FILE|-", help="Where to; - is standard output, the default.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["oci-archive", "oci-dir", "docker-archive"]),
    default="oci-archive",
    show_default=True,
)
@pass_settings
def save(settings: Settings, images: tuple[str, ...], output: str, form: str) -> None:
    """Write images to an archive or a directory.

    An oci-archive is read by podman load, skopeo and every docker load, as it holds Docker's manifest as well; an oci-dir is
    for umoci and the like. Equal images give equal bytes.

    \b
    Examples:
      pycontainer image save -o web.tar debian-nginx
      pycontainer image save debian-nginx team/web:3 | zstd >images.tar.zst
    """
    if output == "-" and form == "oci-dir":
        raise InvalidInput("a directory is not for standard output", hint="name it with -o DIR", field="output")
    if output == "-" and os.isatty(1):
        raise InvalidInput("an archive is not for a terminal", hint="name a file with -o FILE", field="output")
    with settings.client() as host, Bar("saving") as bar:
        host.save_images(images, 1 if output == "-" else output, form=form, on_progress=bar.update)


def registry_options(command: F) -> F:
    """Add what says how to get at a registry, where the user's own files do not."""
    for option in reversed(
        (
            click.option("--authfile", type=click.Path(), help="File with logins, as 'skopeo login' writes it."),
            click.option("--username", metavar="USER", help="Name at the registry; needs --password-stdin."),
            click.option("--password-stdin", is_flag=True, help="Read the password from standard input."),
            click.option("--cert-dir", type=click.Path(), help="Directory with the registry's authority, *.crt."),
            click.option(
                "--tls-verify/--no-tls-verify", default=None, help="Whether it must have a certificate that we know."
            ),
            click.option("--policy", type=click.Path(), help="File that says whose signatures count."),
        )
    ):
        command = option(command)
    return command


@click.command
@click.argument("reference")
@click.argument("name", required=False)
@registry_options
@pass_settings
def pull(settings: Settings, /, reference: str, name: str | None, **options: Any) -> None:
    """Fetch an image from a registry.

    REFERENCE is [REGISTRY/]PATH[:TAG][@DIGEST], as for Docker: without a registry it is docker.io's, without a tag it is
    `latest`. The image gets the NAME, or what stands in the reference before a digest; its id is printed. It is skopeo that
    fetches, with your logins, mirrors and policy for signatures. What an interrupted pull has fetched is not fetched again.

    \b
    Examples:
      pycontainer image pull docker.io/library/nginx:1.27 nginx
      pycontainer image pull --authfile ~/auth.json registry.example.org/team/web:3
    """
    access = _access(options)
    with settings.client() as host:
        with Bar("pulling") as bar:
            image = host.pull_image(reference, name, **access, on_progress=bar.update)
        click.echo(image.info["id"])


@click.command
@click.argument("image", shell_complete=complete_images)
@click.argument("destination", required=False)
@click.option(
    "--format",
    "form",
    type=click.Choice(["oci", "v2s2"]),
    default="oci",
    show_default=True,
    help="Kind of manifest; v2s2 is Docker's.",
)
@registry_options
@pass_settings
def push(settings: Settings, /, image: str, destination: str | None, form: str, **options: Any) -> None:
    """Bring an image to a registry.

    DESTINATION is REGISTRY/PATH[:TAG], by default the image's name, if that says which registry. The digest that the image
    has there is printed.

    \b
    Example:
      pycontainer image push debian-nginx registry.example.org/team/web:3
    """
    access = _access(options)
    with settings.client() as host, Bar("pushing") as bar:
        digest = host.image(image).push(destination, form=form, **access, on_progress=bar.update)
    click.echo(digest)


def _access(options: dict[str, Any]) -> dict[str, Any]:
    """Return what the options of `registry_options` mean for the client, the password read."""
    reads, username = options.pop("password_stdin"), options["username"]
    if bool(username) != reads:
        raise InvalidInput(
            "a name and a password belong together", hint="give both --username and --password-stdin", field="username"
        )
    access = {key: value for key, value in options.items() if value is not None}
    if reads:
        access["password"] = sys.stdin.readline().rstrip("\r\n")
    return access
