"""`pycontainer logs`: what a container has written."""

import sys

import click

from pycontainer.cli.context import Settings, container_argument, pass_settings
from pycontainer.cli.times import parse_time
from pycontainer.errors import InvalidInput
from pycontainer.units import shown


@click.command
@container_argument
@click.option("-f", "--follow", is_flag=True, help="Go on until the container ends.")
@click.option("-n", "--tail", metavar="LINES", default="all", help="Only the last lines.")
@click.option(
    "--since", metavar="TIME", help="Only from then on: 10m (ago), 2026-11-23T18:00:00Z, seconds since the epoch."
)
@click.option("--until", metavar="TIME", help="Only up to then.")
@click.option("-t", "--timestamps", is_flag=True, help="Show when each line was written (UTC).")
@pass_settings
def command(
    settings: Settings, container: str, follow: bool, tail: str, since: str | None, until: str | None, timestamps: bool
) -> None:
    """Show what a container has written to stdout and stderr.

    \b
    Example:
      pycontainer logs -f --tail 20 web
    """
    count = None if tail == "all" else _parse_tail(tail)
    start = parse_time(since, field="since") if since else None
    end = parse_time(until, field="until") if until else None
    streams = {"stdout": sys.stdout.buffer, "stderr": sys.stderr.buffer}
    begins, last = dict.fromkeys(streams, True), "stdout"
    with settings.client() as host:
        for line in host.container(container).logs(follow=follow, tail=count, since=start, until=end):
            stream = streams[line.stream]
            if line.stream != last:  # both may be one file, which is to have the lines in their order
                streams[last].flush()
                last = line.stream
            if timestamps and begins[line.stream]:
                stream.write(line.time.encode() + b" ")
            begins[line.stream] = line.is_whole
            stream.write(line.data)
            if follow:
                stream.flush()
        for stream in streams.values():
            stream.flush()


def _parse_tail(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) <= 18:
        return int(text)
    raise InvalidInput(f"{shown(text)} is no number of lines", hint="write a number, or all", field="tail")
