"""One child of the monitor: a container's first process or one that joined, from clone to exit record."""

import _socket
import os
import select
import time

from pycontainer import jsontext
from pycontainer.failpoints import reach
from pycontainer.init import times
from pycontainer.init.birth import Bearer
from pycontainer.init.child import GO_FD, JOIN_FD, PROC_FD, PROGRAM_FD, REPORT_FD, STDIO_FDS, bridge
from pycontainer.init.procfs import ProcMaker
from pycontainer.init.stage import Stage
from pycontainer.init.steps import execute
from pycontainer.init.table import Table
from pycontainer.linux.files import write_atomically
from pycontainer.linux.namespaces import CLONE_FILES, CLONE_NEWPID, Home, write_id_maps
from pycontainer.linux.process import pidfd_send_signal, reap
from pycontainer.monitor.lending import Lending
from pycontainer.monitor.logfile import LogFile
from pycontainer.monitor.output import Output, say_end
from pycontainer.monitor.poller import Poller, report
from pycontainer.trace import Recorder, span, step, told

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

ID_COUNT = 65536
_REPORT_BYTES = 65536  # a pipe's
_SIGKILL = 9


class Room:
    """What every birth needs of the monitor."""

    __slots__ = (
        "bearer",
        "containers_fd",
        "home",
        "lending",
        "open_files",
        "poller",
        "proc_maker",
        "procfs_fd",
        "stage_dir",
    )

    def __init__(
        self,
        *,
        bearer: Bearer,
        open_files: tuple[int, int],
        poller: Poller,
        lending: Lending,
        containers_fd: int,
        procfs_fd: int,
        home: Home,
        stage_dir: str,
    ) -> None:
        """`open_files` are the soft and hard limit that children start with."""
        self.open_files = open_files
        self.bearer, self.poller, self.lending, self.containers_fd = bearer, poller, lending, containers_fd
        self.procfs_fd, self.home, self.stage_dir = procfs_fd, home, stage_dir
        self.proc_maker = ProcMaker(bearer)


class Child:
    """A process we are the parent of. `kind` is `init` or `exec`; `released` tells whether it may outlive its asker."""

    __slots__ = (
        "_go_fd",
        "_is_adopted",
        "_is_held",
        "_mounts_fd",
        "_report_fd",
        "_room",
        "_stage",
        "_steps",
        "_times",
        "child_id",
        "is_traced",
        "kind",
        "lingers",
        "output",
        "pid",
        "pidfd",
        "recorder",
        "released",
        "started",
        "unwritten",
        "wait_status",
    )

    def __init__(self, room: Room, message: dict[str, object], fds: list[int]) -> None:
        """Clone the child that a `birth` message describes. Raises OSError of the clone.

        What it was lent is to be taken back before a descriptor of the message is closed.
        """
        self._room = room
        self.child_id, self.kind = str(message["id"]), str(message["kind"])
        self.released = self.started = self._is_adopted = self._is_held = False
        self.lingers = bool(message.get("lingers"))
        self._mounts_fd = -1
        self.wait_status: int | None = None
        self.unwritten: dict[str, object] | None = None  # the exit record that the disk did not take
        self.output: Output | None = None
        self._stage: Stage | None = None
        self.is_traced = bool(message.get("trace"))
        self.recorder = Recorder("monitor") if self.is_traced else None
        self._steps: list[str] = []  # of the bridge
        self._times: list[list[int]] = []  # when they were over, then when those of the program were
        join_fd = _pick(fds, message["join"])
        go_read_fd, self._go_fd = os.pipe2(os.O_CLOEXEC)
        try:
            self._report_fd, report_write_fd = os.pipe2(os.O_CLOEXEC)
        except OSError:
            os.close(go_read_fd)
            os.close(self._go_fd)
            raise
        stdio, doors = message["stdio"], message.get("doors", [])
        assert isinstance(stdio, list) and isinstance(doors, list)
        try:
            program_fd = _pick(fds, message["program"])
            lent = {GO_FD: go_read_fd, REPORT_FD: report_write_fd, PROGRAM_FD: program_fd}
            lent |= {number: _pick(fds, position) for number, position in zip(STDIO_FDS, stdio, strict=True)}
            if join_fd >= 0:
                lent[JOIN_FD] = join_fd
            if message["label"]:
                lent[PROC_FD] = room.procfs_fd
            table = Table(REPORT_FD)
            bridge(
                table,
                go_write_fd=-1 if room.lending.shares else self._go_fd,
                joins=join_fd >= 0,
                executes=room.bearer.runs_programs(),
                open_files=room.open_files,
                doors=tuple(_pick(fds, position) for position in doors),
            )
            if self.is_traced:
                self._steps = times.add(table)
            room.lending.lend(lent)
            with room.home.visit(join_fd, CLONE_NEWPID if join_fd >= 0 else 0), span("clone", self.recorder):
                self.pid, self.pidfd = room.bearer.bear(
                    table,
                    flags=_integer(message["flags"]) | (CLONE_FILES if room.lending.shares else 0),
                    cgroup_fd=_pick(fds, message["cgroup"]),
                    program_fd=program_fd,
                    owner=_integer(message["base"]),
                )
        except BaseException:
            room.lending.take_back()
            if self.recorder is not None:
                self.recorder.close()
            os.close(self._go_fd)
            os.close(self._report_fd)
            raise
        finally:
            os.close(go_read_fd)
            os.close(report_write_fd)

    @classmethod
    def taken_over(cls, room: Room, state: "dict[str, Any]", log_limits: tuple[int, int]) -> "Child":
        """Return a child that the program before us handed over, see `handed_over`."""
        child = cls.__new__(cls)
        child._room, child._stage, child.wait_status, child.unwritten = room, None, None, None
        child.lingers, child._mounts_fd = False, -1
        child.is_traced, child.recorder, child._steps, child._times = False, None, [], []
        child._go_fd, child._report_fd = -1, state["report_fd"]
        child.released, child.started = True, child._report_fd < 0
        child.child_id, child.kind, child.pid, child.pidfd = state["id"], state["kind"], state["pid"], state["pidfd"]
        child._is_adopted, child._is_held = state["is_adopted"], False
        child.output = None
        if state["output"] is not None:
            log = LogFile(room.containers_fd, child.child_id, max_bytes=log_limits[0], files=log_limits[1])
            child.output = Output.taken_over(room.poller, log, state["output"])
        return child

    @classmethod
    def adopted(cls, room: Room, message: dict[str, object], fds: list[int], log_limits: tuple[int, int]) -> "Child":
        """Return a first process whose parent, another monitor, has died. Nobody but the kernel knows how it will end.

        Descriptors: its pidfd, then the ends of its streams, ours from here on. Its input, if it was a pipe, has ended.
        """
        streams = message["streams"]
        assert isinstance(streams, list)
        is_tty = bool(message["tty"])
        sources = dict(zip(fds[1:], map(int, streams), strict=True))
        return cls.taken_over(
            room,
            {
                "id": message["id"],
                "kind": "init",
                "pid": message["pid"],
                "pidfd": fds[0],
                "is_adopted": True,
                "report_fd": -1,
                "output": {
                    "sources": sources,
                    "input_fd": os.dup(fds[1]) if is_tty and sources else -1,
                    "input_pending": "",
                    "input_ends": False,
                    "is_tty": is_tty,
                    "ended": not sources,
                    "dropped_bytes": 0,
                    "clients": [],
                },
            },
            log_limits,
        )

    def may_be_handed_over(self) -> bool:
        """Say whether it lives its own life: neither being born nor, in mounts of ours, on its way to its program.

        What joins has no mounts of ours, and a file system that was mounted inside may keep it for as long as it likes.
        """
        return self.released and (self._stage is None or not self.report_pending())

    def handed_over(self) -> dict[str, object]:
        """Return what the next program of the monitor needs to know of it."""
        return {
            "id": self.child_id,
            "kind": self.kind,
            "pid": self.pid,
            "pidfd": self.pidfd,
            "is_adopted": self._is_adopted,
            "report_fd": self._report_fd,
            "output": None if self.output is None else self.output.handed_over(),
        }

    def fds(self) -> list[int]:
        """Return the descriptors that it cannot go on without."""
        reports = [self._report_fd] if self.report_pending() else []
        return [self.pidfd, *reports, *([] if self.output is None else self.output.fds())]

    def prepare(self, message: dict[str, object], fds: list[int]) -> int:
        """Do what a `mount` message says, and write the id maps; return the root's descriptor, which stays the stage's."""
        base = _integer(message["base"])
        write_id_maps(self._room.procfs_fd, self.pid, base, ID_COUNT)
        step("id maps")
        userns_fd = os.open(f"{self.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._room.procfs_fd)
        try:
            self._stage = Stage(
                f"{self._room.stage_dir}/{self.child_id}",
                base=base,
                fds=fds,
                child_pid=self.pid,
                child_pidfd=self.pidfd,
                userns_fd=userns_fd,
                file_label=str(message["file_label"]),
                home=self._room.home,
                proc_maker=self._room.proc_maker,
            )
            steps = message["steps"]
            assert isinstance(steps, list)
            execute(steps, self._stage, on_step=step if self.recorder is not None else None)
        finally:
            os.close(userns_fd)
        return self._stage.root_fd

    def release(self, message: dict[str, object], fds: list[int], log_limits: tuple[int, int]) -> None:
        """Let the child go on; its output is ours to pump from here. Descriptors: sources, the input
        if any, a client's socket if one is attached from the first byte."""
        self.released = True
        try:  # first of all: what it writes waits in its pipes
            os.write(self._go_fd, b"1")
        except BrokenPipeError:  # killed meanwhile: its pidfd tells
            pass
        os.close(self._go_fd)
        self._go_fd = -1
        try:
            self._pump(message, fds, log_limits)
        except BaseException:
            self.kill()  # without a pump it would wait for ever, once its pipes are full
            raise

    def _pump(self, message: dict[str, object], fds: list[int], log_limits: tuple[int, int]) -> None:
        streams = message["streams"]
        if isinstance(streams, list) and streams:
            sources = {fds[position]: int(kind) for position, kind in enumerate(streams)}
            input_fd = fds[len(streams)] if message["input"] else -1
            log = LogFile(self._room.containers_fd, self.child_id, max_bytes=log_limits[0], files=log_limits[1])
            self.output = Output(self._room.poller, log, sources, input_fd, is_tty=bool(message["tty"]))
            if message["attach"]:
                self.output.attach(_socket.socket(fileno=fds[-1]))

    def watch(self, on_report: "Callable[[Child], None]", on_exit: "Callable[[Child], None]") -> None:
        """Call back when the child has executed its program (no report) or failed to, and when it has ended."""
        if self.report_pending():
            self._room.poller.add(self._report_fd, select.EPOLLIN, lambda events: on_report(self))
        self._room.poller.add(self.pidfd, select.EPOLLIN, lambda events: on_exit(self))

    def take_report(self) -> bytes | None:
        """Return the failure report, empty after a successful execve; None if it told times (init/times.py) and goes on.

        `leave_stage` is to follow unless it goes on: nobody needs that any more.
        """
        stamps, report = times.split(os.read(self._report_fd, _REPORT_BYTES))
        self._times += stamps
        if stamps and not report:
            return None
        self._room.poller.remove(self._report_fd)
        os.close(self._report_fd)
        self._report_fd = -1
        self.started = self.released and not report
        return report

    def told(self) -> dict[str, object]:
        """Return what was recorded of the way to its program, for a message: `trace`, and `times` of the program's rows,
        whose names are its asker's to know. Nothing, if it is not traced."""
        if self.recorder is None:
            return {}
        if self._times:
            times.record(self.recorder, self._steps, self._times[0])
            if len(self._times) > 1:
                self.recorder.add("sealed program", self._times[0][-1], self._times[1][0], process="init")
            self.recorder.add("execve", self._times[-1][-1], time.monotonic_ns(), process="init")
        return {**told(self.recorder), "times": self._times[1] if len(self._times) > 1 else []}

    def recorder_of_end(self) -> Recorder | None:
        """Return who records how it is reaped."""
        if self.is_traced and self.recorder is None:
            self.recorder = Recorder("monitor")
        return self.recorder

    def close_recorder(self) -> None:
        if self.recorder is not None:
            self.recorder.close()
            self.recorder = None

    def report_pending(self) -> bool:
        """Tell whether the report has not been taken yet."""
        return self._report_fd >= 0

    def has_stage(self) -> bool:
        """Tell whether its mounts are still there in our own namespace."""
        return self._stage is not None

    def linger(self) -> None:
        """Keep the mounts of a program that was just executed, until `leave_stage`, if it is one that may linger.

        The kernel tells of the end of a container when it has taken down all its mounts, 0.3 ms, unless somebody keeps them.
        """
        if self.lingers and self._mounts_fd < 0:
            try:
                self._mounts_fd = os.open(f"{self.pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._room.procfs_fd)
            except OSError:  # it has ended already
                pass

    def leave_stage(self) -> None:
        """Take the mounts in our own namespace down, and keep those of the child no longer; what fails is told in our log."""
        stage, self._stage = self._stage, None
        mounts_fd, self._mounts_fd = self._mounts_fd, -1
        if mounts_fd >= 0:
            os.close(mounts_fd)
        if stage is not None:
            try:
                stage.close()
            except Exception as error:  # no descriptor, no memory: not a reason to tell nobody of an end
                report(error)

    def kill(self) -> None:
        try:
            pidfd_send_signal(self.pidfd, _SIGKILL)
        except ProcessLookupError:
            pass

    def _wait_for_tracer(self) -> None:
        """It has ended, and a process inside traces it: only that one can wait for it, and its pidfd is ready for as long.

        When the tracer lets go of it we are woken once more. ptrace(2)
        """
        if not self._is_held:
            self._room.poller.change(self.pidfd, select.EPOLLIN | select.EPOLLET)
            self._is_held = True

    def end(self) -> bool:
        """Reap the ended child, complete its log, write its exit record; False if it has not ended yet.

        `wait_status` is then known, except for one that was adopted: it is not ours to reap. If it `lingers`, `leave_stage`
        is next.
        """
        if not self._is_adopted:
            self.wait_status = reap(self.pidfd)
            if self.wait_status is None:
                self._wait_for_tracer()
                return False
        reach("monitor:reaped")
        self._room.poller.remove(self.pidfd)
        os.close(self.pidfd)
        if self._report_fd >= 0:
            self._room.poller.discard(self._report_fd)
            os.close(self._report_fd)
        if self._go_fd >= 0:
            os.close(self._go_fd)
        if not self.lingers:
            self.leave_stage()
        if self.output is not None:
            self.output.drain()
        if self.kind == "init" and self.started and not self._is_adopted:
            record: dict[str, object] = {
                "wait_status": self.wait_status,
                "finished": time.time(),
                "uptime": time.clock_gettime(time.CLOCK_BOOTTIME),
                "dropped_output_bytes": self.output.dropped_bytes if self.output else 0,
            }
            try:
                write_atomically(
                    f"{self.child_id}/exit.json",
                    jsontext.dumps(record).encode(),
                    dir_fd=self._room.containers_fd,
                    sync=False,  # all containers would wait for the disk; a loss of power leaves nothing of the run anyway
                )
            except OSError:
                self.unwritten = record  # the directory is being deleted, or the disk is full: the supervisor is told
        return True

    def attach(self, sock: _socket.socket) -> None:
        """Attach a client's socket to the output; without any, tell it the end at once."""
        if self.output is not None:
            self.output.attach(sock)
        else:
            say_end(sock)


def _pick(fds: list[int], index: object) -> int:
    position = _integer(index)
    return fds[position] if position >= 0 else -1


def _integer(value: object) -> int:
    if not isinstance(value, int):
        raise ValueError(f"not a number: {value!r}")
    return value
