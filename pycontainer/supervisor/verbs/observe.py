"""ping, list, inspect, info, capacity, events, why, shutdown: looking at the world, and leaving it."""

import asyncio
import os

from pycontainer import __version__
from pycontainer.errors import Busy, InvalidInput
from pycontainer.runtime.container import Container
from pycontainer.supervisor.authorise import may_see_image
from pycontainer.supervisor.call import Call
from pycontainer.supervisor.caller import current_caller
from pycontainer.supervisor.eventstream import MAX_CURSOR, MAX_SECONDS, stream, wanted
from pycontainer.supervisor.reload import load_new_code
from pycontainer.supervisor.report import container_info, full_record
from pycontainer.supervisor.why import explain
from pycontainer.supervisor.world import World
from pycontainer.units import shown

_MAX_LOOK_SECONDS = 60
_FILTERS = ("id", "name", "label", "status", "image", "network", "exited", "health", "cause", "tenant")
# exited is Docker's word for stopped
_STATUSES = ("created", "running", "paused", "restarting", "stopped", "exited", "damaged")


async def ping(world: World, call: Call) -> object:
    return {"version": __version__, "pid": os.getpid()}


async def list(world: World, call: Call) -> object:
    """Return the containers that run, or all, that match every filter (any value of one filter suffices)."""
    filters = call.mapping("filters")
    for key in filters:
        if key not in _FILTERS:
            raise InvalidInput(f"unknown filter {shown(key)}", field="filter", hint="one of " + ", ".join(_FILTERS))
    for status in _texts(filters.get("status", ())):
        if status not in _STATUSES:
            raise InvalidInput(f"{shown(status)} is no status", field="filter", hint="one of " + ", ".join(_STATUSES))
    show_all = call.flag("all") or "status" in filters or "exited" in filters
    chosen = [c for c in world.seen() if show_all or c.id in world.runs]
    damaged = [item.info() for item in world.seen_broken()]  # whatever was asked for: nobody should miss them
    result = [info for info in damaged if all(_damaged_matches(info, key, values) for key, values in filters.items())]
    for container in sorted(chosen, key=lambda c: c.created, reverse=True):
        info = container_info(world, container)
        if all(_matches(container, info, key, values) for key, values in filters.items()):
            result.append(info)
    return result


def _texts(values: object) -> tuple[str, ...]:
    """Return the values of a filter, which are one or several."""
    return tuple(map(str, values)) if isinstance(values, tuple | type([])) else (str(values),)


def _matches(container: Container, info: dict[str, object], key: str, values: object) -> bool:
    wanted = _texts(values)
    if key == "id":
        return any(container.id.startswith(value) for value in wanted)
    if key == "name":
        return any(value in container.spec.name for value in wanted)
    if key == "network":
        return any(value in container.spec.networks for value in wanted)
    if key == "exited":
        return str(info["exit_code"]) in wanted
    if key == "label":
        labels = dict(container.spec.labels)
        return all(
            labels.get(name) == value if separator else name in labels
            for name, separator, value in (entry.partition("=") for entry in wanted)
        )
    return info[key] in wanted or (key == "status" and info[key] == "stopped" and "exited" in wanted)


def _damaged_matches(info: dict[str, object], key: str, values: object) -> bool:
    """Match what is known of a container whose record cannot be read: its id, its status, perhaps its name."""
    wanted = _texts(values)
    if key == "id":
        return any(str(info["id"]).startswith(value) for value in wanted)
    if key == "name":
        return any(value in str(info["name"]) for value in wanted)
    if key == "tenant":
        return info["tenant"] in wanted
    return key == "status" and "damaged" in wanted


async def inspect(world: World, call: Call) -> object:
    return full_record(world, world.find(call.text("container")))


async def info(world: World, call: Call) -> object:
    caller = current_caller()
    facts: dict[str, object] = {
        "version": __version__,
        "root": world.paths.root or "",
        "state_dir": world.paths.state_dir,
        "run_dir": world.paths.run_dir,
        "kernel": os.uname().release,
        "machine": os.uname().machine,
        "cpus": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "cgroup_version": world.hierarchy.layout.version,
        "supervisor_pid": os.getpid(),
        "operators": world.operators.describe(),
        "containers": len(world.seen()),
        "running": len(world.seen_running()),
        "images": sum(may_see_image(image["name"]) for image in world.images.list()),
        "damaged": [error.message for error in world.damages()],
    }
    if caller is not None:
        facts |= {"operators": f"you act for tenant '{caller.tenant}'", "damaged": []}
    return facts


async def events(world: World, call: Call) -> object:
    """Send every event that is asked for, those that were missed first, until the client leaves or all is told."""
    asked = wanted(
        world.seen_names(),
        call.mapping("filters"),
        after=call.number("after", most=MAX_CURSOR),
        since=call.number("since", most=MAX_SECONDS),
        until=call.number("until", most=MAX_SECONDS),
        follows=call.flag("follow", True),
        scope=world.scope(),
    )

    def at_rest(cursor: int | None) -> None:
        call.waits_for = None if cursor is None else call.arguments_with(after=cursor, since=None)

    return {"cursor": await stream(world.events, asked, call.event, at_rest, goes_on=call.waits_for is not None)}


async def why(world: World, call: Call) -> object:
    """Say why a container stopped, or is slow; the kernel is asked twice, some seconds apart."""
    return await explain(world, call.text("container"), _seconds(call.number("seconds")))


async def trace(world: World, call: Call) -> object:
    return world.traces.take(call.text("token"))


async def capacity(world: World, call: Call) -> object:
    """Tell what the host has, what is promised of it and what is used; the kernel is asked twice, some seconds apart."""
    return await world.capacity.describe(_seconds(call.number("seconds")))


def _seconds(seconds: float | None) -> float:
    """Return how long to look, a second if nothing was said."""
    if seconds is not None and not 0 <= seconds <= _MAX_LOOK_SECONDS:
        raise InvalidInput(f"'seconds' is from 0 to {_MAX_LOOK_SECONDS}, not {seconds:g}", field="seconds")
    return 1.0 if seconds is None else seconds


async def reload(world: World, call: Call) -> object:
    """Have monitor and supervisor become the code that is installed now; the new supervisor answers."""
    if world.is_reloading:
        raise Busy("the service is just being replaced by new code", hint="once is enough")
    world.is_reloading = True
    try:
        await load_new_code(world)
        call.waits_for = {}
        await world.ask_for_new_code()
    finally:
        world.is_reloading = False
    raise AssertionError("the next program answers")


async def reloaded(world: World, call: Call) -> object:
    """Answer who asked the program before us for this."""
    return {"version": __version__, "pid": os.getpid()}


async def shutdown(world: World, call: Call) -> object:
    """End the supervisor; containers go on under the monitor."""
    asyncio.get_running_loop().call_soon(world.leave.set)
    return {}
