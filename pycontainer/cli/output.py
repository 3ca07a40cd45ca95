"""Tables and words for people."""

import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import click

from pycontainer.cli.report import printable, show_error
from pycontainer.errors import InvalidInput, PycontainerError

F = TypeVar("F", bound=Callable[..., Any])

_AGES = ((60 * 60 * 24 * 365, "year"), (60 * 60 * 24 * 30, "month"), (60 * 60 * 24 * 7, "week"),
         (60 * 60 * 24, "day"), (60 * 60, "hour"), (60, "minute"), (1, "second"))  # fmt: skip

_CAUSES = {"health": ", unhealthy", "not-ready": ", not ready in time", "start-failed": ", could not be started"}


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table to stdout: aligned text, the heading bold on a terminal. No word is broken, also where a row is longer
    than the terminal is wide: what is shown can be copied."""
    heading, *lines = aligned(headers, [[printable(cell) for cell in row] for row in rows]).split("\n")
    click.echo("\n".join([click.style(heading, bold=True), *lines]))


def aligned(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return the table as text, columns three blanks apart."""
    lines = [list(headers), *([*row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headers))]
    return "\n".join(
        "   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def tell_of_damage(infos: Sequence[Any]) -> None:
    """Say on stderr what is wrong with those of a list whose records cannot be read."""
    for info in infos:
        if damage := info.get("damaged") or (info.get("status") == "damaged" and info["warnings"][0]):
            show_error(damage)


def confirm(question: str, *, yes: bool) -> None:
    """Ask a person whether to go on; raises InvalidInput where nobody can be asked and `yes` was not given."""
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise InvalidInput("this has to be confirmed, and there is no terminal to ask on", hint="give --yes")
    ask(question)


def ask(question: str) -> None:
    """Ask a person whether to go on; raises PycontainerError for a no."""
    if not click.confirm(f"{question} Go on?", err=True):
        raise PycontainerError("nothing was removed")


def show_json(data: Any) -> None:
    """Print `data` as JSON; everything not ASCII is escaped, so no terminal obeys it."""
    click.echo(json.dumps(data, indent=2))


def inspected(command: F) -> F:
    """Take Docker's `--format json`, which says what is the case here anyway."""
    form = click.Choice(["json"])
    return click.option("-f", "--format", "form", type=form, hidden=True, expose_value=False, help="As it is.")(command)


def show_each(names: Iterable[str], look: Callable[[str], Any]) -> None:
    """Print as one JSON list what is found of each name; report what cannot be looked at, exit with the first's code."""
    found, errors = [], []
    for name in names:
        try:
            found.append(look(name))
        except PycontainerError as error:
            errors.append(error)
    if found or not errors:
        show_json(found)
    for each in errors:
        show_error(each.message, each.hint)
    if errors:
        raise click.exceptions.Exit(errors[0].exit_code)


def duration(seconds: float) -> str:
    """Return 200 as "3 minutes"."""
    for length, unit in _AGES:
        count = int(seconds // length)
        if count >= 1:
            return f"{count} {unit}{'s' if count > 1 else ''}"
    return "less than a second"


def ago(epoch_seconds: float | None) -> str:
    """Return how long ago a time was: "2 hours ago"."""
    return f"{duration(max(0.0, time.time() - epoch_seconds))} ago" if epoch_seconds else "-"


def status(info: Any) -> str:
    """Return a container's status as `ps` words it: "Up 3 minutes", "Exited (0) 2 hours ago", "Up 1 hour, 1 warning"."""
    count = len(info["warnings"])
    return _state(info) + (f", {count} warning{'s' if count > 1 else ''}" if count else "")


def profile(info: Any) -> str:
    """Return a container's profile, marked if its options loosen it: "app !"."""
    return f"{info['profile']} !" if info["loosened"] else str(info["profile"])


def _state(info: Any) -> str:
    state = info["status"]
    if state == "damaged":
        return "Damaged"
    if state in ("running", "paused"):
        up = f"Up {duration(max(0.0, time.time() - (info['started'] or time.time())))}"
        words = [word for word in (info["health"], "paused" if state == "paused" else "") if word]
        return f"{up} ({', '.join(words)})" if words else up
    code = "unknown" if info["exit_code"] is None else info["exit_code"]
    if state == "stopped":
        killed = ", out of memory" if info["oom_killed"] else _CAUSES.get(info["cause"], "")
        return f"Exited ({code}{killed}) {ago(info['finished'])}"
    if state == "restarting":
        return f"Restarting ({code}) {ago(info['finished'])}"
    return "Created"


def ports(info: Any) -> str:
    """Return the published ports: "8080->80/tcp" on every address of the host, "127.0.0.1:5353->53/udp" on one."""
    return ", ".join(f"{host_address(port)}->{port['container_port']}/{port['protocol']}" for port in info["ports"])


def host_address(port: Any) -> str:
    """Return the host's side of a published port: "8080" on every address, "127.0.0.1:8080", "[::1]:8080"."""
    host_ip = port["host_ip"]
    if not host_ip:
        return str(port["host_port"])
    return f"[{host_ip}]:{port['host_port']}" if ":" in host_ip else f"{host_ip}:{port['host_port']}"


def addresses(info: Any) -> str:
    """Return the addresses of a container, IPv4 before IPv6."""
    found = [address[key] for key in ("ip", "ip6") for address in info["networks"].values() if address.get(key)]
    return ", ".join(found)
