"""`pycontainer diff`: what a container has changed of its image; what differs from a hosting file."""

import click

from pycontainer.cli import output
from pycontainer.cli.context import Settings, complete_containers, pass_settings
from pycontainer.cli.hostingwords import DEFAULT_FILE, load
from pycontainer.cli.report import printable, show_warnings
from pycontainer.errors import PycontainerError

_DIFFERS, _TROUBLE = 1, 2  # as diff(1)


@click.command
@click.argument("container", required=False, shell_complete=complete_containers)
@click.option("-f", "--file", metavar="FILE", help="Compare what is there with this hosting file instead.")
@click.option("--format", "form", type=click.Choice(["lines", "json"]), default="lines", show_default=True)
@pass_settings
def command(settings: Settings, container: str | None, file: str | None, form: str) -> int | None:
    """Show what a container changed of its image, or up would change.

    Of a container: A for what it added, C for what it changed, D for what it deleted; not what was made to mount something
    there.

    With -f FILE, or ./hosting.yaml without any argument: + for what would come, ~ for what would change, - for what would
    go. The exit code is then that of diff(1): 0 where nothing differs, 1 where something does, 2 and more for trouble.

    \b
    Examples:
      pycontainer diff web
      pycontainer diff -f hosting.yaml
    """
    if container is not None:
        if file is not None:
            raise click.UsageError("a container and -f exclude each other", click.get_current_context())
        _of_container(settings, container, form)
        return None
    try:
        return _of_file(settings, file or DEFAULT_FILE, form)
    except PycontainerError as error:
        error.exit_code = max(error.exit_code, _TROUBLE)
        raise


def _of_container(settings: Settings, container: str, form: str) -> None:
    with settings.client() as host:
        found = host.container(container).diff()
    if form == "json":
        output.show_json(found)
    else:
        for change in found:
            click.echo(f"{change['kind']} {printable(change['path'])}")


def _of_file(settings: Settings, file: str, form: str) -> int:
    with settings.client() as host:
        hosting = load(file, host)
        changes = hosting.diff()
        show_warnings(hosting.warnings)
    lines = changes.described()
    if form == "json":
        marks = {"+": "create", "~": "change", "-": "remove"}
        output.show_json(
            [{"action": marks[line[0]], "subject": subject, "text": line} for subject, line in lines.items()]
        )
    else:
        for line in lines.values():
            click.echo(printable(line))
    return _DIFFERS if changes else 0
