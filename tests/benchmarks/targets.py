"""What is aimed at: each target as a figure of the rows, and what it must be compared with."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from tests.benchmarks.figures import SUBJECT_COMMAND, SUBJECT_LIBRARY, SUBJECT_OCI, Row

Key = tuple[str, str, str]  # measure, subject, item

_RUN = ("start-to-exit", SUBJECT_LIBRARY, "run")
_MANY = "fleet", SUBJECT_LIBRARY
_THOUSAND = (*_MANY, "starts per second up to 1000")


class Target(NamedTuple):
    """`figure`, or its ratio to `against`, is at most `limit`; at least, if `is_floor`."""

    text: str
    figure: Key
    limit: float
    against: Key | None = None
    is_floor: bool = False

    @property
    def needs(self) -> Key:
        """A row without which the figure is not the one that is meant: a smaller fleet's."""
        return _THOUSAND if self.figure[0] == "fleet" else self.figure


class Verdict(NamedTuple):
    target: Target
    value: float | None
    """None: a row that it needs was not measured."""

    @property
    def is_reached(self) -> bool:
        if self.value is None:
            return False
        return self.value >= self.target.limit if self.target.is_floor else self.value <= self.target.limit


def _run_of(subject: str) -> Key:
    return "start-to-exit", subject, "run"


TARGETS = (
    Target("library, `start` until the command is at work, at most 6 ms", ("start-to-exec", SUBJECT_LIBRARY, "start"), 6),
    Target("library, `start` until it is answered, amid peers, at most 6 ms", ("verbs", SUBJECT_LIBRARY, "start"), 6),
    Target("library, start to exit, with network: below crun, without", _RUN, 1, _run_of("crun")),
    Target("library, start to exit, with network: below lxc-start, without", _RUN, 1, _run_of("lxc")),
    Target("command, start to exit, at most 50 ms", _run_of(SUBJECT_COMMAND), 50),
    Target("command, start to exit, at most 0.15 of podman", _run_of(SUBJECT_COMMAND), 0.15, _run_of("podman")),
    Target("pycontainer-oci run, at most 0.7 of runc", _run_of(SUBJECT_OCI), 0.7, _run_of("runc")),
    *(
        Target(f"pycontainer-oci {verb}, at most 0.7 of runc", ("verbs", SUBJECT_OCI, verb), 0.7, ("verbs", "runc", verb))
        for verb in ("create", "start", "state", "delete")
    ),
    Target("1000 instances: at least 120 starts a second", _THOUSAND, 120, is_floor=True),
    Target("1000 instances: the 1000th start at most 1.2 of the 10th", (*_MANY, "the 1000th of the 10th"), 1.2),
    Target("1000 instances: at most 16 KB of ours each", (*_MANY, "memory of ours, each"), 16),
    Target("1000 instances: monitor at most 8 MB", (*_MANY, "memory of the monitor"), 8),
    Target("1000 instances: supervisor, idle, below 0.5 % of a core", (*_MANY, "supervisor, idle"), 0.5),
    Target("1000 instances: `ps` at most 150 ms", ("fleet", SUBJECT_COMMAND, "ps"), 150),
    *(
        Target(
            f"published port, bulk, {way}: at least 0.97 of a bare veth",
            ("port", f"pycontainer, 10 ports{suffix}", "bulk of bare veth"), 0.97, is_floor=True,
        )
        for way, suffix in (("with the fast path", ", fast path"), ("without it", ""))
    ),
    *(
        Target(
            f"published port, {kind}{suffix}: 1000 ports at least 0.97 of 10",
            ("port", f"pycontainer, 1000 ports{suffix}", f"{kind} of 10 ports"), 0.97, is_floor=True,
        )
        for kind, suffix in (("bulk", ", fast path"), ("bulk", ""), ("connections", ""))
    ),
)  # fmt: skip


def judge(rows: Sequence[Row]) -> list[Verdict]:
    """Hold the rows against all targets."""
    medians = {(each.measure, each.subject, each.item): each.median for each in rows}
    return [Verdict(target, _value(target, medians.get)) for target in TARGETS]


def _value(target: Target, median: Callable[[Key], float | None]) -> float | None:
    figure = median(target.figure)
    if figure is None or median(target.needs) is None:
        return None
    if target.against is None:
        return figure
    other = median(target.against)
    return figure / other if other else None
