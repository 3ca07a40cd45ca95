"""`pycontainer doctor`: what crashes left on disk, what others did to our objects in the kernel, and its repair."""

from typing import Any

import click

from pycontainer.cli import output
from pycontainer.cli.context import Settings, pass_settings
from pycontainer.cli.report import in_world, printable
from pycontainer.units import format_bytes_short


@click.command
@click.option("--storage", is_flag=True, help="Look at the storage alone.")
@click.option("--deep", is_flag=True, help="Read every blob as well, and compare it with its digest.")
@click.option("--fix", is_flag=True, help="Repair what can be repaired without a person's decision.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@pass_settings
def command(settings: Settings, storage: bool, deep: bool, fix: bool, form: str) -> None:
    """Find and repair damage to the storage, and to what runs.

    A power cut or a full disk may have left it, or somebody who deleted a link or wrote into the files of a cgroup. One
    line for each finding: what, where, how large, why, and what --fix does. Containers may run and imports be at work
    meanwhile. Limits, links and the like that somebody else changed or deleted are also put right without being
    asked, once a minute; the storage is not. The exit code is 0 when nothing is wrong, or no more, and 1 otherwise.

    \b
    Example:
      pycontainer doctor
      pycontainer doctor --storage --fix
    """
    with settings.client() as host:
        result = host.doctor(deep=deep, fix=fix, storage=storage)
    findings = result["findings"]
    if form == "json":
        output.show_json(result)
    else:
        for line in result["repaired_at_start"]:
            click.echo(printable(f"repaired when the supervisor started: {line}"))
        for finding in findings:
            click.echo(printable(in_world(_line(finding))))
        if not findings:
            click.echo("nothing found")
    if any(not finding["repaired"] for finding in findings):
        raise click.exceptions.Exit(1)


def _line(finding: dict[str, Any]) -> str:
    size = "" if finding["size_bytes"] is None else f" ({format_bytes_short(finding['size_bytes'])})"
    text = f"{finding['kind']}: {finding['where']}{size}: {finding['what']}; "
    if finding["repaired"]:
        return f"{text}repaired"
    if finding["error"]:
        return f"{text}not repaired: {finding['error']}"
    return text + (f"--fix {finding['remedy']}" if finding["repairable"] else finding["remedy"])
