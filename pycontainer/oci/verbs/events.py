"""`events ID`: what a container uses, every few seconds, and each kill for want of memory; one JSON object a line."""

from __future__ import annotations

import os
import select
import time

from pycontainer.errors import InvalidInput, InvalidState, Unsupported
from pycontainer.oci import output, text
from pycontainer.oci.state import State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontainer.oci.arguments import Options
    from pycontainer.oci.cgroups import Group

OOM_SECONDS = 0.5  # how often the counter of kills is looked at
_UNITS = (("ms", 10**6), ("us", 10**3), ("µs", 10**3), ("ns", 1), ("h", 3600 * 10**9), ("m", 60 * 10**9), ("s", 10**9))


def run(options: Options) -> None:
    """Print once with `--stats`, else until the container ends."""
    interval_seconds = duration_seconds(options.interval)
    state = State.load(options.root, options.id)
    if state.status() in ("stopped", "creating"):
        raise InvalidState(f"container not running: '{options.id}'")
    group = state.group()
    if group is None:
        raise Unsupported("a container without a cgroup has no statistics", feature="cgroup")
    if options.stats:
        _print("stats", state.id, group.stats())
        return
    pidfd = state.open_pidfd()
    if pidfd is None:
        return
    try:
        _follow(state.id, group, pidfd, interval_seconds)
    finally:
        os.close(pidfd)


def _follow(container_id: str, group: Group, pidfd: int, interval_seconds: float) -> None:
    """Print until the first process ends; the kills that ended it are told before."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    kills = group.oom_kills()
    due = time.monotonic() + interval_seconds
    while True:
        left = max(0.0, due - time.monotonic())
        has_ended = bool(poll.poll(min(left, OOM_SECONDS) * 1000))
        try:
            now = group.oom_kills()
            for _ in range(now - kills):
                _print("oom", container_id, None)
            kills = max(kills, now)
            if not has_ended and time.monotonic() >= due:
                due += interval_seconds
                _print("stats", container_id, group.stats())
        except OSError as error:
            if isinstance(error, BrokenPipeError) or not poll.poll(0):
                raise
            return  # deleted while we looked
        if has_ended:
            return


def _print(kind: str, container_id: str, data: object) -> None:
    event = {"type": kind, "id": container_id} | ({} if data is None else {"data": data})
    output.write(text.dumps(event) + "\n")


def duration_seconds(value: str) -> float:
    """Return the seconds of a duration as Go writes it: `5s`, `1m30s`, `1.5h`, `500ms`."""
    wrong = InvalidInput(f"invalid interval '{value}'", hint="write a duration such as 500ms, 5s or 1m30s")
    rest, total = value, 0.0
    while rest:
        digits = rest[: len(rest) - len(rest.lstrip("0123456789."))]
        rest = rest[len(digits) :]
        unit = next((unit for unit, _ in _UNITS if rest.startswith(unit)), "")
        if not unit or digits.count(".") > 1 or not digits.strip(".") or len(digits) > 18:
            raise wrong
        total += float(digits) * dict(_UNITS)[unit] / 10**9
        rest = rest[len(unit) :]
    if not 0 < total < 1e9:
        raise wrong
    return total
