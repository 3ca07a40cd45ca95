"""`pycontainer ps`: the containers of this host."""

from collections.abc import Iterable

import click

from pycontainer.cli import output
from pycontainer.cli.context import Settings, pass_settings
from pycontainer.errors import InvalidInput

_COMMAND_WIDTH = 28


@click.command
@click.option("-a", "--all", is_flag=True, help="Also those that do not run.")
@click.option("-q", "--quiet", is_flag=True, help="Only the ids.")
@click.option(
    "-f",
    "--filter",
    "filters",
    metavar="KEY=VALUE",
    multiple=True,
    help="Only those with this status, name, id, image, label, network, tenant, health or cause. Repeatable.",
)
@click.option("--tenant", metavar="NAME", help="Only those of this tenant.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.option("--no-trunc", is_flag=True, help="Show whole commands.")
@pass_settings
def command(
    settings: Settings, all: bool, quiet: bool, filters: tuple[str, ...], tenant: str | None, form: str, no_trunc: bool
) -> None:
    """List the running containers.

    Those whose records are damaged are among them, running or not; 'rm --force' removes one.

    An exclamation mark after the profile: options take more walls down than it does; 'inspect' says which.

    \b
    Examples:
      pycontainer ps -a --filter label=tier=web
      pycontainer ps --tenant acme
    """
    wanted = parse_filters(filters)
    with settings.client() as host:
        if tenant is not None:
            wanted["tenant"] = [host.tenant(tenant).name]
        infos = host.list_containers(all=all or "status" in wanted, filters=wanted)
    if quiet:
        for info in infos:
            click.echo(info["id"])
    elif form == "json":
        output.show_json(infos)
    else:
        headers = ("CONTAINER ID", "NAME", "IMAGE", "COMMAND", "STATUS", "PROFILE", "PORTS", "IP")
        rows = [
            (
                info["id"],
                info["name"],
                info["image"] or info["rootfs"],
                _shortened(info["command"], no_trunc),
                output.status(info),
                output.profile(info),
                output.ports(info) if info["status"] not in ("created", "stopped") else "",
                output.addresses(info),
            )
            for info in infos
        ]
        output.table(headers, rows)
        output.tell_of_damage(infos)


def parse_filters(filters: Iterable[str]) -> dict[str, list[str]]:
    """Turn `key=value` options into what the supervisor takes."""
    wanted: dict[str, list[str]] = {}
    for text in filters:
        key, separator, value = text.partition("=")
        if not separator or not key or not value:
            raise InvalidInput(f"'{text}' is no filter", hint="write KEY=VALUE, like status=stopped", field="filter")
        wanted.setdefault(key, []).append(value)
    return wanted


def _shortened(words: list[str], whole: bool) -> str:
    text = " ".join(words)
    return text if whole or len(text) <= _COMMAND_WIDTH else f"{text[: _COMMAND_WIDTH - 3]}..."
