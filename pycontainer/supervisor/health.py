"""Whether containers are well: when they are asked, what follows from the answers, who waits for READY=1.

    lifecycle ── prepare ──▶ socket for sd_notify      run/notify/ID/notify, readiness.py
    endings ──── began ────▶ a task that asks now and then ── probes.py ──▶ Record ──▶ events, `health` in ps
                             a deadline for READY=1                             └──▶ unhealthy: nothing, restart, stop
    endings ──── ended ────▶ all of it goes

One container is asked one thing at a time. A check waits for a place before it begins, and its time counts from then on.
There are two lots of places: who did not answer in time the last time has to take one of the slow lot, so that a hundred
containers that let us wait make one another late, and nobody else. Checks begin one after the other, not all at once.
"""

import asyncio
import contextlib
import functools
import os
import random
import socket
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from pycontainer.errors import PycontainerError, StartFailed
from pycontainer.linux.process import pidfd_open
from pycontainer.runtime.container import Container, now, uptime_seconds
from pycontainer.runtime.healthcheck import HEALTHY, READY, STARTING, UNHEALTHY, Check, Record, Result, check_of
from pycontainer.runtime.start import Run
from pycontainer.supervisor import log
from pycontainer.supervisor.events import Allowance, acting
from pycontainer.supervisor.probes import EXEC_MARK, Commands, NoVerdict, ask_port, kill_group
from pycontainer.supervisor.readiness import Speaker, sweep

if TYPE_CHECKING:
    from pycontainer.supervisor.world import World

_ACTOR = "policy health"
_TOLD_CHARACTERS = 256  # of an answer, in events: a container must not fill the journal
_PLACES, _SLOW_PLACES = 96, 32
_COMMAND_GAP_SECONDS, _PORT_GAP_SECONDS = 0.02, 0.005  # between two beginnings: a process costs us milliseconds


class Health:
    """The health of one world's containers; `end` is set by what knows how to end a run."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._checks: dict[str, Check] = {}
        self._records: dict[str, Record] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._speakers: dict[str, Speaker] = {}
        self._ready: dict[str, asyncio.Event] = {}  # set when a container is ready, or will not be any more
        self._deadlines: dict[str, asyncio.TimerHandle] = {}
        self._began: dict[str, float] = {}  # of the monotonic clock
        self._ending: set[str] = set()
        self._allowance = Allowance()  # of events
        self._inherited: dict[str, tuple[socket.socket, str]] = {}  # of the program before us, with what was said last
        self._places, self._slow_places = asyncio.Semaphore(_PLACES), asyncio.Semaphore(_SLOW_PLACES)
        self._is_slow: set[str] = set()
        self._next_begin = 0.0
        self.end: Callable[[Container], Awaitable[object]] | None = None

    # -- the life of a run

    def prepare(self, container: Container) -> str:
        """A start is on its way: forget the last run; return the directory of the socket for sd_notify, if it wants one."""
        self.ended(container)
        container.ending, container.killed_by = "", 0
        container.is_proven = container.was_ready = False
        check = self._check(container)
        container.health = STARTING if check is not None or container.spec.notify else ""
        return self._open(container) if container.spec.notify else ""

    def began(self, container: Container, run: Run) -> None:
        """The program was executed."""
        container.cause = ""
        with acting(_ACTOR):
            self._watch(container, run, up_seconds=0.0)

    def adopt(self, container: Container, run: Run) -> None:
        """Another supervisor began this run: go on where it was."""
        check = self._check(container)
        if container.spec.notify:
            try:
                self._open(container)
            except OSError as error:  # it stays what it is; a start that waits for it runs into its deadline
                self._world.events.emit("leftover", container, detail=f"socket for sd_notify: {error}")
        if check is None and not container.spec.notify:
            container.health = ""
        elif not container.health:  # begun by a version that asked nobody
            container.health = STARTING
        with acting(_ACTOR):
            self._watch(container, run, up_seconds=container.lasted_seconds(uptime_seconds()), is_adopted=True)

    def ended(self, container: Container) -> None:
        """The run is over, or was not to be."""
        self._stop_asking(container.id)
        for known in (self._checks, self._records, self._began):
            known.pop(container.id, None)
        self._is_slow.discard(container.id)
        container.health = ""
        if (deadline := self._deadlines.pop(container.id, None)) is not None:
            deadline.cancel()
        if (speaker := self._speakers.pop(container.id, None)) is not None:
            speaker.close()
        if (ready := self._ready.pop(container.id, None)) is not None:
            ready.set()

    def forget(self, container_id: str) -> None:
        """The container is gone."""
        self._allowance.forget(container_id)

    def plan(self, container: Container) -> None:
        """The settings of its check have changed."""
        run, check = self._world.runs.get(container.id), self._check(container)
        if run is None or check == self._checks.get(container.id):
            return
        self._stop_asking(container.id)
        for known in (self._checks, self._records):
            known.pop(container.id, None)
        self._is_slow.discard(container.id)
        if container.was_ready:
            container.health = READY
        else:
            container.health = STARTING if check is not None or container.spec.notify else ""
        self._save(container)
        up_seconds = asyncio.get_running_loop().time() - self._began.get(container.id, 0.0)
        with acting(_ACTOR):
            self._watch(container, run, up_seconds=up_seconds)

    def close(self) -> None:
        """Leave; the next supervisor goes on."""
        for container_id in list(self._tasks):
            self._stop_asking(container_id)
        for deadline in self._deadlines.values():
            deadline.cancel()
        for speaker in self._speakers.values():
            speaker.leave()

    def handed_over(self) -> list[dict[str, object]]:
        """Return the sockets for sd_notify: while one program follows another, nobody who speaks is refused."""
        return [{"id": key, "fd": each.fileno(), "status": each.status} for key, each in self._speakers.items()]

    def take_over(self, speakers: list[dict[str, Any]]) -> None:
        """Have the sockets of the program before us for the containers that are about to be adopted."""
        self._inherited = {each["id"]: (socket.socket(fileno=each["fd"]), each["status"]) for each in speakers}

    def recovered(self, children: dict[int, str]) -> None:
        """End what asked for a supervisor that is gone; `children` are the monitor's, by pid, each with its id."""
        for sock, _ in self._inherited.values():  # of those that have ended
            sock.close()
        self._inherited.clear()
        sweep(self._world.paths, self._world.runs)
        for pid, child_id in children.items():
            container_id, mark, _ = child_id.partition(EXEC_MARK)
            run = self._world.runs.get(container_id)
            if mark and run is not None:
                kill_child(pid, run)

    # -- who waits, and who looks

    def is_awaited(self, container: Container) -> bool:
        """Tell whether it has neither said READY=1 yet nor missed to."""
        ready = self._ready.get(container.id)
        return ready is not None and not ready.is_set()

    async def until_ready(self, container: Container) -> None:
        """Wait until it says READY=1, if it was to; StartFailed if it ends before, or is ended because it does not."""
        if not container.spec.notify:
            return
        if (ready := self._ready.get(container.id)) is not None:
            await ready.wait()
        if container.was_ready:
            return
        if container.ending == "not-ready":
            seconds = container.spec.notify_timeout_seconds
            raise StartFailed(
                f"container '{container.spec.name}' did not say READY=1 within {seconds} seconds",
                hint="NOTIFY_SOCKET is set for its first process, see sd_notify(3); --notify-timeout gives it more time",
                step="ready",
            )
        code = "unknown" if container.exit_code is None else container.exit_code
        raise StartFailed(
            f"container '{container.spec.name}' ended before it said READY=1, exit code {code}",
            hint=f"'pycontainer logs {container.spec.name}' has what it wrote, if it is still there",
            step="ready",
        )

    def describe(self, container: Container) -> dict[str, object]:
        """Return what `inspect` shows."""
        check, record = self._check(container), self._records.get(container.id)
        speaker = self._speakers.get(container.id)
        return {
            "status": container.health,
            "said": speaker.status if speaker else "",
            "check": check and check.describe(),
            "interval_seconds": check and check.interval_seconds,
            "timeout_seconds": check and check.timeout_seconds,
            "retries": check and check.retries,
            "start_period_seconds": check and check.start_period_seconds,
            "start_interval_seconds": check and check.start_interval_seconds,
            "action": container.spec.health_action,
            "failing_streak": record.failing_streak if record else 0,
            "log": [
                {"time": one.began, "seconds": round(one.seconds, 3), "good": one.is_good, "output": one.output}
                for one in (record.results if record else ())
            ],
        }

    # -- READY=1

    def _open(self, container: Container) -> str:
        directory = f"{self._world.paths.notify_dir}/{container.id}"
        inherited, status = self._inherited.pop(container.id, (None, ""))
        with acting(_ACTOR):
            speaker = self._speakers[container.id] = Speaker(directory, lambda: self._heard(container), inherited)
        speaker.status = status
        self._ready[container.id] = asyncio.Event()
        return directory

    def _heard(self, container: Container) -> None:
        speaker = self._speakers[container.id]
        if speaker.ready and container.health == STARTING:
            self._is_ready(container)
            self._change(container, READY, "it said READY=1", is_proven=self._check(container) is None)

    def _is_ready(self, container: Container) -> None:
        container.was_ready = True
        if (deadline := self._deadlines.pop(container.id, None)) is not None:
            deadline.cancel()
        if (ready := self._ready.get(container.id)) is not None:
            ready.set()

    def _not_ready(self, container: Container, run: Run, *, is_adopted: bool) -> None:
        self._deadlines.pop(container.id, None)
        if is_adopted:  # it may have said so while nobody listened
            self._is_ready(container)
            self._change(
                container, READY, "it was taken over, and had time enough", is_proven=self._check(container) is None
            )
            return
        self._world.spawn(self._end(container, run, "not-ready", for_good=False))

    # -- asking

    def _check(self, container: Container) -> Check | None:
        return check_of(container.spec, container.image.config if container.image else {})

    def _watch(self, container: Container, run: Run, *, up_seconds: float, is_adopted: bool = False) -> None:
        loop = asyncio.get_running_loop()
        self._began[container.id] = loop.time() - up_seconds
        awaited = container.id in self._ready and container.health == STARTING
        if container.id in self._ready and not awaited:
            self._is_ready(container)
        elif awaited and container.id not in self._deadlines:
            left = max(0.0, container.spec.notify_timeout_seconds - up_seconds)
            over = functools.partial(self._not_ready, container, run, is_adopted=is_adopted)
            self._deadlines[container.id] = loop.call_later(left, over)
        check = self._check(container)
        if check is None:
            return
        self._checks[container.id] = check
        record = self._records[container.id] = Record(container.health)
        first = record.next_delay(check, up_seconds=up_seconds)
        if is_adopted:  # not those of all containers at once
            first = random.uniform(0.0, first)
        self._tasks[container.id] = loop.create_task(self._ask_for_ever(container, run, check, record, first))

    def _stop_asking(self, container_id: str) -> None:
        task = self._tasks.pop(container_id, None)
        if task is not None:
            task.cancel()

    async def _ask_for_ever(self, container: Container, run: Run, check: Check, record: Record, first: float) -> None:
        commands = Commands(self._world, container, run)
        try:
            if (ready := self._ready.get(container.id)) is not None:
                await ready.wait()
                record.status = container.health
            delay = first
            while True:
                await asyncio.sleep(delay)
                if not _is_frozen(run):
                    result = await self._ask(container, run, check, commands)
                    if result is not None and not _is_frozen(run):  # it was paused in the middle: no fault of its own
                        self._take(container, run, check, record, result)
                delay = record.next_delay(check, up_seconds=self._up_seconds(container))
        finally:
            commands.close()

    async def _ask(self, container: Container, run: Run, check: Check, commands: Commands) -> Result | None:
        """Ask once; None where the attempt says nothing of the container."""
        loop = asyncio.get_running_loop()
        async with self._slow_places if container.id in self._is_slow else self._places:
            begin = max(loop.time(), self._next_begin)
            self._next_begin = begin + (_COMMAND_GAP_SECONDS if check.kind == "command" else _PORT_GAP_SECONDS)
            await asyncio.sleep(begin - loop.time())
            began, clock, is_good, output, is_slow = now(), loop.time(), False, "", False
            try:
                async with asyncio.timeout(check.timeout_seconds):
                    if check.kind == "command":
                        output = await commands.ask(check)
                    else:
                        output = await ask_port(run, check, _addresses(container))
                is_good = True
            except TimeoutError:
                output, is_slow = f"no answer within {check.timeout_seconds:g} seconds", True
            except NoVerdict:
                return None
            except (ValueError, OSError) as error:
                output = str(getattr(error, "strerror", None) or error)
            except PycontainerError as error:
                if type(error) is PycontainerError:  # of ours: the monitor is lost, or starts just now
                    return None
                output = error.message
            except Exception:  # a fault of ours is none of the container's
                log.failure("a fault in a health check", container_id=container.id)
                return None
        (self._is_slow.add if is_slow else self._is_slow.discard)(container.id)
        return Result(is_good, output, began, loop.time() - clock)

    def _take(self, container: Container, run: Run, check: Check, record: Record, result: Result) -> None:
        if record.take(result, check, up_seconds=self._up_seconds(container)):
            self._change(container, record.status, result.output, is_proven=record.status == HEALTHY)
        if result.is_good and container.ending and container.id not in self._ending:
            container.ending = ""  # another supervisor was about to end it, and it is well
        action = container.spec.health_action
        if record.status == UNHEALTHY and not result.is_good and action != "none":
            self._world.spawn(self._end(container, run, "health", for_good=action == "stop"))

    def _up_seconds(self, container: Container) -> float:
        return asyncio.get_running_loop().time() - self._began.get(container.id, 0.0)

    # -- what follows

    def _change(self, container: Container, status: str, why: str, *, is_proven: bool) -> None:
        container.health = status
        container.is_proven = container.is_proven or is_proven
        self._save(container)
        if self._allowance.take(container.id, asyncio.get_running_loop().time()):
            self._world.events.emit("health", container, status=status, cause=why[:_TOLD_CHARACTERS])

    def _save(self, container: Container) -> None:
        with contextlib.suppress(OSError):  # no room: what we know holds as long as we live, and is found out anew then
            container.save_run()

    async def _end(self, container: Container, run: Run, cause: str, *, for_good: bool) -> None:
        """End a run as `stop` does; what comes then the restart policy decides, or nothing if it is `for_good`."""
        assert self.end is not None
        if container.id in self._ending:
            return
        self._ending.add(container.id)
        try:
            async with self._world.lock(container):
                if self._world.runs.get(container.id) is not run:
                    return
                container.ending, container.stopping = cause, container.stopping or for_good
                await self.end(container)
        finally:
            self._ending.discard(container.id)


def kill_child(pid: int, run: Run) -> None:
    """Kill a process of a run that an earlier supervisor began, if the pid is still one of its."""
    try:
        pidfd = pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if pid in run.cgroup.pids():
            kill_group(pidfd)
    finally:
        os.close(pidfd)


def _is_frozen(run: Run) -> bool:
    return not run.cgroup.exists() or run.cgroup.is_frozen()  # what is gone is just ending


def _addresses(container: Container) -> list[str]:
    return [address[key] for address in container.addresses.values() for key in ("ip", "ip6") if address.get(key)]
