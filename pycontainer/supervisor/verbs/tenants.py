"""tenant_create, tenant_list, tenant_inspect, tenant_set, tenant_rm: pools of resources that containers share.

No verb here waits for anything, so none needs a lock against another.
"""

import dataclasses
from typing import Any

from pycontainer.controllers import registry
from pycontainer.controllers.protocol import read_host
from pycontainer.errors import AlreadyExists, InvalidInput, InvalidState
from pycontainer.failpoints import reach
from pycontainer.runtime.container import Container, now
from pycontainer.runtime.tenant import NO_LIMITS, Tenant
from pycontainer.spec.model import ContainerSpec
from pycontainer.spec.names import check_name
from pycontainer.spec.parse import parse_pool
from pycontainer.spec.problems import as_error
from pycontainer.spec.transfer import Allowance
from pycontainer.spec.validate import validate_pool
from pycontainer.supervisor import changing
from pycontainer.supervisor.books import pool
from pycontainer.supervisor.call import Call
from pycontainer.supervisor.caller import may_see
from pycontainer.supervisor.changing import Limited
from pycontainer.supervisor.transfer import describe, require_hook
from pycontainer.supervisor.world import World


async def tenant_create(world: World, call: Call) -> object:
    name = call.text("name")
    check_name(name, "tenant")
    if name in world.tenants.by_name:
        raise AlreadyExists(f"tenant '{name}' exists already", hint=f"change it: pycontainer tenant set {name}")
    limits, alone = parse_pool(call.mapping("spec"))
    spec = dataclasses.replace(NO_LIMITS, **limits)
    _check(world, spec)
    excess = world.capacity.admit_tenant(name, spec)
    world.reserve.require_room(f"tenant '{name}'")
    tenant = Tenant(world.paths, name, spec, created=now())
    tenant.max_containers, tenant.allowance = alone.get("max_containers"), _allowance(alone, Allowance())
    had_pool = world.tenants.pool(name).exists()
    _cap_pool(world, name, spec)
    reach("tenant:pool")
    try:
        if world.tenants.is_raised(name):  # its record was damaged, and containers of it run
            tenant.warnings = registry.apply(world.tenants.instance(name), spec)
        world.tenants.put(tenant)
    except BaseException:
        if not had_pool:
            world.tenants.pool(name).erase()
        raise
    reach("tenant:recorded")
    world.events.emit("tenant-create", tenant=name)
    world.transfer.check()
    return world.capacity.tell(excess, _info(world, tenant))


async def tenant_list(world: World, call: Call) -> object:
    found = {name: _info(world, tenant) for name, tenant in world.tenants.by_name.items()}
    found |= {name: _damaged_info(world, name) for name in world.tenants.damaged}
    return [info for name, info in sorted(found.items()) if may_see(name)]


async def tenant_inspect(world: World, call: Call) -> object:
    return _info(world, world.tenants.find(call.text("tenant")))


async def tenant_set(world: World, call: Call) -> object:
    """Change limits; those of running containers are written again, as v1 lets none exceed its parent's."""
    tenant = world.tenants.find(call.text("tenant"))
    changes, alone = parse_pool(call.mapping("spec"))
    allowance = _allowance(alone, tenant.allowance)
    if not changes and not alone:
        raise InvalidInput("there is nothing to change", field="spec")
    transient = call.flag("transient")
    if transient and alone:
        raise InvalidInput("this can only be changed for good", field=min(alone), hint="leave --transient out")
    limited = _limited(world, tenant)
    change = changing.plan(
        limited,
        lambda spec: dataclasses.replace(spec, **changes),
        lambda spec, _: _check(world, spec),
        transient=transient,
    )
    excess = world.capacity.admit_tenant(tenant.name, change.asked)
    if limited.instance is None:  # else it grows with the others, once these may be changed
        _cap_pool(world, tenant.name, change.live)
    else:
        _require_pool(world, tenant.name, change.live)
    had = tenant.max_containers, tenant.allowance
    tenant.max_containers, tenant.allowance = alone.get("max_containers", tenant.max_containers), allowance
    try:
        changing.carry_out(limited, change, force=call.flag("force"))
    except BaseException:
        tenant.max_containers, tenant.allowance = had
        raise
    world.events.emit("tenant-update", tenant=tenant.name)
    world.transfer.check()
    return world.capacity.tell(excess, _info(world, tenant))


async def tenant_rm(world: World, call: Call) -> object:
    name = call.text("tenant")
    if name not in world.tenants.damaged:
        world.tenants.find(name)
    members = [member.spec.name for member in _members(world, name)]
    members += [damaged.name or damaged.id for damaged in world.broken.values() if damaged.tenant == name]
    if members:
        names = ", ".join(repr(member) for member in members[:5])
        raise InvalidState(f"tenant '{name}' has containers: {names}", hint="delete these first")
    world.tenants.remove(name)
    world.transient.note_tenant(name, None)
    world.ledger.forget(pool(name))
    world.events.emit("tenant-remove", tenant=name)
    return {}


def _allowance(asked: dict[str, Any], held: Allowance) -> Allowance:
    """Return the transfer that is asked for, in place of the one it has."""
    allowance = Allowance(asked.get("transfer", held.size_bytes), asked.get("transfer_action", held.action))
    if allowance != held and allowance.action.kind == "hook":
        require_hook(allowance.action.program)
    return allowance


def _limited(world: World, tenant: Tenant) -> Limited:
    name = tenant.name
    return Limited(
        tenant,
        f"tenant '{name}'",
        f"tenant '{name}' has no running container",
        world.tenants.instance(name) if world.tenants.is_raised(name) else None,
        world.transient.spec_of_tenant(tenant),
        False,
        tenant.measured,
        lambda spec: world.transient.note_tenant(name, spec),
        lambda: world.unfinished.changing_tenant(name),
        lambda: world.apply_to_members(name),
    )


def _check(world: World, spec: ContainerSpec) -> None:
    if problems := validate_pool(spec):
        raise as_error(problems)
    if refused := registry.validate(spec, read_host(world.hierarchy.layout, for_tenant=True)):
        raise InvalidInput("; ".join(refused), field="limits")


def _cap_pool(world: World, name: str, spec: ContainerSpec) -> None:
    """Make the pool that the layers of the tenant's containers are to lie in, or let it grow."""
    _require_pool(world, name, spec)
    world.tenants.pool(name).cap(*spec.disk_caps)


def _require_pool(world: World, name: str, spec: ContainerSpec) -> None:
    if not world.tenants.pool(name).exists() and spec.has_disk_cap and _members(world, name):
        raise InvalidState(
            f"tenant '{name}' has containers whose layers lie elsewhere: a disk cap would not count them",
            hint="give the tenant its disk before its first container",
        )


def _members(world: World, name: str) -> list[Container]:
    return [container for container in world.present() if container.spec.tenant == name]


def _damaged_info(world: World, name: str) -> dict[str, object]:
    return {
        **_info(world, Tenant(world.paths, name, NO_LIMITS, created=0.0)),
        "damaged": world.tenants.damaged[name].message,
    }


def _info(world: World, tenant: Tenant) -> dict[str, object]:
    """Return TenantInfo (docs/api.md)."""
    members = _members(world, tenant.name)
    given = {
        field.name: getattr(tenant.spec, field.name)
        for field in dataclasses.fields(ContainerSpec)
        if getattr(tenant.spec, field.name) != getattr(NO_LIMITS, field.name)
    }
    if tenant.max_containers is not None:
        given["max_containers"] = tenant.max_containers
    return {
        "name": tenant.name,
        "created": tenant.created,
        "limits": given,
        "transfer": describe(tenant, world.ledger.transferred.get(tenant.name, 0)),
        "warnings": tenant.warnings,
        "containers": {member.id: member.spec.name for member in members},
        "running": sum(member.id in world.runs for member in members),
        "damaged": "",
    }
