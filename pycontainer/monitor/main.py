"""The monitor: parent of every container of one world. Clones, reaps, writes exit records, pumps output; never decides.

It lives in a room of its own, a private mount namespace whose root is a small tmpfs:

    /            tmpfs, nothing of the host is mounted or kept busy here
    ├── proc     the host's processes
    ├── cover    an empty file and an empty directory, read-only: what masks are made of
    └── stage    one directory per start in progress, or just done; also the working directory, which every child inherits

So all modules are imported before the room is entered, and files of the host are reached only by descriptors opened
before (the containers' directory) or sent along (trees, streams). It ends when it has neither children nor a supervisor:
soon, as the next supervisor may be on its way, or at once when its supervisor sends it away.

It never has to end for the sake of a newer version: it executes that in its own place (handover.py).

There is one on every host for good, so it stays small: `_socket`, `_signal` and `jsontext` are what `socket`, `signal` and
`json` are made of, without two megabytes of enumerations and parsers.

Run as: python -SI -c BOOT RUN_DIR CONTAINERS_DIR STAGE_DIR LOG_MAX_BYTES LOG_FILES OPEN_FILES READY_FD [STATE_FD]
"""

import _signal  # type: ignore[import-not-found]  # `signal`
import _socket
import os
import resource
import select
import sys
import time

from pycontainer import failpoints, trace
from pycontainer.failpoints import reach
from pycontainer.init.birth import Bearer
from pycontainer.init.child import FIRST_FREE_FD
from pycontainer.linux import mounts
from pycontainer.linux.descriptors import make_room, move_above
from pycontainer.linux.libc import MACHINE
from pycontainer.linux.namespaces import CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWPID, Home, unshare
from pycontainer.linux.process import PR_SET_DUMPABLE, prctl
from pycontainer.monitor import channel, handover
from pycontainer.monitor.child import Child, Room
from pycontainer.monitor.lending import Lending
from pycontainer.monitor.output import say_end
from pycontainer.monitor.poller import Poller, report

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_IDLE_SECONDS = 2.0
_DEAF_SECONDS = 1.0
# After which the mounts of a start that nobody needs any more are taken down, 0.4 ms. By then what only runs for a moment
# has ended, and who waits for that was told.
_STAGE_SECONDS = 0.01

# What children inherit, whatever shell the first command was typed in. The cgroups count processes and memory.
_INFINITE = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
_FREE = (
    resource.RLIMIT_AS,
    resource.RLIMIT_CPU,
    resource.RLIMIT_DATA,
    resource.RLIMIT_FSIZE,
    resource.RLIMIT_NPROC,
    resource.RLIMIT_RSS,
)
# As soft limits these bound a container as a whole, for they become its user namespace's (kernel/ucount.c); the hard ones
# stay, for --ulimit.
_SIGPENDING, _MSGQUEUE = 11, 12
_BOUNDED = (
    (resource.RLIMIT_MEMLOCK, 8 << 20),
    (_SIGPENDING, 32768),
    (_MSGQUEUE, 819200),
    (resource.RLIMIT_STACK, 8 << 20),
)
_MOST_OPEN_FILES = 1 << 20


class Monitor:
    """The loop: one listening socket, at most one supervisor, any number of children."""

    def __init__(self, listener: _socket.socket, room: Room, log_limits: tuple[int, int]) -> None:
        self._listener, self._room, self._log_limits = listener, room, log_limits
        self._supervisor: _socket.socket | None = None
        self._children: dict[str, Child] = {}
        self._stages: list[tuple[float, Child]] = []  # when they are to be left, the next one first
        self._is_sent_away = False
        self._deaf_until: float | None = None
        self._listen()

    @classmethod
    def taken_over(
        cls, listener: _socket.socket, room: Room, log_limits: tuple[int, int], state: "dict[str, Any]"
    ) -> "Monitor":
        """Go on as the program before us would have, and tell the supervisor that it is us now."""
        monitor = cls(listener, room, log_limits)
        for each in state["children"]:
            child = monitor._children[each["id"]] = Child.taken_over(room, each, log_limits)
            child.watch(monitor._reported, monitor._ended)
        handover.closed_on_exec(monitor._fds())
        monitor._hear(_socket.socket(fileno=state["supervisor"]))
        monitor._send({"op": "reloaded", "text": "", "mounts": True})
        return monitor

    def run(self) -> None:
        """Serve until there is nobody left to serve."""
        while not self._is_sent_away:
            due = [when for when, _ in self._stages[:1]] + ([] if self._deaf_until is None else [self._deaf_until])
            if due:
                self._room.poller.wait(max(0.0, min(due) - time.monotonic()))
                self._leave_stages()
                self._listen_again()
                continue
            idle = self._supervisor is None and not self._children
            self._room.poller.wait(_IDLE_SECONDS if idle else -1)
            if idle and self._supervisor is None and not self._children and self._deaf_until is None:
                return

    def _accept(self) -> None:
        try:
            sock = channel.accept(self._listener)
        except OSError as error:  # no descriptor is left: whoever connects waits until one is
            report(error)
            self._room.poller.remove(self._listener.fileno())
            self._deaf_until = time.monotonic() + _DEAF_SECONDS
            return
        if self._supervisor is not None:  # the newest one is heard
            self._lose_supervisor()
        channel.prepare(sock)
        self._hear(sock)

    def _listen(self) -> None:
        self._room.poller.add(self._listener.fileno(), select.EPOLLIN, lambda events: self._accept())

    def _listen_again(self) -> None:
        """Take connections again, if it is time."""
        if self._deaf_until is not None and time.monotonic() >= self._deaf_until:
            self._deaf_until = None
            self._listen()

    def _hear(self, supervisor: _socket.socket) -> None:
        self._supervisor = supervisor
        self._room.poller.add(supervisor.fileno(), select.EPOLLIN, lambda events: self._serve())

    def _lose_supervisor(self) -> None:
        if self._supervisor is None:
            return
        self._room.poller.remove(self._supervisor.fileno())
        self._supervisor.close()
        self._supervisor = None
        for child in self._children.values():
            if not child.released:
                child.kill()

    def _send(self, message: dict[str, object], fds: list[int] | None = None) -> None:
        if self._supervisor is None:
            return  # exit records are on disk, and the next supervisor asks for the list
        try:
            channel.send(self._supervisor, message, fds)
        except OSError:
            self._lose_supervisor()

    def _serve(self) -> None:
        assert self._supervisor is not None
        try:
            received = channel.receive(self._supervisor)
        except OSError:
            received = None
        if received is None:
            self._lose_supervisor()
            return
        message, fds = received
        kept: set[int] = set()
        try:
            operation = message["op"]
            if operation == "birth":
                self._birth(message, fds)
            elif operation == "mount":
                self._mount(message, fds)
            elif operation == "release":
                kept = self._release(message, fds)
            elif operation == "abort":
                child = self._children.get(str(message["id"]))
                if child is not None and not child.released:
                    child.kill()
            elif operation == "attach":
                kept = self._attach(message, fds)
            elif operation == "adopt":
                kept = self._adopt(message, fds)
            elif operation == "reload":
                self._reload(message, fds)
            elif operation == "list":
                self._list()
            elif operation == "leave":
                self._leave()
        finally:
            for fd in fds:
                if fd not in kept:
                    os.close(fd)

    def _birth(self, message: dict[str, object], fds: list[int]) -> None:
        """Clone a child, which gets `fds`, and tell of it: what a first process waits for is made by `_mount`."""
        child_id = str(message["id"])
        try:
            child = Child(self._room, message, fds)
        except (OSError, LookupError, ValueError) as error:
            self._send_failed(child_id, "clone", error)
            return
        lent = fds.copy()
        fds.clear()  # whatever fails from here on, they are closed with the ten, and once
        self._room.lending.borrowed(child.pidfd, lent)
        if (left := self._children.get(child_id)) is not None and not left.released:
            left.kill()  # its asker has become another program, and knows nothing of it
        self._children[child_id] = child
        child.watch(self._reported, self._ended)
        with trace.recording(child.recorder):
            reach("monitor:born")
            self._send({"op": "born", "id": child_id, "pid": child.pid, **trace.told(child.recorder)}, [child.pidfd])
            if child.kind != "init":
                self._send({"op": "ready", "id": child_id, **trace.told(child.recorder)})
                self._room.lending.take_back()
            elif "steps" in message:
                self._mount(message, lent)

    def _mount(self, message: dict[str, object], fds: list[int]) -> None:
        """Make the mounts that a first process waits for; nothing happens if there is none that waits."""
        child = self._children.get(str(message["id"]))
        if child is None or child.kind != "init" or child.released or child.has_stage():
            return
        try:
            with trace.recording(child.recorder):
                self._prepare(child, message, fds)
        finally:
            self._room.lending.take_back()

    def _prepare(self, child: Child, message: dict[str, object], fds: list[int]) -> None:
        try:
            root_fd = child.prepare(message, fds)
        except (OSError, LookupError, ValueError) as error:
            child.kill()
            notes = getattr(error, "__notes__", [])
            self._send_failed(child.child_id, notes[0] if notes else "prepare", error)
            return
        reach("monitor:prepared")
        self._send({"op": "ready", "id": child.child_id, **trace.told(child.recorder)}, [root_fd])
        self._leave_stages(all_of_them=True)  # nobody waits for us now, and the child copies what we have mounted

    def _send_failed(self, child_id: str, step: str, error: Exception) -> None:
        number = error.errno if isinstance(error, OSError) and error.errno else 0
        path = getattr(error, "filename", None)
        self._send(
            {
                "op": "failed",
                "id": child_id,
                "step": step,
                "errno": number,
                "text": str(getattr(error, "strerror", None) or error),
                "path": str(path) if path else "",
                **trace.told(trace.current()),
            }
        )

    def _release(self, message: dict[str, object], fds: list[int]) -> set[int]:
        child = self._children.get(str(message["id"]))
        if child is None or child.released:
            self._send(
                {"op": "failed", "id": message["id"], "step": "release", "errno": 3, "text": "ended", "path": ""}
            )
            return set()
        with trace.recording(child.recorder):
            child.release(message, fds, self._log_limits)
            reach("monitor:released")
        return set(fds) if child.output is not None else set()

    def _adopt(self, message: dict[str, object], fds: list[int]) -> set[int]:
        child_id = str(message["id"])
        if child_id in self._children:
            return set()
        child = self._children[child_id] = Child.adopted(self._room, message, fds, self._log_limits)
        child.watch(self._reported, self._ended)
        return set(fds)

    def _list(self) -> None:
        """Tell of all children, and give the supervisor what another monitor would need if this one died."""
        for child in self._children.values():
            if child.output is not None and child.output.sources:
                fds, kinds = zip(*child.output.sources, strict=True)
                self._send({"op": "streams", "id": child.child_id, "streams": kinds}, [*fds])
        children = [
            {"id": child.child_id, "kind": child.kind, "pid": child.pid, "started": child.started}
            for child in self._children.values()
        ]
        self._send({"op": "children", "children": children, "mounts": True})

    def _reload(self, message: dict[str, object], fds: list[int]) -> None:
        """Become another program, which answers for us; return with an answer if that cannot be."""
        assert self._supervisor is not None
        argv = message["argv"]
        assert isinstance(argv, list)
        if not all(child.may_be_handed_over() for child in self._children.values()):
            self._send({"op": "reloaded", "text": "a container is just being started"})
            return
        self._leave_stages(all_of_them=True)
        state = {
            "listener": self._listener.fileno(),
            "supervisor": self._supervisor.fileno(),
            "containers_fd": self._room.containers_fd,
            "children": [child.handed_over() for child in self._children.values()],
        }
        try:
            handover.leave(argv, fds[0], state, [*self._fds(), self._supervisor.fileno()])
        except OSError as error:
            self._send({"op": "reloaded", "text": f"cannot execute '{argv[0]}': {error.strerror}"})

    def _leave(self) -> None:
        """End, unless there is a child after all; the supervisor hears of it when nobody can connect any more."""
        if not self._children:
            self._is_sent_away = True
            self._deaf_until = None
            self._room.poller.discard(self._listener.fileno())
            self._listener.close()
        self._lose_supervisor()

    def _fds(self) -> list[int]:
        """Return the descriptors that go on with the next program, but for the supervisor's socket."""
        ours = [self._listener.fileno(), self._room.containers_fd]
        return [*ours, *(fd for child in self._children.values() for fd in child.fds())]

    def _attach(self, message: dict[str, object], fds: list[int]) -> set[int]:
        if not fds:
            return set()
        sock, child = _socket.socket(fileno=fds[0]), self._children.get(str(message["id"]))
        if child is not None:
            child.attach(sock)
        else:
            say_end(sock)
        return {fds[0]}

    def _reported(self, child: Child) -> None:
        report = child.take_report()
        if report is None:
            return
        if report:
            self._send({"op": "failed", "id": child.child_id, "report": report.hex(), **child.told()})
            child.leave_stage()
        else:
            child.linger()
            if child.released:
                self._send({"op": "started", "id": child.child_id, **child.told()})
            if child.has_stage():
                self._stages.append((time.monotonic() + _STAGE_SECONDS, child))
        child.close_recorder()

    def _stage_seconds(self) -> float:
        """Return the time until the next stage is to be left."""
        return max(0.0, self._stages[0][0] - time.monotonic())

    def _leave_stages(self, *, all_of_them: bool = False) -> None:
        """Leave those whose time has come."""
        while self._stages and (all_of_them or not self._stage_seconds()):
            self._stages.pop(0)[1].leave_stage()

    def _ended(self, child: Child) -> None:
        self._room.lending.take_back_from(child.pidfd)  # or we would wait for what we could write ourselves: its report
        while child.report_pending():
            self._reported(child)  # it ended at once: tell that it started, or why not, before its end
        with trace.recording(child.recorder_of_end()):
            self._reap(child)
        child.close_recorder()

    def _reap(self, child: Child) -> None:
        if not child.end():
            return
        if self._children.get(child.child_id) is child:  # else who asked for this one is gone, and has another one
            del self._children[child.child_id]
            self._tell_end(child)
        child.leave_stage()

    def _tell_end(self, child: Child) -> None:
        reach("monitor:recorded")
        self._send(
            {
                "op": "exit",
                "id": child.child_id,
                "kind": child.kind,
                "pid": child.pid,
                "started": child.started,
                "wait_status": child.wait_status,
                "dropped_output_bytes": child.output.dropped_bytes if child.output is not None else 0,
                "unwritten": child.unwritten,
                **trace.told(child.recorder),
            }
        )


def enter_room(stage_dir: str) -> None:
    """Leave the host's mounts for the room drawn above."""
    unshare(CLONE_NEWNS)
    mounts.mount("none", "/", flags=mounts.MS_REC | mounts.MS_PRIVATE)
    mounts.mount("pycontainer", stage_dir, "tmpfs", mounts.MS_NOSUID, "mode=711,size=16m")
    os.mkdir(f"{stage_dir}/proc", 0o555)
    os.mkdir(f"{stage_dir}/stage", 0o711)
    os.mkdir(f"{stage_dir}/cover", 0o755)
    make_cover(f"{stage_dir}/cover")
    mounts.mount("proc", f"{stage_dir}/proc", "proc", mounts.MS_NOSUID | mounts.MS_NODEV | mounts.MS_NOEXEC)
    os.chdir(stage_dir)
    mounts.pivot_root(".", ".")
    mounts.umount2(".", mounts.MNT_DETACH)
    os.chdir("/stage")


def make_cover(place: str) -> None:
    """Make what masks are made of: an empty file and an empty directory that nobody can write to."""
    safe = mounts.MS_NOSUID | mounts.MS_NODEV | mounts.MS_NOEXEC
    mounts.mount("mask", place, "tmpfs", safe, "mode=555,size=4k,nr_inodes=3")
    os.close(os.open(f"{place}/file", os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o444))
    os.mkdir(f"{place}/directory", 0o555)
    mounts.mount("mask", place, "tmpfs", safe | mounts.MS_REMOUNT | mounts.MS_BIND | mounts.MS_RDONLY)


def set_inherited_limits() -> None:
    """Set what every child starts with; a start pays nothing for it."""
    for number in _FREE:
        try:
            resource.setrlimit(number, _INFINITE)
        except (OSError, ValueError):  # no CAP_SYS_RESOURCE: as far as our own limit goes
            _, most = resource.getrlimit(number)
            resource.setrlimit(number, (most, most))
    for number, bound in _BOUNDED:
        soft, hard = resource.getrlimit(number)
        if soft == resource.RLIM_INFINITY or soft > bound:
            resource.setrlimit(number, (bound, hard))


def main(arguments: list[str]) -> None:
    """Enter the room, say that we are ready, serve."""
    run_dir, containers_dir, stage_dir, max_bytes, files, open_files, ready_fd, *state_fds = arguments
    failpoints.arm(os.environ)
    os.umask(0)
    prctl(PR_SET_DUMPABLE, 0)
    for ignored in (_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP):  # it ends by itself, when nobody needs it
        _signal.signal(ignored, _signal.SIG_IGN)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # five descriptors for each container
    make_room()
    set_inherited_limits()
    ready = int(ready_fd)
    if ready >= 0:
        ready = move_above(ready, FIRST_FREE_FD)
    bearer = Bearer(MACHINE)
    lending = Lending(shares=bearer.runs_programs())
    state = handover.arrive(int(state_fds[0])) if state_fds else None
    if state is None:
        listener = listen(f"{run_dir}/monitor.sock")
        containers_fd = os.open(containers_dir, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    else:
        listener, containers_fd = _socket.socket(fileno=state["listener"]), state["containers_fd"]
    enter_room(stage_dir)
    room = Room(
        bearer=bearer,
        open_files=(min(int(open_files), _MOST_OPEN_FILES), min(most, _MOST_OPEN_FILES)),
        poller=Poller(),
        lending=lending,
        containers_fd=containers_fd,
        procfs_fd=os.open("/proc", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC),
        home=Home(CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWPID),
        stage_dir="/stage",
    )
    log_limits = (int(max_bytes), int(files))
    if state is not None:
        Monitor.taken_over(listener, room, log_limits, state).run()
        return
    monitor = Monitor(listener, room, log_limits)
    try:
        os.write(ready, b"1")
    except BrokenPipeError:  # who started us was killed: the next supervisor finds us
        pass
    os.close(ready)
    monitor.run()


def listen(path: str) -> _socket.socket:
    """Return the socket on which the supervisor connects."""
    listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    listener.bind(path)
    os.chmod(path, 0o600)
    listener.listen(4)
    return listener


if __name__ == "__main__":
    main(sys.argv[1:])
