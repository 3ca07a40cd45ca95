"""set, limits: changing what a container may use while it runs, and showing how near it is."""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from pycontainer.controllers import registry
from pycontainer.controllers.protocol import Instance, read_host
from pycontainer.disk.storage import Caps
from pycontainer.errors import InvalidInput, InvalidState, PycontainerError, Unsupported
from pycontainer.failpoints import reach
from pycontainer.runtime.container import Container
from pycontainer.runtime.healthcheck import CHECK_TARGETS
from pycontainer.spec.model import ContainerSpec
from pycontainer.spec.parse import parse_changes
from pycontainer.spec.problems import as_error
from pycontainer.spec.validate import validate
from pycontainer.supervisor import authorise
from pycontainer.supervisor.call import Call
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
        before, in_force = container.spec, world.transient.spec_of(container)
        kept, live = before if transient else _changed(before, changes), _changed(in_force, changes)
        if not transient:
            _check(world, container, kept, before)
        if transient or in_force is not before:
            with contextlib.nullcontext() if transient else _amid_transient():
                _check(world, container, live, in_force)
        excess = world.capacity.admit_change(container, live if transient else kept)
        run = world.runs.get(container.id)
        if run is None and transient:
            raise InvalidState(
                f"container '{container.spec.name}' does not run: there is nothing a transient change could apply to",
                hint="leave --transient out, and it holds from the next start on",
            )
        if transient and live.disk_caps != in_force.disk_caps and not _shrinks(container):
            raise stays_grown(f"'{before.name}'")
        warnings = container.warnings
        with world.unfinished.changing(container.id) if run is not None else contextlib.nullcontext():
            reach("set:noted")
            if run is not None:
                instance, owner = world.instance(container, run.cgroup), f"'{before.name}'"
                held, wanted = world.measured(container, in_force), world.measured(container, live)
                container.warnings = apply_changed(instance, held, wanted, owner, force=call.flag("force"))
            reach("set:applied")
            container.spec = kept
            try:
                world.transient.note(container.id, None if live == kept else live)
                if run is not None:
                    world.refresh_view(container, run.cgroup)
                if not transient:
                    container.save()
            except BaseException:
                container.spec = before
                if run is not None:
                    with contextlib.suppress(OSError):  # it is known all the same
                        world.transient.note(container.id, None if in_force is before else in_force)
                    registry.apply(world.instance(container, run.cgroup), world.measured(container, in_force))
                    world.refresh_view(container, run.cgroup)
                container.warnings = warnings
                raise
            reach("set:recorded")
        if "snapshots" in changes:
            world.schedule.plan(container)
        if not transient and any(key.startswith("health_") for key in changes):
            world.health.plan(container)
        world.events.emit("update", container)
    return world.capacity.tell(excess, container_info(world, container), container)


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


@contextlib.contextmanager
def _amid_transient() -> Iterator[None]:
    """Say of a refusal that it is for what else is in force, which no record shows."""
    try:
        yield
    except PycontainerError as error:
        why = "limits are in force that were set with --transient: change these first, or restart it"
        error.hint = f"{error.hint}; {why}" if error.hint else why
        raise


def stays_grown(owner: str) -> Unsupported:
    """Return the error for a disk that would be another one for the present run alone."""
    return Unsupported(
        f"cannot change the disk of {owner} for a while: it is an image, which grows and does not shrink",
        hint="leave --transient out, and it is changed for good",
        feature="disk",
    )


def _shrinks(container: Container) -> bool:
    return container.spec.rootfs_writable or container.storage().shrinks


def _default_caps(container: Container) -> Caps:
    return Caps() if container.spec.rootfs_writable else container.storage().default_caps()


def apply_changed(
    instance: Instance, before: ContainerSpec, spec: ContainerSpec, owner: str, *, force: bool
) -> list[str]:
    """Set all caps and return the warnings, or leave them as they were."""
    if not force and (excess := registry.excess(instance, spec)):
        raise InvalidState(
            f"cannot lower the limits of {owner}: {'; '.join(excess)}",
            hint="let it use less first, or use --force: the kernel takes back what it can, and on v2 kills for the rest",
        )
    try:
        return registry.apply(instance, spec)
    except BaseException:
        registry.apply(instance, before)
        raise


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
