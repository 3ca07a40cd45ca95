"""What happens when a run ends, and how we hear of it.

    monitor ── exit ──▶ heard_exit ──┐              the record says how it ended,             network, limits and cgroup go,
    pidfd, where there is none ──────┼──▶ finish ──▶ who waits is told, the    ── settle ──▶  and all of it, if it was to go
    recovery, of what nobody saw ────┘               restart policy is asked                  with its end

Who waits for an end is answered before the kernel's things are taken down, which takes longer than all else. Nobody can tell:
that is done before the next request is looked at, or when there is none, a moment later.

A monitor that dies takes nothing along: we hold the other ends of its streams, and a new one reads on. It is no parent of
what goes on, so how that ends is asked of the kernel; what it does not know is reported as unknown.
"""

import asyncio
import contextlib
import contextvars
import itertools
import os
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, cast

from pycontainer.cgroup.base import Cgroup
from pycontainer.controllers import registry
from pycontainer.errors import PycontainerError
from pycontainer.failpoints import reach
from pycontainer.linux.hostboot import name_of_boot
from pycontainer.linux.process import exit_status
from pycontainer.runtime.container import Container, exit_code, now, uptime_seconds
from pycontainer.runtime.start import Run
from pycontainer.supervisor import log
from pycontainer.supervisor.caller import may_see
from pycontainer.supervisor.damaged import Damaged
from pycontainer.supervisor.events import KERNEL, SUPERVISOR, Allowance, acting, current_actor
from pycontainer.supervisor.looks import Looks
from pycontainer.supervisor.oomwatch import Kill, OomWatch
from pycontainer.trace import current, recording

if TYPE_CHECKING:
    from pycontainer.supervisor.world import World

_NETWORK_SWEEP_SECONDS = 2.0
_LINGERING_SECONDS = 0.02  # in which a monitor, however busy, has taken down what it kept of a run that ended
_ANSWERED_SECONDS = 0.002  # after which who waited for an end has been answered
_BY_US = ("asked", "health", "not-ready")
_ASKED_TIMES, _ASKED_SECONDS = 10, 0.02
_LONGEST_PAUSE_SECONDS = 60.0  # between two tries to have a monitor again
_KEPT_SECONDS = 10.0  # that how a run ended is known to who had lost the supervisor before


class Result(NamedTuple):
    """How a run ended, as `wait` tells it, and who may know: the container may be gone."""

    tenant: str
    told: dict[str, object]


class Endings:
    """The runs of one world that will end, and those who wait for that."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._exits: dict[str, asyncio.Event] = {}
        self._early_exits: dict[str, dict[str, object]] = {}
        self._exec_exits: dict[str, asyncio.Future[int]] = {}
        self._is_replacing = False  # a monitor that died
        self._being_asked: set[str] = set()  # the kernel is asked how their run ended
        self._results: dict[str, Result | None] = {}  # for who waited for an end before we took our place
        self._asked: dict[str, tuple[int, str]] = {}  # container -> the last signal that its run was sent, and for whom
        self._oom_told: dict[str, int] = {}  # container -> kills of its present run that were told with their victims
        self._oom_allowance = Allowance()
        self._oom_watch: OomWatch | None = None
        self._network_sweep: asyncio.TimerHandle | None = None
        self._unmounting: dict[str, asyncio.Task[None]] = {}  # container -> the root of its last run is going
        self._left: dict[str, Callable[[], None]] = {}  # container -> what is left to be done about its end

    def watch_kills(self) -> None:
        """Hear of each process that the kernel kills for want of memory."""
        self._oom_watch = OomWatch(self._heard_kill)

    def close(self) -> None:
        if self._oom_watch is not None:
            self._oom_watch.close()

    def began(self, container: Container, run: Run) -> None:
        """A start succeeded."""
        world = self._world
        world.runs[container.id] = run
        world.looks[container.id] = Looks(container, run.root_fd)
        self._asked.pop(container.id, None)
        self._oom_told.pop(container.id, None)  # the kernel may tell of the last run when that is over
        self._exits[container.id] = asyncio.Event()
        world.boot.note(container)
        world.events.emit("start", container)
        world.health.began(container, run)
        early = self._early_exits.pop(container.id, None)
        if early is not None and early["pid"] == run.pid:  # else it is the end of another run, that was missed
            self._ended(container, early)

    def adopt(self, container: Container, run: Run, *, has_monitor: bool) -> None:
        """Take over a run that another supervisor began; without a monitor its end is seen by the pidfd."""
        self._world.runs[container.id] = run
        self._world.looks[container.id] = Looks(container, -1)
        self.keep_result(container.id)
        self._exits[container.id] = asyncio.Event()
        self._world.health.adopt(container, run)
        if container.ran_in != name_of_boot():  # its note could not be written, or was lost
            self._world.boot.note(container)
        if not has_monitor:
            self._watch_unattended(container, run)

    def knows_missed(self, container: Container) -> bool:
        """Tell whether it is known how a run ended that nobody saw end; what the monitor told of it is taken in."""
        early = self._early_exits.pop(container.id, None)
        if early is not None and early["pid"] == container.pid and early["wait_status"] is not None:
            container.ended(int(str(early["wait_status"])))
            container.dropped_output_bytes = int(str(early.get("dropped_output_bytes", 0)))
            if isinstance(early.get("unwritten"), dict):
                self._save_exit(container, early["unwritten"])
        elif early is not None and early["pid"] == container.pid:
            return True  # adopted by that monitor, which knows nothing: nor will anybody
        elif container.exit_code is None:
            with contextlib.suppress(ValueError, OSError):  # written since we read the records
                container.load_exit()
        return container.exit_code is not None

    def keep_result(self, container_id: str) -> None:
        """Keep how a run ends for `take_result`: somebody may wait for it already, and the container may go with its end."""
        self._results.setdefault(container_id, None)

    def tell_result(self, container: Container) -> None:
        """Let `take_result` know, for a while, how the last run ended."""
        told: dict[str, object] = {"exit_code": container.exit_code, "oom_killed": container.oom_killed}
        self._results[container.id] = Result(container.spec.tenant, told)
        asyncio.get_running_loop().call_later(_KEPT_SECONDS, self._results.pop, container.id, None)

    def take_result(self, container_id: str) -> dict[str, object] | None:
        """Return how the run ended for which `keep_result` asked, None if it has not ended or who asks may not know."""
        result = self._results.get(container_id)
        return None if result is None or not may_see(result.tenant) else result.told

    def is_over(self, container: Container) -> bool:
        """Tell whether nobody has to wait for the end of a run."""
        return container.id not in self._exits

    async def wait_exit(self, container: Container, timeout_seconds: float | None = None) -> bool:
        """Wait for the end of the present run; False when the time is over first. Who goes on to use it calls `settle`."""
        event = self._exits.get(container.id)
        if event is None:
            return True
        try:
            await asyncio.wait_for(event.wait(), timeout_seconds)
        except TimeoutError:
            return event.is_set()  # it may end in the moment in which the time is over
        return True

    def send(self, container: Container, number: int, *, cause: str) -> None:
        """Send a signal to the first process of a container; `cause` is what was asked for. Nothing, if it has just ended.

        It is told first: who asked for an end is known, whoever dies in between.
        """
        world = self._world
        run = world.runs.get(container.id)
        if run is None:
            return
        world.events.emit("kill", container, cause=cause, signal=number)
        self._asked[container.id] = (number, current_actor())
        with contextlib.suppress(ProcessLookupError):  # it has, and we have not heard of it yet
            signal.pidfd_send_signal(run.pidfd, number)

    def expect_exec_exit(self, exec_id: str) -> asyncio.Future[int]:
        """Return a future of the exit code of a process that joined."""
        return self._exec_exits.setdefault(exec_id, asyncio.get_running_loop().create_future())

    def forget_exec(self, exec_id: str) -> None:
        self._exec_exits.pop(exec_id, None)

    def heard_exit(self, message: dict[str, object]) -> None:
        with acting(SUPERVISOR), recording(None):  # not who had us connect to the monitor, and not in his trace
            self._heard_exit(message)

    def _heard_exit(self, message: dict[str, object]) -> None:
        world = self._world
        child_id = str(message["id"])
        if message["kind"] == "exec":
            future = self._exec_exits.get(child_id)
            if future is not None and not future.done():
                future.set_result(exit_code(int(str(message["wait_status"]))))
            return
        if (damaged := world.broken.get(child_id)) is not None:
            self._damaged_ended(damaged)
            return
        container = world.containers.get(child_id)
        if container is None:
            return
        if (run := world.runs.get(child_id)) is None:
            self._early_exits[child_id] = message
        elif run.pid == message["pid"]:  # else it is the end of a run before, whose end was seen otherwise
            self._ended(container, message)

    def _heard_kill(self, kill: Kill) -> None:
        """Tell of a process that the kernel killed for want of memory, whose limit it was, and how large it was."""
        world = self._world
        container_id, own = kill.place(world.paths.marker) or ("", "")
        container = world.containers.get(container_id)
        if container is None or not self._has_untold_kill(container):
            return
        limit_of, limit_bytes = "host", cast("int | None", None)
        if kill.limited_by == own or kill.limited_by.startswith(f"{own}/"):
            limit_of, limit_bytes = "container", container.spec.memory_bytes
        elif container.spec.tenant and kill.limited_by == os.path.dirname(own):
            limit_of, limit_bytes = "tenant", world.tenants.memory_bytes(container.spec.tenant)
        elif os.path.basename(kill.limited_by) == world.paths.marker:
            limit_of = "all containers"
        self._oom_told[container.id] = self._oom_told.get(container.id, 0) + 1
        if not self._oom_allowance.take(container.id, time.monotonic()):
            return
        victim = {"pid": kill.pid, "command": kill.command, "rss_bytes": kill.rss_bytes}
        world.events.emit("oom", container, actor=KERNEL, victim=victim, limit_of=limit_of, limit_bytes=limit_bytes)

    def _has_untold_kill(self, container: Container) -> bool:
        """Ask the kernel whether more processes were killed there than we have told of."""
        run = self._world.runs.get(container.id)
        if run is None:
            return container.oom_killed
        try:
            return run.cgroup.oom_kills() > self._oom_told.get(container.id, 0)
        except OSError:  # it is just ending
            return True

    def lost_monitor(self) -> None:
        """The monitor died: its children go on, and a new one looks after them."""
        world = self._world
        for exec_exit in self._exec_exits.values():
            if not exec_exit.done():
                exec_exit.set_exception(PycontainerError("the monitor died: the exit code of this process is unknown"))
                exec_exit.exception()  # looked at: who waits may have left
        for container_id in world.runs:
            world.events.emit("monitor-lost", world.containers[container_id], actor=SUPERVISOR)
        if world.runs:
            with recording(None):  # whoever's connection to the monitor it was
                world.spawn(self._replace_monitor())

    async def _replace_monitor(self) -> None:
        """Have another monitor look after all that runs; where none can be had it is tried again and again.

        Without one nobody reads what they write: with 64 KiB of it in their pipes they would stand still.
        """
        if self._is_replacing:
            return
        self._is_replacing = True
        try:
            for attempt in itertools.count():
                try:
                    await self._adopt_all()
                    return
                except (OSError, PycontainerError) as error:
                    log.say(f"containers go on without a monitor: {error}", level="error")
                    for container_id, run in self._world.runs.items():
                        self._watch_unattended(self._world.containers[container_id], run)
                await asyncio.sleep(min(2**attempt, _LONGEST_PAUSE_SECONDS))
                if not self._world.runs:
                    return
        finally:
            self._is_replacing = False

    async def _adopt_all(self) -> None:
        """Have the monitor, a new one if need be, look after each run; nothing changes for those that it knows."""
        world = self._world
        await world.link.connect(start=True)
        for container_id, run in world.runs.items():
            tty = world.containers[container_id].spec.tty
            world.link.adopt(container_id, run.pid, run.pidfd, run.streams, tty=tty)
            asyncio.get_running_loop().remove_reader(run.pidfd)  # if nobody looked after it before

    def _watch_unattended(self, container: Container, run: Run) -> None:
        asyncio.get_running_loop().add_reader(run.pidfd, self._ended_unseen, container, run)

    def _ended_unseen(self, container: Container, run: Run) -> None:
        asyncio.get_running_loop().remove_reader(run.pidfd)
        with recording(None):
            self._world.spawn(self._ask_kernel(container, run))

    async def _ask_kernel(self, container: Container, run: Run) -> None:
        """Finish a run whose parent died, once: several may have seen its end."""
        if container.id in self._being_asked or self._world.runs.get(container.id) is not run:
            return
        self._being_asked.add(container.id)
        try:
            await self._learn_from_kernel(container, run)
            if self._world.runs.get(container.id) is run:
                with acting(SUPERVISOR):
                    self.finish(container, exit_code=container.exit_code)
        finally:
            self._being_asked.discard(container.id)

    async def _learn_from_kernel(self, container: Container, run: Run) -> None:
        """Ask how a run ended; the kernel says it once another parent has reaped it, if it ever says."""
        container.exit_code = None
        with contextlib.suppress(ValueError, OSError):  # damaged, it says as little as one that is not there
            container.load_exit()  # the monitor died after it had written that, and before it told us
        for _ in range(_ASKED_TIMES):
            if container.exit_code is not None:
                break
            if (wait_status := exit_status(run.pidfd)) is not None:
                container.ended(wait_status)
                dropped = container.dropped_output_bytes
                self._save_exit(
                    container, {"wait_status": wait_status, "finished": now(), "dropped_output_bytes": dropped}
                )
                break
            await asyncio.sleep(_ASKED_SECONDS)

    def _ended(self, container: Container, message: dict[str, object]) -> None:
        with self._world.traces.ending(container.id, message.get("trace")):
            self._take_end(container, message)

    def _take_end(self, container: Container, message: dict[str, object]) -> None:
        container.dropped_output_bytes = int(str(message.get("dropped_output_bytes", 0)))
        if message["wait_status"] is None:
            self._world.spawn(self._ask_kernel(container, self._world.runs[container.id]))
            return
        container.ended(int(str(message["wait_status"])))
        if isinstance(message.get("unwritten"), dict):  # the disk is full: for us there is a reserve
            self._save_exit(container, message["unwritten"])
        self.finish(container, exit_code=container.exit_code)

    def _save_exit(self, container: Container, record: object) -> None:
        try:
            container.save_exit(record)
        except OSError as error:
            self._world.events.emit("leftover", container, detail=f"how it ended is not on disk: {error}")

    def finish(self, container: Container, *, exit_code: int | None) -> None:
        """The run is over: record how it ended, start again if the policy says so, take down what it had, see `settle`.

        The present run stays on record until it is known what follows, or who is killed here would leave it undone.
        """
        reach("end:heard")
        world = self._world
        run = world.runs.pop(container.id, None)
        world.looks.pop(container.id, None)
        cgroup = run.cgroup if run is not None else world.cgroup(container)
        world.ledger.ended(container, cgroup)
        try:
            container.oom_killed = cgroup.oom_kills() > 0
        except OSError:
            pass
        netns_fd = root_fd = -1
        if run is not None:
            asyncio.get_running_loop().remove_reader(run.pidfd)  # if there was no monitor
            netns_fd, run.netns_fd = run.netns_fd, -1  # or the kernel would begin to take down what we are about to
            root_fd = self._close(container, run)
        container.exit_code, container.finished = exit_code, container.finished or now()
        if run is not None:
            container.finished = now()
        try:
            container.save_unknown_exit()
        except OSError as error:
            world.events.emit("leftover", container, detail=f"that it ended is not on disk: {error}")
        lasted_seconds = _lasted_seconds(container, is_seen=run is not None)
        was_well = container.is_proven or not container.health
        container.cause = container.cause_of_end()
        world.health.ended(container)
        container.run_ended()
        world.transient.note(container.id, None)
        if container.oom_killed and container.id not in self._oom_told:
            world.events.emit("oom", container, actor=KERNEL)
        self._oom_told.pop(container.id, None)
        asked, cause = self._asked.pop(container.id, None), container.cause
        actor = asked[1] if asked is not None and (cause in _BY_US or asked[0] == container.killed_by) else KERNEL
        told: dict[str, object] = {"signal": container.killed_by} if container.killed_by else {}
        world.events.emit("die", container, cause=cause, actor=actor, exit_code=exit_code, **told)
        if container.id in self._results:
            self.tell_result(container)
        event = self._exits.pop(container.id, None)
        if event is not None:
            event.set()
        is_to_go = world.restarts.after_end(container, lasted_seconds=lasted_seconds, was_well=was_well)
        world.boot.after_end(container)
        reach("end:told")
        context = contextvars.copy_context()  # who ended it, and who traces that
        self._left[container.id] = lambda: context.run(
            self._take_down, container, cgroup, netns_fd, root_fd, is_to_go=is_to_go
        )
        if run is None or world.networks.published(container.id):  # a port is what programs beside us may ask for
            self.settle(container.id)
        else:
            asyncio.get_running_loop().call_later(_ANSWERED_SECONDS, self.settle, container.id)

    def settle(self, container_id: str = "") -> None:
        """Do what is left to be done about the end of a container, or of all: nothing of it is there any more."""
        for each in [container_id] if container_id else [*self._left]:
            if (take_down := self._left.pop(each, None)) is not None:
                try:
                    take_down()
                except Exception:  # whoever is served next has no part in it
                    log.failure("a fault in taking down what a run has left", container_id=each)

    def _take_down(self, container: Container, cgroup: Cgroup, netns_fd: int, root_fd: int, *, is_to_go: bool) -> None:
        with recording(current()):  # its first step begins now
            try:
                self._unmount(container, root_fd)
                self._take_down_links(container)
            finally:
                if netns_fd >= 0:
                    os.close(netns_fd)
                self._take_down_rest(container, cgroup, is_to_go=is_to_go)

    def _take_down_links(self, container: Container) -> None:
        world = self._world
        world.ledger.write_counted()
        if container.addresses:
            try:
                world.networks.detach(container.id, alive=False)
            except OSError as error:
                world.events.emit("leftover", container, detail=f"network: {error}")
            self.sweep_networks_later()
            reach("end:network")

    def _take_down_rest(self, container: Container, cgroup: Cgroup, *, is_to_go: bool) -> None:
        world = self._world
        try:
            registry.release(world.instance(container, cgroup))
        except OSError as error:
            world.events.emit("leftover", container, detail=f"limits: {error}")
        reach("end:limits")
        self.remove_cgroup(cgroup)
        reach("end:cgroup")
        if is_to_go:
            world.removal.remove_ended(container)
        elif not container.restarting:
            try:
                container.forget_run()
            except OSError as error:  # a disk that takes nothing keeps nobody from ending
                world.events.emit("leftover", container, detail=f"its run is on record still: {error.strerror}")
        reach("end:over")
        if container.spec.tenant:
            world.transient.member_ended(container.spec.tenant)

    def _close(self, container: Container, run: Run) -> int:
        """Close what a run held, but for the root of one that goes with its end: return that, -1 if there is none."""
        root_fd = -1
        if container.spec.auto_remove and not container.spec.rootfs:  # a directory of the host's is its owner's at once
            root_fd, run.root_fd = run.root_fd, -1
        run.close()
        return root_fd

    def _unmount(self, container: Container, root_fd: int) -> None:
        """Close what `_close` has left beside other requests, see `unmounted`.

        Who is the last to let go of a root unmounts it, and the kernel writes out what the file system beneath has in memory:
        some ms, or what a busy disk needs. That must not be the monitor, which keeps the root of a short run for a moment.
        """
        if root_fd >= 0:
            self._unmounting[container.id] = self._world.spawn(_close_last(root_fd))

    async def unmounted(self, container_id: str) -> None:
        """Wait until nothing has the root of the last run: who starts another one, or deletes its files, must."""
        if (unmounting := self._unmounting.pop(container_id, None)) is not None:
            await unmounting

    def forget(self, container_id: str) -> None:
        """The container is gone."""
        self._oom_allowance.forget(container_id)
        for known in (self._early_exits, self._asked, self._oom_told):
            known.pop(container_id, None)

    def sweep_networks_later(self) -> None:
        if self._network_sweep is None:
            self._network_sweep = asyncio.get_running_loop().call_later(_NETWORK_SWEEP_SECONDS, self._sweep_networks)

    def _sweep_networks(self) -> None:
        self._network_sweep = None
        self._world.networks.sweep()

    def remove_cgroup(self, cgroup: Cgroup) -> None:
        try:
            cgroup.kill()
            cgroup.delete()
        except (OSError, TimeoutError) as error:
            self._world.events.emit("leftover", detail=f"cgroup: {error}")

    def _damaged_ended(self, damaged: Damaged) -> None:
        """A damaged container that went on running has ended: what it held of the host goes, its files stay."""
        world = self._world
        damaged.is_alive = False
        world.networks.detach(damaged.id, alive=False)
        self.sweep_networks_later()
        self.remove_cgroup(world.hierarchy.open(damaged.id, damaged.tenant))
        world.events.emit("die", actor=KERNEL, cause="unknown", id=damaged.id, name=damaged.name, exit_code=None)


async def _close_last(root_fd: int) -> None:
    try:
        await asyncio.sleep(_LINGERING_SECONDS)
    finally:
        await asyncio.to_thread(os.close, root_fd)


def _lasted_seconds(container: Container, *, is_seen: bool) -> float:
    """Return how long the present run was, by the clock that nobody sets; by wall time where that is all that is known."""
    uptime = uptime_seconds() if is_seen else container.finished_uptime
    if container.start_ticks and uptime is not None:
        return container.lasted_seconds(uptime)
    return (container.finished or 0.0) - (container.started or container.finished or 0.0)
