"""The host comes up, and goes down: which containers start, in which order, how many at once; and how all are stopped.

    service boot      ──▶  those that ask for it (onboot), by boot_order, lowest first, several at once
    service shutdown  ──▶  all that run, the other way round, each with its own stop signal and time-out

    run/boot.json                  which boot of the host this world has seen, and how far the two above have come
    containers/ID/running.json     this one runs, or ran when the host went down (runtime/container.py)

What ended by itself is noted as ended some seconds later only: when the host goes down, containers may be ended before we
are, and they ran until then. Both works go on when who asked for them leaves; a supervisor that is killed while it starts
containers finds in boot.json that the next one has to go on.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from typing import TYPE_CHECKING

from pycontainer.errors import Busy, PycontainerError
from pycontainer.linux.files import write_atomically
from pycontainer.linux.hostboot import name_of_boot
from pycontainer.record import read_record, remove_record
from pycontainer.runtime.container import Container
from pycontainer.supervisor import log
from pycontainer.supervisor.events import KERNEL, acting
from pycontainer.supervisor.stopping import Stop, is_up, stop_within

if TYPE_CHECKING:
    from pycontainer.supervisor.world import World

STARTING, UP, STOPPING, DOWN = "starting", "up", "stopping", "down"
HOST_DOWN = "host-down"  # the cause of an end that nobody saw, as the host had ended too
DEFAULT_SHUTDOWN_SECONDS = 300.0
_ENDED_WITH_HOST_SECONDS = 5.0  # between the end of a container and ours, when the host ends both

Outcome = dict[str, object]


class Work:
    """Many containers being started, or stopped; `follow` it from its beginning, at any time."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self.task: asyncio.Task[None] | None = None
        self._is_done = False
        self._news = asyncio.Event()

    def add(self, container: Container, **outcome: object) -> None:
        """Note what became of one container."""
        self.outcomes.append({"id": container.id, "name": container.spec.name, **outcome})
        self._news.set()

    def finish(self) -> None:
        self._is_done = True
        self._news.set()

    async def follow(self) -> AsyncIterator[Outcome]:
        """Yield what became of each container, until all have had their turn."""
        position = 0
        while True:
            while position < len(self.outcomes):
                position += 1
                yield self.outcomes[position - 1]
            if self._is_done:
                return
            self._news.clear()
            await self._news.wait()


def asks_to_start(container: Container) -> bool:
    """Tell whether a container is to come up with the host."""
    wish = container.spec.starts_at_boot
    return wish == "yes" or (wish == "last" and bool(container.ran_in))


class Boot:
    """The boots of one host, as one world sees them. `start` and `stop` are set by what knows how to; a lock is held then."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._path = f"{world.paths.run_dir}/boot.json"
        self.phase = ""  # of this boot: "" before `service boot`, then STARTING, UP, STOPPING, DOWN
        self.is_first_look = False  # no supervisor of this world has run since the host came up
        self._tried: list[str] = []  # ids of what was started, or could not be, while STARTING
        self._parallel = 1
        self._work: Work | None = None
        self.start: Callable[[Container], Awaitable[object]] | None = None
        self.stop: Stop | None = None

    # -- what is known from before

    def load(self) -> None:
        """Read how far this boot has come. A world with `--root` keeps its run directory over a reboot."""
        try:
            record = read_record(self._path)
            if record.text("boot") == name_of_boot():
                self.phase, self._tried = record.text("phase"), record.texts("tried")
                self._parallel = record.integer("parallel", least=1)
                return
            remove_record(f"{self._world.paths.run_dir}/lxcfs.pid")  # whose pid is somebody else's today
        except FileNotFoundError:
            pass
        except (ValueError, OSError) as error:
            log.say(f"'{self._path}' is damaged, and made anew: {error}")
        self.is_first_look = True
        self._save("")

    def recovered(self, container: Container) -> None:
        """Judge a container that does not run now, by what was noted of it."""
        if not container.ran_in:
            return
        if container.ran_in != name_of_boot():
            if container.finished is None:
                container.cause = HOST_DOWN
            if self.is_first_look:
                self._went_down(container)
        elif self.phase not in (STOPPING, DOWN):  # it ended, and we left before that was noted
            self.forget(container)

    def _went_down(self, container: Container) -> None:
        """Tell what the end of the host ended; what stopped in good order before has been told of."""
        world = self._world
        if container.finished is None:
            world.events.emit("die", container, cause=HOST_DOWN, actor=KERNEL, exit_code=None)
        if container.spec.auto_remove:
            world.removal.remove_ended(container)

    def go_on(self) -> None:
        """Start the rest, if a supervisor before us was killed in the middle."""
        if self.phase == STARTING:
            self._start(self._parallel)

    # -- notes on each container

    def note(self, container: Container) -> None:
        """It runs. Lost with the power if that fails within seconds, but for those that want to come back."""
        try:
            container.note_running()
        except OSError as error:  # a full disk ends nothing that runs
            if container.spec.starts_at_boot == "last":
                container.warnings = [*container.warnings, f"a boot may not know that it ran: {error.strerror}"]
            return
        self._sync(container)

    def after_end(self, container: Container) -> None:
        """Note the end of a run, at once if somebody asked for it; what is about to start again goes on."""
        if self.is_going_down or container.id in self._world.restarts:
            return
        if container.stopping:
            self.forget(container)
        else:
            asyncio.get_running_loop().call_later(_ENDED_WITH_HOST_SECONDS, self._forget_ended, container)

    def forget(self, container: Container) -> None:
        """It is not to run any more. What is stopped because the host goes down is to run again."""
        if not container.ran_in or self.is_going_down:
            return
        try:
            container.forget_running()
        except OSError as error:  # a read-only disk keeps nothing from ending
            log.say(f"a boot will believe that '{container.spec.name}' ran: {error}", container=container)
            return
        self._sync(container)

    def _forget_ended(self, container: Container) -> None:
        world = self._world
        if world.containers.get(container.id) is container and not is_up(self._world, container):
            self.forget(container)

    def _sync(self, container: Container) -> None:
        if container.spec.starts_at_boot == "last":
            self._world.spawn(asyncio.to_thread(_sync_directory, container.directory))

    # -- coming up

    def come_up(self, parallel: int) -> Work | None:
        """Start what asks for it, once in each boot; None if that was done. Who comes while it is done gets the same."""
        if self.is_going_down:
            raise Busy("the containers of this host are being stopped", hint="wait for 'pycontainer service shutdown'")
        if self._work is not None:
            return self._work
        if self.phase == UP:
            return None
        self._tried, self._parallel = [], parallel
        self._save(STARTING)
        return self._start(parallel)

    def _start(self, parallel: int) -> Work:
        with acting("policy boot"):
            return self._begin(lambda work: self._start_all(work, parallel))

    async def _start_all(self, work: Work, parallel: int) -> None:
        world = self._world
        slots = asyncio.Semaphore(parallel)
        wanted = [c for c in world.containers.values() if self._is_wanted(c)]
        for group in in_order(wanted):
            async with asyncio.TaskGroup() as starts:
                for container in group:
                    await slots.acquire()
                    starts.create_task(self._start_one(work, container, slots))
        self._save(UP)
        failed = sum("error" in outcome for outcome in work.outcomes)
        world.events.emit("boot", started=len(work.outcomes) - failed, failed=failed)

    def _is_wanted(self, container: Container) -> bool:
        is_to_come = container.id not in self._world.runs and container.id not in self._tried
        return is_to_come and asks_to_start(container) and not self._world.transfer.holds(container)

    async def _start_one(self, work: Work, container: Container, slots: asyncio.Semaphore) -> None:
        world = self._world
        try:
            async with world.lock(container):
                if container.id in world.runs or world.containers.get(container.id) is not container:
                    return
                world.restarts.cancel(container)
                container.restart_count = 0
                assert self.start is not None
                try:
                    await self.start(container)
                except Exception as error:  # whatever it is, the others have their turn, and its policy goes on
                    if not isinstance(error, PycontainerError):
                        log.failure("a fault in starting a container", container_id=container.id)
                    world.restarts.failed(container, error, "the start at boot failed")
                    work.add(container, error=str(error), hint=getattr(error, "hint", ""))
                else:
                    work.add(container)
                self._tried.append(container.id)
                self._save(self.phase)
            await asyncio.sleep(container.spec.boot_delay_seconds)
        finally:
            slots.release()

    # -- going down

    @property
    def is_going_down(self) -> bool:
        """Tell whether all are being stopped just now."""
        return self.phase == STOPPING and self._work is not None

    @property
    def is_at_work(self) -> bool:
        """Tell whether all are being started, or stopped, just now."""
        return self._work is not None

    def require_up(self) -> None:
        """Raise Busy while all are being stopped: what starts now would be ended without being asked."""
        if self.is_going_down:
            raise Busy(
                "the host goes down: its containers are being stopped", hint="start it when the host is up again"
            )

    def go_down(self, seconds: float) -> Work:
        """Stop all that runs, in `seconds` at most and what kills take. Who comes while it is done gets the same."""
        if self.is_going_down and self._work is not None:
            return self._work
        if self._work is not None and self._work.task is not None:
            self._work.task.cancel()  # starts that are under way end, others do not begin
        self._save(STOPPING)
        return self._begin(lambda work: self._stop_all(work, seconds))

    async def _stop_all(self, work: Work, seconds: float) -> None:
        """Give each place in the order an equal share of the time that is left, so that the last ones have theirs."""
        world = self._world
        clock = asyncio.get_running_loop().time
        deadline = clock() + seconds
        seen: set[str] = set()
        while running := [c for c in world.containers.values() if self._may_be_up(c) and c.id not in seen]:
            seen.update(container.id for container in running)
            groups = in_order(running)[::-1]
            for position, group in enumerate(groups):
                share = max(deadline - clock(), 0) / (len(groups) - position)
                await asyncio.gather(*(self._stop_one(work, container, share) for container in group))
        self._save(DOWN)
        world.events.emit("shutdown", stopped=sum("error" not in outcome for outcome in work.outcomes))

    def _may_be_up(self, container: Container) -> bool:
        """Tell whether it runs, or something is done with it that may end in its start."""
        lock = self._world.locks.get(container.id)
        return is_up(self._world, container) or (lock is not None and lock.locked())

    async def _stop_one(self, work: Work, container: Container, seconds: float) -> None:
        assert self.stop is not None
        try:
            if await stop_within(self._world, container, seconds, self.stop):
                work.add(container, exit_code=container.exit_code)
        except Exception as error:
            if not isinstance(error, PycontainerError | OSError):
                log.failure("a fault in stopping a container", container_id=container.id)
            work.add(container, error=str(error))

    # -- both

    def _begin(self, act: Callable[[Work], Coroutine[None, None, None]]) -> Work:
        work = self._work = Work()
        work.task = self._world.spawn(self._carry_out(work, act))
        return work

    async def _carry_out(self, work: Work, act: Callable[[Work], Coroutine[None, None, None]]) -> None:
        try:
            await act(work)
        finally:
            if self._work is work:
                self._work = None
            work.finish()

    def _save(self, phase: str) -> None:
        """Note how far we are; gone with the run directory, so no fsync. Without room for it there is no going on later."""
        self.phase = phase
        record = {"boot": name_of_boot(), "phase": phase, "parallel": self._parallel, "tried": self._tried}
        try:
            write_atomically(self._path, json.dumps(record).encode(), sync=False)
        except OSError as error:
            log.say(f"'{self._path}': {error.strerror}")


def in_order(containers: Iterable[Container]) -> list[list[Container]]:
    """Return groups in the order of the boot: by boot_order, lowest first, then all without one; the oldest first in each."""
    groups: dict[float, list[Container]] = {}
    for container in sorted(containers, key=lambda c: (c.created, c.id)):
        order = container.spec.boot_order
        groups.setdefault(float("inf") if order is None else order, []).append(container)
    return [groups[order] for order in sorted(groups)]


def _sync_directory(directory: str) -> None:
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    except FileNotFoundError:  # it was removed just now
        pass
    except OSError as error:
        log.say(f"'{directory}': what was noted there may be lost with the power: {error.strerror}")
