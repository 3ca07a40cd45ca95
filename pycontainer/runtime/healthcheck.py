"""What a container's health is asked with, and what the answers amount to: pure, for the supervisor and for tests.

                      READY=1, if it was to say so                 as many failures in a row as `retries`
    starting ────────────────────────────────────▶ (ready) ─────────────────────────────────────▶ unhealthy
        │        one success ▼                                                                        │
        └────────────────▶ healthy ◀──────────────────────────── one success ────────────────────────┘

Failures within the start period count for nothing; the first success ends it. As Docker has it, whose fields they are.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from pycontainer.spec.model import ContainerSpec

STARTING, READY, HEALTHY, UNHEALTHY = "starting", "ready", "healthy", "unhealthy"
STATUSES = ("", STARTING, READY, HEALTHY, UNHEALTHY)
INTERVAL_SECONDS, TIMEOUT_SECONDS, START_INTERVAL_SECONDS, RETRIES = 30.0, 30.0, 5.0, 3
LEAST_SECONDS, MOST_SECONDS, MOST_RETRIES = 1.0, 86_400.0, 1000  # an image may ask for anything
KEPT_RESULTS = 5
CHECK_TARGETS = frozenset(("health_cmd", "health_http", "health_tcp"))  # a container has one of them
_SHELL = ("/bin/sh", "-c")


@dataclass(frozen=True, slots=True)
class Check:
    """One way to ask, and how often. `kind` is command, http or tcp."""

    kind: str
    command: tuple[str, ...] = ()
    port: int = 0
    path: str = ""
    interval_seconds: float = INTERVAL_SECONDS
    timeout_seconds: float = TIMEOUT_SECONDS
    retries: int = RETRIES
    start_period_seconds: float = 0.0
    start_interval_seconds: float = START_INTERVAL_SECONDS

    def describe(self) -> str:
        """Return it in a word or two: "tcp 5432", "http 8080/healthz", "command pg_isready"."""
        if self.kind == "command":
            return f"command {' '.join(self.command)}"
        return f"{self.kind} {self.port}{self.path}"


@dataclass(frozen=True, slots=True)
class Result:
    """One answer; `output` is what the command wrote, or the reason in words."""

    is_good: bool
    output: str
    began: float  # seconds since the epoch, for people
    seconds: float


def check_of(spec: ContainerSpec, config: Mapping[str, object]) -> Check | None:
    """Return the container's check: its own, else its image's; None where nobody asked for one, or it was turned off."""
    given = config.get("healthcheck")
    image: dict[str, Any] = given if isinstance(given, dict) else {}
    target = _own_target(spec)
    if target is None and not spec.health_cmd:
        target = _target(cast("list[str]", image.get("test") or []))
    if target is None:
        return None

    def chosen(own: float | None, key: str, default: float, least: float = LEAST_SECONDS) -> float:
        value = own if own is not None else image.get(key) or default
        return min(max(float(value), least), MOST_SECONDS)

    retries = spec.health_retries if spec.health_retries is not None else image.get("retries") or RETRIES
    return Check(
        **target,
        interval_seconds=chosen(spec.health_interval_seconds, "interval_seconds", INTERVAL_SECONDS),
        timeout_seconds=chosen(spec.health_timeout_seconds, "timeout_seconds", TIMEOUT_SECONDS),
        retries=min(int(retries), MOST_RETRIES),
        start_period_seconds=chosen(spec.health_start_period_seconds, "start_period_seconds", 0.0, 0.0),
        start_interval_seconds=chosen(
            spec.health_start_interval_seconds, "start_interval_seconds", START_INTERVAL_SECONDS
        ),
    )


def _own_target(spec: ContainerSpec) -> dict[str, Any] | None:
    if spec.health_tcp is not None:
        return {"kind": "tcp", "port": spec.health_tcp}
    if spec.health_http:
        port, _, path = spec.health_http.partition("/")
        return {"kind": "http", "port": int(port), "path": f"/{path}"}
    return _target(list(spec.health_cmd))


def _target(test: list[str]) -> dict[str, Any] | None:
    """Return what the words of Docker's field say: NONE, CMD and its words, or CMD-SHELL and one text."""
    if len(test) > 1 and test[0] == "CMD":
        return {"kind": "command", "command": tuple(test[1:])}
    if len(test) > 1 and test[0] == "CMD-SHELL":
        return {"kind": "command", "command": (*_SHELL, test[1])}
    return None


class Record:
    """What the checks of one run have found so far."""

    __slots__ = ("failing_streak", "results", "status")

    def __init__(self, status: str) -> None:
        self.status, self.failing_streak = status, 0
        self.results: deque[Result] = deque(maxlen=KEPT_RESULTS)

    def take(self, result: Result, check: Check, *, up_seconds: float) -> bool:
        """Note an answer, `up_seconds` after the start; tell whether the status is another one now."""
        before = self.status
        self.results.append(result)
        if result.is_good:
            self.failing_streak, self.status = 0, HEALTHY
        elif before not in (STARTING, READY) or up_seconds >= check.start_period_seconds:
            self.failing_streak += 1
            if self.failing_streak >= check.retries:
                self.status = UNHEALTHY
        return self.status != before

    def next_delay(self, check: Check, *, up_seconds: float) -> float:
        """Return the seconds to the next check: in the start period they come more often, or less."""
        is_starting = self.status in (STARTING, READY) and up_seconds < check.start_period_seconds
        return check.start_interval_seconds if is_starting else check.interval_seconds
