"""`pycontainer why`: one answer to "why did it stop" and "why is it slow"."""

import time
from typing import TYPE_CHECKING

import click

from pycontainer.cli import output
from pycontainer.cli.context import Settings, container_argument, pass_settings
from pycontainer.cli.numbers import Seconds
from pycontainer.cli.report import printable

if TYPE_CHECKING:
    from pycontainer.client.types import Event, Why

_HEADERS = ("TIME", "EVENT", "CAUSE", "BY")


@click.command
@container_argument
@click.option(
    "--seconds",
    type=Seconds(0, 60),
    default=1.0,
    show_default=True,
    metavar="NUMBER",
    help="How long to watch what a running container waits for.",
)
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@pass_settings
def command(settings: Settings, container: str, seconds: float, form: str) -> None:
    """Say why a container stopped, or is slow.

    How it ended and who asked for it, whose memory was short, what its start failed at, its health; throttled CPU time,
    refused forks, pressure. Also of one that is removed, as long as its events are kept.

    \b
    Example:
      pycontainer why web
    """
    with settings.client() as host:
        answer = host.why(container, seconds=seconds)
    if form == "json":
        output.show_json(answer)
        return
    for line in _lines(answer):
        click.echo(printable(line))
    if answer["events"]:
        click.echo()
        output.table(_HEADERS, [_row(event) for event in answer["events"]])


def _lines(answer: "Why") -> list[str]:
    """Return the answer, and below it what it does not have in it."""
    lines = [f"{answer['name']}: {answer['summary']}"]
    ended, failed = answer["ended"], answer["start_failed"]
    if ended is not None and ended["time"] is not None:
        code = "unknown" if ended["exit_code"] is None else str(ended["exit_code"])
        lines.append(f"  last end: {output.ago(ended['time'])}, exit code {code}")
        if ended["text"] not in answer["summary"]:
            lines.append(f"    {ended['text']}")
    if failed is not None and failed["text"] not in answer["summary"]:
        lines.append(f"  last start failed {output.ago(failed['time'])}: {failed['text']}")
    lines += [f"  {each['text']}" for each in answer["slow"] if each["text"] not in answer["summary"]]
    lines += [f"  health: {_health(event)}" for event in answer["health"][-3:]]
    return lines


def _health(event: "Event") -> str:
    cause = event.get("cause", "")
    return f"{event.get('status', '')} {output.ago(event['time'])}" + (f": {cause}" if cause else "")


def _row(event: "Event") -> tuple[str, ...]:
    when = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(event["time"]))
    cause = event.get("cause") or event.get("detail") or ""
    return when, event["type"], cause if len(cause) <= 60 else f"{cause[:57]}...", event.get("actor", "")
