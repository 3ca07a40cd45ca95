"""What follows when a tenant has used up the transfer of a month, and its end at the month's turn.

    books ──▶ bytes of each tenant this month ──▶ more than the allowance? ──▶ a measure:  record, act, tell
                                                  not (any more)?          ──▶ undone:     act, record, tell

The measure stands in the tenant's record before anything is done, and until all of it is undone: whoever comes up after a
death does either again. What holds is what the record says, not what was done: a start asks it, too. A month is over when
the ledger says that it is another one.
"""

import asyncio
import os
import signal
import stat
import sys
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import TYPE_CHECKING

from pycontainer.errors import InvalidInput, InvalidState, PycontainerError
from pycontainer.failpoints import reach
from pycontainer.runtime.container import Container
from pycontainer.runtime.tenant import Tenant
from pycontainer.spec.transfer import Action, Measure
from pycontainer.supervisor.events import acting
from pycontainer.units import shown

if TYPE_CHECKING:
    from pycontainer.supervisor.world import World

_HOOK_SECONDS = 60.0
_ACTOR = "policy transfer"
_DIRECTIONS = ("in", "out")


class Transfer:
    """The measures of one world; `start` and `stop` are set by what knows how to."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._at_work: set[str] = set()
        self._again: set[str] = set()  # who was to be checked meanwhile
        self.start: Callable[[Container], Awaitable[object]] | None = None
        self.stop: Callable[[Container], Awaitable[object]] | None = None

    def is_waiting(self) -> bool:
        """Tell whether containers are to be started when the month is over."""
        return any(tenant.measure and tenant.measure.stopped for tenant in self._world.tenants.by_name.values())

    def recover(self) -> None:
        """Come up: what was cut off is done again."""
        for tenant in self._world.tenants.by_name.values():
            if (measure := tenant.measure) is not None and measure.action.kind in ("slow", "stop"):
                self._spawn(tenant, self._act(tenant, measure))

    def check(self, month: str, transferred: Mapping[str, int]) -> None:
        """Hold what was transferred this month against what the tenants may."""
        for tenant in list(self._world.tenants.by_name.values()):
            used, measure, allowance = transferred.get(tenant.name, 0), tenant.measure, tenant.allowance
            is_used_up = allowance.size_bytes is not None and used >= allowance.size_bytes
            if measure is not None and (not is_used_up or (measure.month, measure.action) != (month, allowance.action)):
                self._spawn(tenant, self._undo(tenant, measure, month, used))
            elif measure is None and is_used_up:
                self._spawn(tenant, self._take(tenant, month, used))

    def refuse(self, tenant: Tenant) -> None:
        """Raise InvalidState if no container of a tenant may start."""
        measure = tenant.measure
        if measure is not None and measure.action.kind == "stop":
            raise InvalidState(
                f"tenant '{tenant.name}' has used up its transfer of {measure.month}: its containers start when the month "
                "is over",
                hint=f"give it more: pycontainer tenant set {tenant.name} --transfer SIZE",
            )

    # -- what is done, and undone --------------------------------------------------------------------------------------

    async def _take(self, tenant: Tenant, month: str, used: int) -> None:
        world, allowance = self._world, tenant.allowance
        stopped = self._going(tenant) if allowance.action.kind == "stop" else []
        measure = Measure(month, allowance.action, tuple(container.id for container in stopped))
        tenant.measure = measure
        self._save(tenant)
        reach("transfer:noted")
        world.events.emit(
            "transfer-used-up",
            tenant=tenant.name,
            month=month,
            used_bytes=used,
            allowance_bytes=allowance.size_bytes,
            cause=str(allowance.action),
        )
        await self._act(tenant, measure)
        await self._run_hook(tenant, measure.action, "used-up", month, used)

    async def _act(self, tenant: Tenant, measure: Measure) -> None:
        if measure.action.kind == "slow":
            self._shape(tenant)
        elif measure.action.kind == "stop":
            assert self.stop is not None
            for container in self._going(tenant):
                await self._tried(tenant, container, self.stop)
        reach("transfer:acted")

    async def _undo(self, tenant: Tenant, measure: Measure, month: str, used: int) -> None:
        world = self._world
        tenant.measure = None
        if measure.action.kind == "slow":
            self._shape(tenant)
        for container_id in measure.stopped:
            container = world.containers.get(container_id)
            if container is not None and container_id not in world.runs:
                assert self.start is not None
                await self._tried(tenant, container, self.start)
        self._save(tenant)
        world.events.emit("transfer-reset", tenant=tenant.name, month=month, cause=str(measure.action))
        await self._run_hook(tenant, measure.action, "reset", month, used)

    async def _tried(self, tenant: Tenant, container: Container, do: Callable[[Container], Awaitable[object]]) -> None:
        try:
            async with self._world.lock(container):
                if self._world.containers.get(container.id) is container:
                    await do(container)
        except (PycontainerError, OSError) as error:
            self._failed(tenant, f"'{container.spec.name}': {error}")

    def _shape(self, tenant: Tenant) -> None:
        """Have the kernel hold the rates that are in force, in an order in which no guarantee exceeds the tenant's rate."""
        world = self._world
        if not world.tenants.is_raised(tenant.name):
            return  # they come with the next start
        spec = tenant.measured(world.transient.spec_of_tenant(tenant))
        ceilings = {"in": spec.net_in_bits, "out": spec.net_out_bits}
        try:
            if tenant.slowed_bits is not None:
                self._shape_members(tenant)
            for direction in _DIRECTIONS:
                world.tenants.instance(tenant.name).network.cap(direction, None, ceilings[direction])  # type: ignore[union-attr]
            self._shape_members(tenant)
        except (PycontainerError, OSError) as error:
            self._failed(tenant, f"its network: {error}")

    def _shape_members(self, tenant: Tenant) -> None:
        for container in self._members(tenant):
            if container.id in self._world.runs and container.addresses:
                spec = self._world.spec_in_force(container)
                network = self._world.networks.bandwidth(container.id, tenant.name)
                network.cap("in", spec.net_in_min_bits, spec.net_in_bits)
                network.cap("out", spec.net_out_min_bits, spec.net_out_bits)

    async def _run_hook(self, tenant: Tenant, action: Action, what: str, month: str, used: int) -> None:
        if action.kind != "hook":
            return
        environment = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "PYCONTAINER_TENANT": tenant.name,
            "PYCONTAINER_MONTH": month,
            "PYCONTAINER_USED_BYTES": str(used),
            "PYCONTAINER_TRANSFER_BYTES": str(tenant.allowance.size_bytes or 0),
        }
        try:
            require_hook(action.program)
            child = await asyncio.create_subprocess_exec(
                action.program,
                what,
                tenant.name,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=sys.stderr,  # our log
                env=environment,
                cwd="/",
                start_new_session=True,
            )
            try:
                exit_code = await asyncio.wait_for(child.wait(), _HOOK_SECONDS)
            except TimeoutError:
                os.killpg(child.pid, signal.SIGKILL)
                await child.wait()
                raise InvalidState(f"'{action.program}' was at work for {_HOOK_SECONDS:g} s, and was killed") from None
            if exit_code:
                raise InvalidState(f"'{action.program}' ended with {exit_code}")
        except (PycontainerError, OSError) as error:
            self._failed(tenant, f"hook: {error}")

    def _going(self, tenant: Tenant) -> list[Container]:
        """Return the containers of a tenant that run, or wait for their next start."""
        world = self._world
        return [each for each in self._members(tenant) if each.id in world.runs or each.id in world.restarts]

    def _members(self, tenant: Tenant) -> list[Container]:
        return [container for container in self._world.containers.values() if container.spec.tenant == tenant.name]

    def _save(self, tenant: Tenant) -> None:
        """Write the record. A disk that takes nothing keeps no measure from being taken: it is taken again after a death."""
        if self._world.tenants.by_name.get(tenant.name) is not tenant:  # it was removed
            return
        try:
            tenant.save()
        except OSError as error:
            print(f"the measure against tenant '{tenant.name}' is not on disk: {error.strerror}", file=sys.stderr)

    def _failed(self, tenant: Tenant, detail: str) -> None:
        self._world.events.emit("transfer-failed", tenant=tenant.name, detail=detail)

    def _spawn(self, tenant: Tenant, work: Coroutine[object, object, None]) -> None:
        """Do one thing at a time with a tenant; what is to be done besides is looked for after it."""
        if tenant.name in self._at_work:
            work.close()
            self._again.add(tenant.name)
            return
        self._at_work.add(tenant.name)

        async def alone() -> None:
            try:
                await work
            finally:
                self._at_work.discard(tenant.name)
                if tenant.name in self._again:
                    self._again.discard(tenant.name)
                    if (ledger := self._world.ledger).month:
                        self.check(ledger.month, ledger.transferred)

        with acting(_ACTOR):
            self._world.spawn(alone())


def require_hook(path: str) -> None:
    """Raise InvalidInput for what is no program that we alone may change: it runs with our rights."""
    hint = "a program of root's that nobody else may write to"
    try:
        details = os.stat(path)
    except OSError as error:
        raise InvalidInput(
            f"{shown(path)} cannot be run: {error.strerror}", field="transfer_action", hint=hint
        ) from error
    mode = stat.S_IMODE(details.st_mode)
    if not stat.S_ISREG(details.st_mode) or not mode & 0o111:
        raise InvalidInput(f"{shown(path)} is no program", field="transfer_action", hint=hint)
    if details.st_uid != os.geteuid() or mode & 0o022:
        raise InvalidInput(
            f"{shown(path)} belongs to user {details.st_uid} with mode {mode:04o}: others could change what runs here",
            field="transfer_action",
            hint=hint,
        )


def describe(tenant: Tenant, used: int) -> dict[str, object] | None:
    """Return the Transfer of a TenantInfo; None without an allowance."""
    allowance, measure = tenant.allowance, tenant.measure
    if allowance.size_bytes is None and measure is None:
        return None
    return {
        "allowance_bytes": allowance.size_bytes,
        "used_bytes": used,
        "action": str(allowance.action),
        "measure": "" if measure is None else str(measure.action),
        "month": "" if measure is None else measure.month,
    }
