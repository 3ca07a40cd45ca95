"""What follows when a tenant has used up the transfer of a month, and its end at the month's turn.

    books ──▶ bytes of each tenant this month ──▶ more than the allowance? ──▶ a measure is taken ──┐
                                                  not (any more)?          ──▶ it is lifted ────────┤
    the record says what holds ◀──────────────────────────────────────────────────────────────────────┘
       and the next check, a minute later at most, does what is still to be done

The record is written before anything is done: the measure, what it has stopped, and after it what is to start again. So
whoever dies when, and whatever fails, it is done later; a start and a boot ask the record, too. A month is over when
the ledger says that it is another one.
"""

import asyncio
import contextlib
import os
import signal
import stat
import sys
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING

from pycontainer.errors import InvalidInput, InvalidState, PycontainerError
from pycontainer.failpoints import reach
from pycontainer.runtime.container import Container
from pycontainer.runtime.tenant import Tenant
from pycontainer.spec.transfer import Action, Measure
from pycontainer.supervisor import log
from pycontainer.supervisor.books import month_at
from pycontainer.supervisor.caller import current_caller
from pycontainer.supervisor.events import acting
from pycontainer.supervisor.stopping import Stop, is_up, lock_within, stop_within
from pycontainer.units import shown

if TYPE_CHECKING:
    from pycontainer.supervisor.world import World

_HOOK_SECONDS, _STOP_SECONDS, _RETRY_SECONDS = 60.0, 30.0, 55.0
_ACTOR = "policy transfer"
_DIRECTIONS = ("in", "out")


class Transfer:
    """The measures of one world; `start` and `stop` are set by what knows how to."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._is_up = False  # what runs is known
        self._at_work: set[str] = set()
        self._again: set[str] = set()  # who was to be looked at meanwhile
        self._unshaped: set[str] = set()  # whose links have not the rates yet that are in force
        self._retry_at: dict[str, float] = {}
        self.start: Callable[[Container], Awaitable[object]] | None = None
        self.stop: Stop | None = None

    @property
    def is_at_work(self) -> bool:
        """Tell whether something is being done about a tenant just now."""
        return bool(self._at_work)

    def is_waiting(self) -> bool:
        """Tell whether containers are to be started, now or when the month is over."""
        return any(
            tenant.to_start or (tenant.measure and tenant.measure.stopped)
            for tenant in self._world.tenants.by_name.values()
        )

    def recover(self) -> None:
        """Come up, when what runs is known: what the record says and nobody knows to be done is done again."""
        self._is_up = True
        self._unshaped |= {
            name for name, tenant in self._world.tenants.by_name.items() if tenant.slowed_bits is not None
        }
        self.check()

    def check(self) -> None:
        """Hold what was transferred this month against what the tenants may, and go on with what is not done yet."""
        if not self._is_up:
            return
        for tenant in list(self._world.tenants.by_name.values()):
            if self._is_over(tenant) or self._is_due(tenant) or self._is_unfinished(tenant):
                self._spawn(tenant)

    def refuse(self, tenant: Tenant) -> None:
        """Raise InvalidState if no container of a tenant may start."""
        if self._is_stopped(tenant):
            raise InvalidState(
                f"tenant '{tenant.name}' has used up its transfer of {self._month()}: its containers start when the month "
                "is over",
                hint=f"give it more: pycontainer tenant set {tenant.name} --transfer SIZE",
            )

    def holds(self, container: Container) -> bool:
        """Tell whether nothing starts a container by itself now; it is started when the measure is lifted."""
        tenant = self._world.tenants.by_name.get(container.spec.tenant)
        if tenant is None or not self._is_stopped(tenant):
            return False
        self._note_stopped(tenant, [container.id])
        return True

    def began(self, container: Container) -> None:
        """A container has started: what was taken while it did holds for it, too."""
        tenant = self._world.tenants.by_name.get(container.spec.tenant)
        if tenant is None or tenant.measure is None:
            return
        if tenant.slowed_bits is not None:
            self._shape_member(tenant, container)
        self.check()

    # -- what is the case ----------------------------------------------------------------------------------------------

    def _month(self) -> str:
        return self._world.ledger.month or month_at(time.time())

    def _is_stopped(self, tenant: Tenant) -> bool:
        measure = tenant.measure
        return measure is not None and measure.action.kind == "stop" and measure.month == self._month()

    def _is_used_up(self, tenant: Tenant) -> bool:
        size_bytes, ledger = tenant.allowance.size_bytes, self._world.ledger
        return size_bytes is not None and ledger.transferred.get(tenant.name, 0) >= size_bytes

    def _is_over(self, tenant: Tenant) -> bool:
        """Tell whether the measure in force is to be lifted; nobody knows while the ledger is not open."""
        measure, allowance, month = tenant.measure, tenant.allowance, self._world.ledger.month
        if measure is None or (not month and allowance.size_bytes is not None):
            return False
        return not self._is_used_up(tenant) or (measure.month, measure.action) != (month, allowance.action)

    def _is_due(self, tenant: Tenant) -> bool:
        """Tell whether a measure is to be taken."""
        return tenant.measure is None and bool(self._world.ledger.month) and self._is_used_up(tenant)

    def _is_unfinished(self, tenant: Tenant) -> bool:
        """Tell whether something is not as the record says, and may be tried (again) now."""
        if time.monotonic() < self._retry_at.get(tenant.name, 0.0):
            return False
        if tenant.name in self._unshaped:
            return True
        return bool(self._going(tenant)) if self._is_stopped(tenant) else bool(tenant.to_start)

    def _going(self, tenant: Tenant) -> list[Container]:
        """Return the containers of a tenant that run, or wait for their next start."""
        return [container for container in self._members(tenant) if is_up(self._world, container)]

    def _members(self, tenant: Tenant) -> list[Container]:
        return [container for container in self._world.containers.values() if container.spec.tenant == tenant.name]

    # -- what is done --------------------------------------------------------------------------------------------------

    def _spawn(self, tenant: Tenant) -> None:
        """Do one thing at a time with a tenant; what is to be done besides is looked for after it."""
        if tenant.name in self._at_work:
            self._again.add(tenant.name)
            return
        self._at_work.add(tenant.name)

        async def alone() -> None:
            try:
                await self._settle(tenant)
            finally:
                self._at_work.discard(tenant.name)
                if tenant.name in self._again:
                    self._again.discard(tenant.name)
                    self.check()

        with acting(_ACTOR):
            self._world.spawn(alone())

    async def _settle(self, tenant: Tenant) -> None:
        """Write down what holds from now on, tell of it, and do it."""
        to_tell: list[tuple[str, Action]] = []
        if (measure := tenant.measure) is not None and self._is_over(tenant):
            self._lift(tenant, measure)
            to_tell.append(("reset", measure.action))
        if self._is_due(tenant):
            self._take(tenant)
            to_tell.append(("used-up", tenant.allowance.action))
        self._retry_at[tenant.name] = time.monotonic() + _RETRY_SECONDS
        if tenant.name in self._unshaped:
            self._shape(tenant)
        if self._is_stopped(tenant):
            await self._stop_all(tenant)
        elif tenant.to_start:
            await self._start_all(tenant)
        if tenant.measure is not None:
            reach("transfer:acted")
        for what, action in to_tell:
            await self._run_hook(tenant, action, what)

    def _take(self, tenant: Tenant) -> None:
        allowance, month = tenant.allowance, self._world.ledger.month
        tenant.measure = Measure(month, allowance.action)
        if allowance.action.kind == "stop":
            stopped = dict.fromkeys((*tenant.to_start, *(container.id for container in self._going(tenant))))
            tenant.measure, tenant.to_start = tenant.measure._replace(stopped=tuple(stopped)), ()
        elif allowance.action.kind == "slow":
            self._unshaped.add(tenant.name)
        self._save(tenant)
        reach("transfer:noted")
        self._world.events.emit(
            "transfer-used-up",
            tenant=tenant.name,
            month=month,
            used_bytes=self._used(tenant),
            allowance_bytes=allowance.size_bytes,
            cause=allowance.action.kind,
        )

    def _lift(self, tenant: Tenant, measure: Measure) -> None:
        tenant.measure, tenant.to_start = None, tuple(dict.fromkeys((*tenant.to_start, *measure.stopped)))
        if measure.action.kind == "slow":
            self._unshaped.add(tenant.name)
        self._save(tenant)
        reach("transfer:undone")
        self._world.events.emit("transfer-reset", tenant=tenant.name, month=self._month(), cause=measure.action.kind)

    async def _stop_all(self, tenant: Tenant) -> None:
        going = self._going(tenant)
        self._note_stopped(tenant, [container.id for container in going])
        await asyncio.gather(*(self._stop_one(tenant, container) for container in going))

    async def _stop_one(self, tenant: Tenant, container: Container) -> None:
        """Stop it, also where its own people have a hand on it: by holding its lock, with a stop that takes a year."""
        assert self.stop is not None
        try:
            await stop_within(self._world, container, _STOP_SECONDS, self.stop)
        except Exception as error:
            self._failed(tenant, f"'{container.spec.name}': {error}", error)
            if (run := self._world.runs.get(container.id)) is not None:
                with contextlib.suppress(OSError):
                    run.cgroup.kill()

    async def _start_all(self, tenant: Tenant) -> None:
        """Start what was stopped; what cannot be started now stays on the list."""
        for container_id in tenant.to_start:
            if self._is_stopped(tenant):  # taken again meanwhile
                return
            if await self._start_one(tenant, container_id):
                tenant.to_start = tuple(one for one in tenant.to_start if one != container_id)
        self._save(tenant)

    async def _start_one(self, tenant: Tenant, container_id: str) -> bool:
        """Start a container; False if that is to be tried again."""
        world = self._world
        container = world.containers.get(container_id)
        if container is None:
            return container_id not in world.broken
        assert self.start is not None
        try:
            async with lock_within(world, container, _STOP_SECONDS):
                if world.containers.get(container_id) is container and container_id not in world.runs:
                    world.restarts.cancel(container)
                    container.restart_count = 0
                    await self.start(container)
                return True
        except Exception as error:
            self._failed(tenant, f"'{container.spec.name}': {error}", error)
            return False

    def _shape(self, tenant: Tenant) -> None:
        """Have the kernel hold the rates that are in force, in an order in which no guarantee exceeds the tenant's rate."""
        world = self._world
        self._unshaped.discard(tenant.name)
        if not world.tenants.is_raised(tenant.name):
            return  # they come with the next start
        spec = tenant.measured(world.transient.spec_of_tenant(tenant))
        ceilings = {"in": spec.net_in_bits, "out": spec.net_out_bits}
        if tenant.slowed_bits is not None:
            self._shape_members(tenant)
        try:
            for direction in _DIRECTIONS:
                world.tenants.instance(tenant.name).network.cap(direction, None, ceilings[direction])  # type: ignore[union-attr]
        except (PycontainerError, OSError) as error:
            self._unshaped.add(tenant.name)
            self._failed(tenant, f"its network: {error}")
        self._shape_members(tenant)

    def _shape_members(self, tenant: Tenant) -> None:
        for container in self._members(tenant):
            if container.id in self._world.runs:
                self._shape_member(tenant, container)

    def _shape_member(self, tenant: Tenant, container: Container) -> None:
        if not container.addresses:
            return
        spec = self._world.spec_in_force(container)
        try:
            network = self._world.networks.bandwidth(container.id, tenant.name)
            network.cap("in", spec.net_in_min_bits, spec.net_in_bits)
            network.cap("out", spec.net_out_min_bits, spec.net_out_bits)
        except (PycontainerError, OSError) as error:
            self._unshaped.add(tenant.name)
            self._failed(tenant, f"the network of '{container.spec.name}': {error}")

    async def _run_hook(self, tenant: Tenant, action: Action, what: str) -> None:
        if action.kind != "hook":
            return
        environment = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "PYCONTAINER_TENANT": tenant.name,
            "PYCONTAINER_MONTH": self._month(),
            "PYCONTAINER_USED_BYTES": str(self._used(tenant)),
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
            log.say(f"hook of tenant '{tenant.name}': {error}")  # a path of the host is none of the tenant's
            self._failed(tenant, "its hook failed; the supervisor's log says why")

    def _used(self, tenant: Tenant) -> int:
        return self._world.ledger.transferred.get(tenant.name, 0)

    def _note_stopped(self, tenant: Tenant, container_ids: Iterable[str]) -> None:
        """What a measure in force has stopped, and keeps from starting, is started after it."""
        measure = tenant.measure
        assert measure is not None
        stopped = tuple(dict.fromkeys((*measure.stopped, *container_ids)))
        if stopped != measure.stopped:
            tenant.measure = measure._replace(stopped=stopped)
            self._save(tenant)

    def _save(self, tenant: Tenant) -> None:
        """Write the record. A disk that takes nothing keeps no measure from being taken: it is taken again after a death."""
        if self._world.tenants.by_name.get(tenant.name) is not tenant:  # it was removed
            return
        try:
            tenant.save()
        except OSError as error:
            log.say(f"the measure against tenant '{tenant.name}' is not on disk: {error.strerror}")

    def _failed(self, tenant: Tenant, detail: str, error: Exception | None = None) -> None:
        if error is not None and not isinstance(error, PycontainerError | OSError):
            log.failure(f"a fault in a measure against tenant '{tenant.name}'")
        self._world.events.emit("transfer-failed", tenant=tenant.name, detail=detail)


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
    shows = str if current_caller() is None else (lambda action: action.kind)  # a path of the host is none of theirs
    return {
        "allowance_bytes": allowance.size_bytes,
        "used_bytes": used,
        "action": shows(allowance.action),
        "measure": "" if measure is None else shows(measure.action),
        "month": "" if measure is None else measure.month,
    }
