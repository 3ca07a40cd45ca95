"""`pycontainer events`: what happened, and what happens, as it happens."""

import json
import re
import time

import click

from pycontainer.cli.context import Settings, pass_settings
from pycontainer.cli.report import printable
from pycontainer.cli.times import parse_time
from pycontainer.errors import InvalidInput
from pycontainer.units import shown

_CURSOR = re.compile(r"[0-9]{1,15}", re.ASCII)
_NOT_SHOWN = ("time", "type", "boot")  # in text; json has all


@click.command
@click.option(
    "--since",
    metavar="SEQ|TIME",
    help="Begin after event number SEQ (0: all that are kept), or at a time: 10m (ago), 2026-11-23T18:00:00Z.",
)
@click.option("--until", metavar="TIME", help="End with what happened up to then.")
@click.option(
    "-f", "--filter", "filters", metavar="KEY=VALUE", multiple=True, help="type=, container= or tenant=. Repeatable."
)
@click.option("--no-follow", is_flag=True, help="End with what has happened so far.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="json: one object per line.",
)
@pass_settings
def command(
    settings: Settings, since: str | None, until: str | None, filters: tuple[str, ...], no_follow: bool, form: str
) -> None:
    """Show what happens, as it happens, and what has happened.

    Each event has a number, seq, that only grows, also over restarts: who gives the last one seen misses nothing.

    \b
    Example:
      pycontainer events --since 10m --filter container=web --filter type=die --filter type=oom
    """
    is_cursor = since is not None and _CURSOR.fullmatch(since) is not None
    with settings.client() as host:
        for event in host.events(
            after=int(since) if since and is_cursor else None,
            since=parse_time(since, field="since") if since and not is_cursor else None,
            until=parse_time(until, field="until") if until else None,
            filters=_parse_filters(filters),
            follow=not no_follow,
        ):
            if form == "json":
                click.echo(json.dumps(event))
                continue
            when = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(event.get("time", 0.0)))
            rest = [f"{key}={value}" for key, value in event.items() if key not in _NOT_SHOWN and value != ""]
            click.echo(printable(" ".join([when, str(event.get("type", "")), *rest])))


def _parse_filters(filters: tuple[str, ...]) -> dict[str, list[str]]:
    """Return {key: values}; which keys there are the supervisor knows."""
    found: dict[str, list[str]] = {}
    for entry in filters:
        key, separator, value = entry.partition("=")
        if not separator or not value:
            raise InvalidInput(
                f"{shown(entry)} is no filter", hint="write type=die, container=web or tenant=acme", field="filter"
            )
        found.setdefault(key, []).append(value)
    return found
