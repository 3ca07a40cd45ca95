"""`pycontainer commit`: make an image of a container."""

import click

from pycontainer.cli.context import Settings, container_argument, pass_settings
from pycontainer.cli.report import printable, tell


@click.command
@container_argument
@click.argument("image")
@click.option("-m", "--message", default="", help="What was changed, for the image's history.")
@click.option("-a", "--author", default="", help="Who made it.")
@click.option("-c", "--change", "changes", metavar="INSTRUCTION", multiple=True,
              help="Change of the image's config as in a Dockerfile, like 'CMD [\"nginx\"]'. Repeatable.")  # fmt: skip
@pass_settings
def command(
    settings: Settings, container: str, image: str, message: str, author: str, changes: tuple[str, ...]
) -> None:
    """Make an image of a container, and print its id.

    It has the layers of the container's image, and what the container has written as one more or several. Volumes and
    the container's own settings are not in it. One that runs stands still while what it has written is copied.

    \b
    Example:
      pycontainer commit -m 'with the shop' -c 'CMD ["nginx", "-g", "daemon off;"]' web shop:1
    """
    from pycontainer.cli.imagewords import config_of

    config = config_of(changes)
    with settings.client() as host:
        made, left_out = host.container(container).commit(image, config=config, author=author, message=message)
        for line in left_out:
            tell(f"pycontainer: left out: {printable(line)}")
        click.echo(made.info["id"])
