"""One answer to "why did it stop?" and "why is it slow?", from what happened (events.py) and what the kernel counts.

    journal ──▶ how it ended: exit code or signal, who sent it, whose memory was short; what kept it from starting; health
    cgroups ──▶ what is in its way: two looks a moment apart, at the container and at its tenant; and the host's pressure

What is not known is said to be unknown: a signal that neither we nor the kernel's out-of-memory killer sent may come from
inside, or from root on the host, and no kernel tells which.
"""

import asyncio
import contextlib
import signal
from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pycontainer.cgroup.base import parse_keyed
from pycontainer.controllers import registry
from pycontainer.controllers.protocol import Instance, Reading
from pycontainer.errors import NotFound
from pycontainer.runtime.container import Container
from pycontainer.supervisor.events import KERNEL
from pycontainer.supervisor.journal import Event
from pycontainer.supervisor.world import World
from pycontainer.units import format_bytes_short, format_cpus

_MAX_EVENTS, _MAX_HEALTH, _MAX_TOLD = 500, 20, 20
_LEAST_PREFIX = 4
_NEAR, _HIGH_PRESSURE_PERCENT = 0.9, 10.0
_FAULTS = frozenset(
    {signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT, signal.SIGSYS, signal.SIGTRAP}
)
_NOISE = frozenset({"exec"})  # of which there may be thousands, and which end nothing
_OURS = {"health": "it was unhealthy", "not-ready": "it did not say READY=1 in time"}  # causes that are not a request's
_REFUSALS = {  # what `fail_count` counts, of the resources where it slows or refuses something
    "memory": "allocations met the limit",
    "pids": "forks were refused",
    "hugetlb": "huge pages were refused",
    "net_in": "packets were dropped on their way in",
    "net_out": "packets were dropped on their way out",
    "net_packets": "packets beyond the rate were dropped",
    "net_connections": "connections were refused",
}


class Sample(NamedTuple):
    """One look at the counts of a cgroup."""

    readings: dict[str, tuple[str, Reading]]
    periods: int  # of the CPU's quota
    throttled: int
    throttled_usec: int
    oom_kills: int


def take(instance: Instance) -> Sample:
    """Look now. Raises OSError when the cgroup is gone."""
    cpu: dict[str, int] = {}
    with contextlib.suppress(FileNotFoundError):  # a host without that controller
        if instance.cgroup.has("cpu"):
            cpu = parse_keyed(instance.cgroup.read("cpu", "cpu.stat"))
    throttled_usec = cpu.get("throttled_usec", cpu.get("throttled_time", 0) // 1000)
    kills = instance.cgroup.oom_kills() if instance.cgroup.has("memory") else 0
    return Sample(
        registry.readings(instance), cpu.get("nr_periods", 0), cpu.get("nr_throttled", 0), throttled_usec, kills
    )


async def explain(world: World, reference: str, seconds: float) -> dict[str, object]:
    """Return Why (client/types.py) of a container, also of one that is removed; `seconds` lie between the two looks."""
    container: Container | None = None
    slow: list[dict[str, object]] = []
    try:
        container = world.find(reference)
    except NotFound:
        found = await _events_of(world, reference, "")
        if not found:
            raise
    else:
        if container.id in world.runs:
            slow = await _slowness(world, container, seconds)
        found = await _events_of(world, reference, container.id)
    status = world.status(container) if container is not None and container.id in world.containers else "removed"
    ended, failed = how_it_ended(found), start_failure(found)
    if ended is None and container is not None and status in ("stopped", "restarting"):
        ended = _recorded_end(container)
    return {
        "id": container.id if container is not None else found[-1]["id"],
        "name": container.spec.name if container is not None else found[-1]["name"],
        "status": status,
        "summary": summary(status, found, ended, failed, slow),
        "ended": ended,
        "start_failed": failed,
        "slow": slow,
        "health": [event for event in found if event["type"] == "health"][-_MAX_HEALTH:],
        "events": found[-_MAX_TOLD:],
    }


async def _events_of(world: World, reference: str, container_id: str) -> list[Event]:
    """Return the newest events of a container; without an id, of the last one that had this name, or an id that begins so."""
    needle, scope = (container_id or reference).encode(errors="replace"), world.scope()
    newest: deque[Event] = deque(maxlen=_MAX_EVENTS)
    async for event in world.events.history(0, world.events.last, lambda line: needle in line):
        own_id = event.get("id")
        if scope is not None and not scope.holds(event):
            continue
        if not isinstance(own_id, str) or not isinstance(event.get("name"), str) or event["type"] in _NOISE:
            continue
        is_prefix = len(reference) >= _LEAST_PREFIX and own_id.startswith(reference)
        is_named = event["name"] == reference or scope is not None and event["name"] == f"{reference}.{scope.tenant}"
        if own_id == container_id or not container_id and (is_named or is_prefix):
            newest.append(event)
    if newest and not container_id:
        return [event for event in newest if event["id"] == newest[-1]["id"]]
    return list(newest)


# -- why it stopped ------------------------------------------------------------------------------------------------------


def how_it_ended(found: Sequence[Event]) -> dict[str, object] | None:
    """Return what is known of the last end among a container's events, with the whole story as `text`."""
    position = next((at for at in reversed(range(len(found))) if found[at]["type"] == "die"), None)
    if position is None:
        return None
    die = found[position]
    begin = next((at for at in reversed(range(position)) if found[at]["type"] in ("start", "die")), 0)
    kills = [event for event in found[begin:position] if event["type"] == "kill"]
    # The kernel's log may be read after the end was heard of.
    after = next((at for at in range(position + 1, len(found)) if found[at]["type"] in ("start", "die")), len(found))
    ooms = [event for event in found[begin:after] if event["type"] == "oom"]
    return {
        "time": die["time"],
        "exit_code": die.get("exit_code"),
        "signal": die.get("signal"),
        "cause": die.get("cause", ""),
        "actor": die.get("actor", ""),
        "oom": next((event for event in reversed(ooms) if "victim" in event), ooms[-1] if ooms else None),
        "text": _story(die, kills, ooms),
    }


def _recorded_end(container: Container) -> dict[str, object]:
    """Return what the record alone tells: its events are kept no longer."""
    code = container.exit_code
    text = "nobody saw how it ended" if code is None else f"it ended with exit code {code}"
    if container.oom_killed:
        text += "; something in it was killed for want of memory"
    return {
        "time": container.finished,
        "exit_code": code,
        "signal": container.killed_by or None,
        "cause": "oom" if container.oom_killed else "",
        "actor": "",
        "oom": None,
        "text": f"{text}; its events are kept no longer",
    }


def _story(die: Event, kills: Sequence[Event], ooms: Sequence[Event]) -> str:
    code, number, cause = die.get("exit_code"), die.get("signal"), die.get("cause")
    ending = f"by {_name(number)}" if number else f"with exit code {code}"
    if cause == "oom":
        return _want_of_memory(ooms)
    more = f"; before that, {_want_of_memory(ooms)}" if ooms else ""
    if cause == "reboot":
        return f"it asked inside to be started anew{more}"
    if cause == "host-down":
        return f"the host went down while it ran{more}"
    if cause == "unknown" or code is None:
        return f"nobody saw how it ended: the monitor had died, or its record was damaged{more}"
    if cause == "signal":
        return f"it ended {ending}; {_sender(die, int(number or 0), code)}{more}"
    if kills and cause not in ("exit", "failure"):
        first, last = kills[0], kills[-1]
        sent = _name(first.get("signal"))
        if last.get("signal") != first.get("signal"):
            sent += f", then {_name(last.get('signal'))} ({last.get('cause')})"
        asked = _OURS.get(str(cause), first.get("cause"))
        return f"{first.get('actor')} asked for it ({asked}) with {sent}; it ended {ending}{more}"
    if cause == "asked":
        return f"it was asked to end, by whom is not known any more; it ended {ending}{more}"
    child = ""
    if code > 128 and code - 128 < signal.NSIG:
        child = f", which is what a shell or an init says of a child that ended by {_name(code - 128)}"
    return f"it ended by itself {ending}{child}{more}"


def _sender(die: Event, number: int, code: int) -> str:
    if die.get("actor") not in (KERNEL, None):
        return f"{die['actor']} sent it"
    if number in _FAULTS:
        return "that is how the kernel ends a program at fault, unless somebody sent it"
    return (
        "neither pycontainer nor the kernel's out-of-memory killer sent it: a process inside did, or root on the host"
    )


def _want_of_memory(ooms: Sequence[Event]) -> str:
    """Say who was killed, how large it was, and whose limit was reached."""
    told = next((event for event in reversed(ooms) if isinstance(event.get("victim"), dict)), None)
    if told is None:
        return "something in it was killed for want of memory; the kernel's log did not tell us what"
    victim, limit_bytes = told["victim"], told.get("limit_bytes")
    limit = f" of {format_bytes_short(limit_bytes)}" if limit_bytes else ""
    reached = {
        "container": f"its own limit{limit} was reached",
        "tenant": f"the limit{limit} of its tenant '{told.get('tenant', '')}' was reached",
        "all containers": "the limit of all containers together was reached",
    }.get(told.get("limit_of", ""), "the host had no memory left")
    count = sum("victim" in event for event in ooms)
    others = f" (the last of {count} kills)" if count > 1 else ""
    return (
        f"'{victim.get('command')}' (pid {victim.get('pid')}), which held {format_bytes_short(victim.get('rss_bytes', 0))}, "
        f"was killed for want of memory{others}: {reached}"
    )


def start_failure(found: Sequence[Event]) -> dict[str, object] | None:
    """Return what kept it from starting, if no start has succeeded since."""
    for event in reversed(found):
        if event["type"] == "start":
            return None
        if event["type"] == "start-failed":
            text = event.get("detail") or event.get("cause") or ""
            return {"time": event["time"], "actor": event.get("actor", ""), "step": event.get("step", ""), "text": text}
    return None


def summary(
    status: str,
    found: Sequence[Event],
    ended: dict[str, object] | None,
    failed: dict[str, object] | None,
    slow: Sequence[dict[str, object]],
) -> str:
    """Return the answer in one sentence."""
    if status == "removed":
        removed = next((event for event in reversed(found) if event["type"] == "remove"), None)
        who = f" by {removed.get('actor')}" if removed is not None else ""
        return f"removed{who}" + (f"; before that, {ended['text']}" if ended is not None else "")
    if status == "paused":
        paused = next((event for event in reversed(found) if event["type"] == "pause"), None)
        return "paused: nothing in it runs" + (f"; {paused.get('actor')} asked for it" if paused is not None else "")
    if failed is not None and status != "running":
        return f"it could not be started: {failed['text']}"
    if status == "running":
        now = [str(each["text"]) for each in slow if each["is_now"]]
        return f"running, held up: {'; '.join(now)}" if now else "running; nothing is in its way now"
    if ended is None:
        return "never started" if status == "created" else f"{status}; nothing more is known"
    return f"{status}: {ended['text']}"


def _name(number: object) -> str:
    try:
        return signal.Signals(int(str(number))).name
    except ValueError:  # a real-time one
        return f"signal {number}"


# -- why it is slow ------------------------------------------------------------------------------------------------------


async def _slowness(world: World, container: Container, seconds: float) -> list[dict[str, object]]:
    """Return what holds up a container that runs; if it ends meanwhile, nothing does."""
    tenant = container.spec.tenant
    instances = [("container", world.instance(container, world.run_of(container).cgroup))]
    if tenant and tenant in world.tenants.by_name and world.tenants.is_raised(tenant):
        instances.append(("tenant", world.tenants.instance(tenant)))
    try:
        before = [take(instance) for _, instance in instances]
        await asyncio.sleep(seconds)
        after = [take(instance) for _, instance in instances]
    except OSError:
        return []
    found = [
        each
        for (whose, _), old, new in zip(instances, before, after, strict=True)
        for each in hindrances(whose, old, new, seconds)
    ]
    return found + host_pressure("/proc/pressure")


def hindrances(whose: str, before: Sample, after: Sample, seconds: float) -> Iterator[dict[str, object]]:
    """Yield what two looks tell: `is_now` if it was so between them, else since the start."""
    prefix = "" if whose == "container" else "its tenant: "

    def found(resource: str, text: str, *, is_now: bool) -> dict[str, object]:
        return {"of": whose, "resource": resource, "is_now": is_now, "text": f"{prefix}{text}"}

    yield from (found("cpu", text, is_now=is_now) for text, is_now in _throttling(before, after, seconds))
    if after.oom_kills:
        recent = after.oom_kills - before.oom_kills
        text = f"memory: {after.oom_kills} of its processes were killed for want of memory in all"
        yield found("memory", text, is_now=recent > 0)
    waited_for: set[str] = set()
    for resource, (unit, reading) in after.readings.items():
        failed = reading.fail_count
        old = before.readings.get(resource)
        recent = failed - old[1].fail_count if old is not None else 0
        if failed and (what := _REFUSALS.get(resource)) is not None:
            limit = f" (limit {_amount(reading.limit, unit)})" if reading.limit is not None else ""
            lately = f", {recent} of them in the last {seconds:g} s" if recent > 0 else ""
            yield found(resource, f"{resource}: {failed} {what} in all{lately}{limit}", is_now=recent > 0)
        elif _is_full(resource, unit, reading):
            held = f"{_amount(reading.held, unit)} of {_amount(reading.limit, unit)}"
            yield found(resource, f"{resource}: {held} are in use", is_now=True)
        kind = resource.partition("_")[0]  # io_read and its kin have one pressure
        percent = reading.pressure or 0.0
        if percent >= _HIGH_PRESSURE_PERCENT and kind not in waited_for:
            waited_for.add(kind)
            share = f"in {percent:.0f}% of the last 10 s something in it waited for that"
            yield found(resource, f"{kind}: {share}", is_now=True)


def _throttling(before: Sample, after: Sample, seconds: float) -> Iterator[tuple[str, bool]]:
    if not after.throttled:
        return
    limit = after.readings["cpu"][1].limit if "cpu" in after.readings else None
    cap = f" by its limit of {format_cpus(limit)} CPUs" if limit is not None else ""
    total = f"{100 * after.throttled / max(after.periods, 1):.0f}% of all periods, {after.throttled_usec / 1e6:.1f} s"
    periods, throttled = after.periods - before.periods, after.throttled - before.throttled
    if throttled > 0:
        share = 100 * throttled / max(periods, 1)
        yield f"cpu: throttled{cap} in {share:.0f}% of the periods of the last {seconds:g} s (in all: {total})", True
    else:
        yield f"cpu: throttled{cap} before, not now (in all: {total})", False


def _is_full(resource: str, unit: str, reading: Reading) -> bool:
    """Tell whether a stock, such as disk, is nearly used up; page cache fills memory, which is no harm."""
    if resource == "memory" or unit not in ("bytes", "tasks", "inodes") or reading.held is None or not reading.limit:
        return False
    return reading.held >= reading.limit * _NEAR


def _amount(value: int | None, unit: str) -> str:
    return format_bytes_short(value or 0) if unit == "bytes" else f"{value}"


def host_pressure(directory: str) -> list[dict[str, object]]:
    """Return what the host itself is short of. Documentation/accounting/psi.rst"""
    found: list[dict[str, object]] = []
    for resource in ("cpu", "memory", "io"):
        try:
            with open(f"{directory}/{resource}", encoding="ascii") as file:
                percent = float(file.readline().split()[1].removeprefix("avg10="))
        except (OSError, IndexError, ValueError):  # built without, or switched off
            continue
        if percent >= _HIGH_PRESSURE_PERCENT:
            text = f"the host: in {percent:.0f}% of the last 10 s something waited for {resource}"
            found.append({"of": "host", "resource": resource, "is_now": True, "text": text})
    return found
