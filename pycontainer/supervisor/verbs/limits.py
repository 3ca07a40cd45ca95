"""set, limits: changing what a container may use while it runs, and showing how near it is."""

import dataclasses

from pycontainer.controllers import registry
from pycontainer.controllers.protocol import Instance, read_host
from pycontainer.errors import InvalidInput, InvalidState
from pycontainer.runtime.container import Container
from pycontainer.spec.model import ContainerSpec
from pycontainer.spec.parse import parse_changes
from pycontainer.spec.problems import as_error
from pycontainer.spec.validate import validate
from pycontainer.supervisor.call import Call
from pycontainer.supervisor.report import container_info
from pycontainer.supervisor.world import World


async def set(world: World, call: Call) -> object:
    """Change settings; a `transient` change is over with the present run, any other is kept."""
    container = world.find(call.text("container"))
    changes = parse_changes(call.mapping("spec"))
    transient = call.flag("transient")
    async with world.lock(container):
        if "limits" in changes:  # each of them is a setting of its own
            changes["limits"] = tuple((dict(container.spec.limits) | dict(changes["limits"])).items())
        spec = dataclasses.replace(container.spec, **changes)
        if problems := validate(spec):
            raise as_error(problems)
        if refused := registry.validate(spec, read_host(world.hierarchy.layout)):
            raise InvalidInput("; ".join(refused), field="limits")
        run = world.runs.get(container.id)
        if run is None and transient:
            raise InvalidState(
                f"container '{container.spec.name}' does not run: there is nothing a transient change could apply to",
                hint="leave --transient out, and it holds from the next start on",
            )
        if run is not None:
            _apply(container, world.instance(container, run.cgroup), spec, force=call.flag("force"))
        if not transient:
            container.spec = spec
            container.save()
        world.emit("update", container)
    return container_info(world, container)


def _apply(container: Container, instance: Instance, spec: ContainerSpec, *, force: bool) -> None:
    """Set all caps, or leave them as they were."""
    if not force and (excess := registry.excess(instance, spec)):
        raise InvalidState(
            f"cannot lower the limits of '{spec.name}': {'; '.join(excess)}",
            hint="let it use less first, or use --force: the kernel then takes back what it can, and kills for the rest",
        )
    try:
        container.warnings = registry.apply(instance, spec)
    except BaseException:
        registry.apply(instance, container.spec)
        raise


async def limits(world: World, call: Call) -> object:
    """Return what running containers hold of each resource; `recent` counts failures since the last such look."""
    names = call.texts("containers")
    chosen = [world.find(name) for name in names] or [world.containers[container_id] for container_id in world.runs]
    recent = call.flag("recent")
    rows: list[dict[str, object]] = []
    for container in chosen:
        instance = world.instance(container, world.run_of(container).cgroup)
        for resource, (unit, reading) in registry.readings(instance).items():
            count = reading.fail_count
            if recent:
                seen = world.seen_failures.get((container.id, resource), 0)
                world.seen_failures[container.id, resource] = reading.fail_count
                count = count - seen if count >= seen else count  # a new run counts from 0
            row = {"id": container.id, "name": container.spec.name, "resource": resource, "unit": unit}
            rows.append({**row, **reading._asdict(), "fail_count": count})
    return rows
