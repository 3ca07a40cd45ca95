"""Which caps are tried, with which load, and what came of it.

In every case two containers take all they can get of one resource at the same time, each under a cap of its own. The cap
holds if the first got what was asked for it, no more and no less, and if the second, its neighbour, kept its own.
"""

from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple, TypedDict

from pycontainer.client.client import Client
from pycontainer.errors import InvalidInput, PycontainerError, Unsupported
from pycontainer.selftest.stage import Stage
from pycontainer.units import parse_bit_rate, parse_bytes, parse_count, parse_cpus, parse_rate

TOLERANCE_PERCENT = 5
_SECONDS = "4"  # of every load that is a rate
_CPU_USEC = 100_000

Verdict = Literal["holds", "does not hold", "cannot be set here"]


class Outcome(TypedDict):
    """What one case showed; `reason` is empty if the cap holds, and numbers are None if nothing was measured."""

    resource: str
    option: str
    unit: str
    asked: float
    measured: float | None
    difference_percent: float | None
    neighbour_asked: float
    neighbour_measured: float | None
    neighbour_kept_percent: float | None
    verdict: Verdict
    reason: str


class Case(NamedTuple):
    """A cap, `field` of the container's settings, for the one who is tried and for the neighbour."""

    resource: str
    field: str
    asked: str
    neighbour_asked: str
    unit: str
    parse: Callable[[str], float]
    load: tuple[str, ...]
    neighbour_load: tuple[str, ...] = ()  # the same
    neighbour_fields: dict[str, Any] = {}  # beside the cap
    networked: bool = False

    @property
    def option(self) -> str:
        return f"--{self.field.replace('_', '-')} {self.asked}"


def _cpus(text: str) -> float:
    return parse_cpus(text) / _CPU_USEC


_HELD = "64M"
CASES = (
    Case("memory", "memory", "128M", _HELD, "bytes", parse_bytes, ("memory",),
         ("hold", str(parse_bytes(_HELD))), {"memory": "96M"}),
    Case("cpu", "cpus", "0.5", "0.25", "CPUs", _cpus, ("cpu", _SECONDS)),
    Case("pids", "pids", "48", "24", "processes", parse_count, ("pids", "1")),
    Case("disk", "disk", "64M", "32M", "bytes", parse_bytes, ("disk",)),
    Case("disk writes", "io_write", "8M", "4M", "bytes/s", parse_rate, ("io_write", _SECONDS)),
    Case("disk reads", "io_read", "8M", "4M", "bytes/s", parse_rate, ("io_read", _SECONDS)),
    Case("network out", "net_out", "20mbit", "10mbit", "bits/s", parse_bit_rate, ("net_out",), networked=True),
    Case("network in", "net_in", "20mbit", "10mbit", "bits/s", parse_bit_rate, ("net_in",), networked=True),
)  # fmt: skip


def run(host: Client) -> Iterator[Outcome]:
    """Yield the outcome of every case, as it comes."""
    for case in CASES:
        with Stage(host) as stage:
            try:
                yield _judge(case, *_play(stage, case))
            except (Unsupported, InvalidInput) as error:
                yield _outcome(case, "cannot be set here", error.message)
            except PycontainerError as error:
                yield _outcome(case, "does not hold", error.message)


def _play(stage: Stage, case: Case) -> tuple[float, float]:
    cap: dict[str, Any] = {case.field: case.asked}
    neighbour_cap = {case.field: case.neighbour_asked, **case.neighbour_fields}
    load = case.load
    neighbour_load = case.neighbour_load or load
    server = None
    if case.networked:
        cap["networks"] = neighbour_cap["networks"] = [stage.network()]
        server = stage.create("server", ("serve",), {"networks": cap["networks"]})
        neighbour_load = load = (*case.load, server.addresses[cap["networks"][0]]["ip"], _SECONDS)
    actor = stage.create("actor", load, cap)
    neighbour = stage.create("neighbour", neighbour_load, neighbour_cap)
    return stage.play(actor, neighbour, server)


def _judge(case: Case, measured: float, neighbour_measured: float) -> Outcome:
    outcome = _outcome(case, "holds", "")
    difference_percent = round((measured / outcome["asked"] - 1) * 100, 2)
    kept_percent = round(neighbour_measured / outcome["neighbour_asked"] * 100, 2)
    outcome["measured"], outcome["difference_percent"] = measured, difference_percent
    outcome["neighbour_measured"], outcome["neighbour_kept_percent"] = neighbour_measured, kept_percent
    reasons = []
    if abs(difference_percent) > TOLERANCE_PERCENT:
        reasons.append(f"{'more' if difference_percent > 0 else 'less'} came through than asked")
    if abs(kept_percent - 100) > TOLERANCE_PERCENT:
        reasons.append("the neighbour did not keep its share")
    if reasons:
        outcome["verdict"], outcome["reason"] = "does not hold", "; ".join(reasons)
    return outcome


def _outcome(case: Case, verdict: Verdict, reason: str) -> Outcome:
    return {
        "resource": case.resource,
        "option": case.option,
        "unit": case.unit,
        "asked": case.parse(case.asked),
        "measured": None,
        "difference_percent": None,
        "neighbour_asked": case.parse(case.neighbour_asked),
        "neighbour_measured": None,
        "neighbour_kept_percent": None,
        "verdict": verdict,
        "reason": reason,
    }
