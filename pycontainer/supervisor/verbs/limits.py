"""set, limits: changing what a container may use while it runs, and showing how near it is."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from pycontainer.controllers import registry
from pycontainer.controllers.protocol import Instance, read_host
from pycontainer.disk.storage import Caps
from pycontainer.errors import InvalidInput
from pycontainer.runtime.container import Container
from pycontainer.runtime.healthcheck import CHECK_TARGETS
from pycontainer.spec.model import ContainerSpec
from pycontainer.spec.parse import parse_changes
from pycontainer.spec.problems import as_error
from pycontainer.spec.validate import validate
from pycontainer.supervisor import authorise, changing
from pycontainer.supervisor.call import Call
from pycontainer.supervisor.changing import Limited
from pycontainer.supervisor.report import container_info
from pycontainer.supervisor.world import World


async def set(world: World, call: Call) -> object:
    """Change settings; a `transient` change is over with the present run, any other is kept.

    Either leaves alone what else is in force for the present run.
    """
    container = world.find(call.text("container"))
    changes = parse_changes(call.mapping("spec"))
    transient = call.flag("transient")
    if container.spec.tenant:
        world.tenants.find(container.spec.tenant)  # what it sees of limits depends on these
    async with world.lock(container):
        world.require(container)
        # There is one check: what asks another way takes the place of it.
        if chosen := {key for key in CHECK_TARGETS & changes.keys() if changes[key] is not None}:
            changes |= {key: getattr(ContainerSpec(), key) for key in CHECK_TARGETS - chosen}
        limited = _limited(world, container)
        change = changing.plan(
            limited,
            lambda spec: _changed(spec, changes),
            lambda spec, old: _check(world, container, spec, old),
            transient=transient,
        )
        excess = world.capacity.admit_change(container, change.asked)
        changing.carry_out(limited, change, force=call.flag("force"))
        if "snapshots" in changes:
            world.schedule.plan(container)
        if not transient and any(key.startswith("health_") for key in changes):
            world.health.plan(container)
        world.events.emit("update", container)
    return world.capacity.tell(excess, container_info(world, container), container)


def _limited(world: World, container: Container) -> Limited:
    run, name = world.runs.get(container.id), f"'{container.spec.name}'"
    return Limited(
        container,
        name,
        f"container {name} does not run",
        None if run is None else world.instance(container, run.cgroup),
        world.transient.spec_of(container),
        container.spec.rootfs_writable or container.storage().shrinks,
        lambda spec: world.measured(container, spec),
        lambda spec: world.transient.note(container.id, spec),
        lambda: world.unfinished.changing(container.id),
        lambda: None if run is None else world.refresh_view(container, run.cgroup),
    )


def _changed(spec: ContainerSpec, changes: Mapping[str, Any]) -> ContainerSpec:
    """Return a spec with changes; where a setting has names of its own, the others stay."""
    merged = dict(changes)
    for key in {"limits", "hugetlb", "cgroup_conf"} & changes.keys():
        merged[key] = tuple((dict(getattr(spec, key)) | dict(changes[key])).items())
    if "ulimits" in changes:
        merged["ulimits"] = tuple({ulimit.name: ulimit for ulimit in (*spec.ulimits, *changes["ulimits"])}.values())
    return dataclasses.replace(spec, **merged)


def _check(world: World, container: Container, spec: ContainerSpec, old: ContainerSpec) -> None:
    """Raise an error unless `spec` makes sense, can be held here, and is what who asks may have in place of `old`."""
    if problems := validate(spec):
        raise as_error(problems)
    authorise.judge_change(spec, old, _default_caps(container))
    if refused := registry.validate(spec, read_host(world.hierarchy.layout)):
        raise InvalidInput("; ".join(refused), field="limits")


def _default_caps(container: Container) -> Caps:
    return Caps() if container.spec.rootfs_writable else container.storage().default_caps()


async def limits(world: World, call: Call) -> object:
    """Return what running containers, or tenants, hold of each resource.

    `recent` counts failures since the last such look.
    """
    names, tenants = call.texts("containers"), call.texts("tenants")
    chosen = [world.find(name) for name in names] or ([] if tenants else world.seen_running())
    rows: list[dict[str, object]] = []
    for container in chosen:
        instance = world.instance(container, world.run_of(container).cgroup)
        rows += _rows(world, container.id, container.spec.name, instance, recent=call.flag("recent"))
    for name in tenants:
        world.tenants.find(name)
        if world.tenants.is_raised(name):
            rows += _rows(world, "", name, world.tenants.instance(name), recent=call.flag("recent"))
    return rows


def _rows(world: World, container_id: str, name: str, instance: Instance, *, recent: bool) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for resource, (unit, reading) in registry.readings(instance).items():
        count = reading.fail_count
        if recent:
            key = (container_id or f"tenant:{name}", resource)
            seen = world.seen_failures.get(key, 0)
            world.seen_failures[key] = reading.fail_count
            count = count - seen if count >= seen else count  # a new run counts from 0
        row = {"id": container_id, "name": name, "resource": resource, "unit": unit}
        rows.append({**row, **reading._asdict(), "fail_count": count})
    return rows
