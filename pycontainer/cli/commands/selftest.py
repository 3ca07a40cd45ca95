"""`pycontainer selftest`: proof, by real load, that this host holds what it is told."""

import signal
import sys

import click

from pycontainer.cli import output
from pycontainer.cli.context import Settings, pass_settings
from pycontainer.cli.report import tell
from pycontainer.selftest.limits import CASES, TOLERANCE_PERCENT, Outcome, run
from pycontainer.units import format_bytes_short

_HEADERS = ("RESOURCE", "CAP", "MEASURED", "DIFFERENCE", "NEIGHBOUR", "VERDICT")


@click.group
def command() -> None:
    """Prove by real load that this host holds what it is told."""


@command.command
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@pass_settings
def limits(settings: Settings, form: str) -> None:
    """Drive containers into each kind of cap, and tell what they got.

    For each cap two containers take all they can get at once, each under a cap of its own. It holds if the first got
    what it was allowed, within 5 percent, and if its neighbour kept its own. Takes about half a minute on an idle
    machine and leaves nothing behind. Ends with 1 if a cap does not hold; one that this host cannot set is told as such.

    \b
    Example:
      pycontainer selftest limits
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that containers are removed then, too
    outcomes: list[Outcome] = []
    with settings.client() as host:
        for number, outcome in enumerate(run(host), 1):
            outcomes.append(outcome)
            if sys.stderr.isatty():
                tell(f"{number}/{len(CASES)}  {outcome['resource']}: {outcome['verdict']}")
    if form == "json":
        output.show_json({"tolerance_percent": TOLERANCE_PERCENT, "limits": outcomes})
    else:
        output.table(_HEADERS, [_row(outcome) for outcome in outcomes])
    if any(outcome["verdict"] == "does not hold" for outcome in outcomes):
        raise click.exceptions.Exit(1)


def _row(outcome: Outcome) -> tuple[str, ...]:
    difference, kept = outcome["difference_percent"], outcome["neighbour_kept_percent"]
    return (
        outcome["resource"],
        outcome["option"],
        _amount(outcome["measured"], outcome["unit"]),
        "-" if difference is None else f"{difference:+.1f}%",
        "-" if kept is None else f"kept {kept:.1f}%",
        outcome["verdict"] + (f": {outcome['reason']}" if outcome["reason"] else ""),
    )


def _amount(value: float | None, unit: str) -> str:
    if value is None:
        return "-"
    if unit.startswith("bytes"):
        return format_bytes_short(round(value)) + unit.removeprefix("bytes")
    return f"{value / 1e6:.2f}mbit" if unit == "bits/s" else f"{value:.4g} {unit}"
