"""The supervisor's end of the monitor's socket: births as awaitables, exits as callbacks; starts a monitor on demand."""

import _socket
import asyncio
import contextlib
import errno
import os
import signal
import socket
import sys
from collections.abc import Callable, Container
from typing import cast

from pycontainer import failpoints
from pycontainer.cgroup.scope import Scope
from pycontainer.errors import Busy, InvalidInput, PycontainerError, StartFailed
from pycontainer.init import times
from pycontainer.init.table import Table
from pycontainer.monitor import channel
from pycontainer.monitor.logfile import DEFAULT_FILES, DEFAULT_MAX_BYTES
from pycontainer.paths import HostPaths
from pycontainer.trace import current

_RELOAD_SECONDS = 30.0
_SPAWN_SECONDS = 30.0  # for a monitor to listen; it takes a fifth of a second
_LEAVE_SECONDS = 1.0
ExitHandler = Callable[[dict[str, object]], None]
_PACKAGE_PARENT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# -SI: no site-packages, no environment, no current directory; only our own package is found.
_BOOT = "import sys; sys.path.insert(0, {parent!r}); from pycontainer.monitor.main import main; main(sys.argv[1:])"


class MonitorBirth:
    """One child between clone and release; implements runtime.launcher.Birth."""

    def __init__(self, link: "MonitorLink", child_id: str, action: str) -> None:
        """`action` begins the message of a failure: what could not be done."""
        self._link, self.child_id, self._action = link, child_id, action
        loop = asyncio.get_running_loop()
        self.born: asyncio.Future[tuple[int, int]] = loop.create_future()
        self._ready: asyncio.Future[int] = loop.create_future()
        self._done: asyncio.Future[bytes] = loop.create_future()
        self.ended = asyncio.Event()
        self.released = self._is_root_taken = False
        self._recorder, self._steps = current(), list[str]()
        self.pid, self.pidfd = 0, -1

    @property
    def needs_us(self) -> bool:
        """Tell whether it neither lives on its own yet nor has failed."""
        return not self.released and not self._done.done()

    async def ready(self) -> int:
        root_fd = await self._ready
        self._is_root_taken = True
        return root_fd

    @property
    def is_watched(self) -> bool:
        """Tell whether this is traced, and the monitor one that knows of that: it has told of a birth."""
        return self._recorder is not None and self._link.tells

    def watch(self, table: Table) -> None:
        """Have the child's table, not yet built, tell its times."""
        self._steps = times.add(table)

    async def release(
        self,
        *,
        streams: list[tuple[int, int]],
        input_fd: int,
        tty: bool,
        attached: socket.socket | None,
        seconds: float | None = None,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> bytes:
        fds = [fd for fd, _ in streams] + ([input_fd] if input_fd >= 0 else [])
        if attached is not None:
            fds.append(attached.fileno())
        self.released = True
        self._link.send(
            {
                "op": "release",
                "id": self.child_id,
                "streams": [kind for _, kind in streams],
                "input": input_fd >= 0,
                "tty": tty,
                "attach": attached is not None,
            },
            fds,
        )
        meanwhile()
        return await asyncio.wait_for(self._done, seconds)

    async def abort(self, *, seconds: float | None = None) -> None:
        self._link.call_off(self)
        try:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.ended.wait(), seconds)
            self._link.forget(self.child_id)
        finally:
            self.leave()

    def leave(self) -> None:
        """Nobody asks for it any more: close what came, and have `hear` close what may still come."""
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1
        if self._ready.cancel() or self._is_root_taken or self._ready.cancelled() or self._ready.exception():
            return
        if self._ready.result() >= 0:
            os.close(self._ready.result())
        self._is_root_taken = True

    def hear(self, message: dict[str, object], fds: list[int]) -> None:
        """Take a message about this child."""
        operation = message["op"]
        if self._recorder is not None and "trace" in message:
            self._link.tells = True
            if message.get("kind") != "init":  # how a run ends is told apart, see tracing.py
                self._recorder.add_told(message["trace"])
            times.record(self._recorder, self._steps, cast("list[int]", message.get("times", [])))
        if operation in ("born", "ready"):
            if operation == "born":
                self.pid = int(str(message["pid"]))
            future: asyncio.Future[object] = self.born if operation == "born" else self._ready  # type: ignore[assignment]
            if future.done():  # who asked has left, or was told of a failure
                for fd in fds:
                    os.close(fd)
            elif operation == "born":
                self.pidfd = fds[0]
                self.born.set_result((self.pid, self.pidfd))
            else:
                self._ready.set_result(fds[0] if fds else -1)
        elif operation == "started":
            if not self._done.done():
                self._done.set_result(b"")
        elif operation == "failed":
            if not self.pid:  # there is no child
                self.ended.set()
            self._fail(message)
        elif operation == "exit":
            self._fail(
                {"op": "failed", "step": "init", "errno": 0, "text": "the child ended before its program was executed"}
            )
            self.ended.set()

    def _fail(self, message: dict[str, object]) -> None:
        if "report" in message and self.released and not self._done.done():
            self._done.set_result(bytes.fromhex(str(message["report"])))
            return
        step, path = str(message.get("step", "bridge")), str(message.get("path") or "")
        where = f" on '{path}'" if path else ""
        error = StartFailed(
            f"{self._action}: {step}{where}: {message.get('text', 'the child failed')}",
            step=step,
            errno=int(str(message.get("errno") or 0)),
        )
        for future in (self.born, self._ready, self._done):
            if not future.done():
                future.set_exception(error)
                future.exception()  # looked at: only some of the three are awaited


class MonitorLink:
    """The connection; implements runtime.launcher.Launcher."""

    def __init__(
        self,
        paths: HostPaths,
        on_exit: ExitHandler,
        on_lost: Callable[[], None],
        *,
        open_files_soft: int,
        scope: Scope | None,
    ) -> None:
        """`scope` is where the monitor lives, if systemd keeps one for us."""
        self._paths, self._on_exit, self._on_lost = paths, on_exit, on_lost
        self._open_files_soft, self._scope = open_files_soft, scope
        self._sock: _socket.socket | None = None
        self.tells = False  # the monitor that we are connected to tells of births that are traced
        self._mounts = False  # it knows `mount`: another version may not
        self._births: dict[str, MonitorBirth] = {}
        self._children: asyncio.Future[list[dict[str, object]]] | None = None
        self._reloaded: asyncio.Future[str] | None = None
        self._streams: dict[str, list[tuple[int, int]]] = {}  # told with the children, until somebody takes them
        self._connecting = asyncio.Lock()

    async def connect(self, *, start: bool) -> bool:
        """Connect to the monitor, starting one if allowed; False when there is none."""
        async with self._connecting:  # of several starts at once, one spawns the monitor for all
            if self._sock is not None:
                return True
            is_ours = False  # of this very version
            try:
                sock = channel.connect(self._paths.monitor_socket)
            except (FileNotFoundError, ConnectionRefusedError):
                if not start:
                    return False
                await self._spawn()
                sock, is_ours = channel.connect(self._paths.monitor_socket), True
            self.take_over(sock)
            self._mounts = is_ours
            return True

    def take_over(self, sock: _socket.socket) -> None:
        """Go on with a connection, of our own or of the program before us, and with what that has not heard."""
        sock.setblocking(False)
        self._sock, self.tells, self._mounts = sock, False, False
        asyncio.get_running_loop().add_reader(sock.fileno(), self._hear)

    def fileno(self) -> int:
        """Return the connection's descriptor, -1 without one."""
        return -1 if self._sock is None else self._sock.fileno()

    def is_bearing(self) -> bool:
        """Tell whether a child waits to be released: another supervisor would know nothing of it."""
        return any(birth.needs_us for birth in self._births.values())

    async def reload(self) -> str:
        """Have the monitor, if there is one, become the code that is installed now; return why it cannot just now."""
        if self._sock is None:
            return ""
        if self._reloaded is not None:
            raise Busy("the monitor is just being replaced by new code")
        self._reloaded = asyncio.get_running_loop().create_future()
        mounts_fd = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        try:
            self.send({"op": "reload", "argv": self._command(ready_fd=-1)}, [mounts_fd])
        finally:
            os.close(mounts_fd)
        try:
            return await asyncio.wait_for(self._reloaded, _RELOAD_SECONDS)
        except TimeoutError:
            raise Busy(
                f"the monitor does not answer within {_RELOAD_SECONDS:g} seconds", hint="nothing was changed, try again"
            ) from None
        finally:
            self._reloaded = None

    async def children(self) -> list[dict[str, object]]:
        """Ask which children live."""
        self._children = asyncio.get_running_loop().create_future()
        try:
            self.send({"op": "list"})
            return await self._children
        finally:
            self._children = None

    def take_streams(self, container_id: str) -> list[tuple[int, int]]:
        """Return the ends of a container's streams, (descriptor, kind), that came with `children`; they are the caller's."""
        return self._streams.pop(container_id, [])

    def drop_streams(self, *, keep: Container[str]) -> None:
        """Close the ends of streams that nobody took, but for those of the containers to `keep`."""
        for container_id in [known for known in self._streams if known not in keep]:
            for fd, _ in self._streams.pop(container_id):
                os.close(fd)

    def adopt(self, container_id: str, pid: int, pidfd: int, streams: list[tuple[int, int]], *, tty: bool) -> None:
        """Have the monitor look after a container whose own monitor has died."""
        kinds = [kind for _, kind in streams]
        message: dict[str, object] = {"op": "adopt", "id": container_id, "pid": pid, "streams": kinds, "tty": tty}
        self.send(message, [pidfd, *(fd for fd, _ in streams)])

    async def birth(
        self,
        message: dict[str, object],
        fds: list[int],
        *,
        action: str,
        mounts: Callable[[], tuple[dict[str, object], list[int]]] | None = None,
        meanwhile: Callable[[MonitorBirth], None] = lambda birth: None,
    ) -> MonitorBirth:
        await self.connect(start=True)
        child_id = str(message["id"])
        if mounts is not None and not self._mounts:  # one message to a monitor of before
            message, fds = _joined(message, fds, *mounts())
            mounts = None
        birth = MonitorBirth(self, child_id, action)
        if current() is not None:
            message = {**message, "trace": True}
        self.send(message, fds)
        self._births[child_id] = birth
        try:
            if mounts is not None:
                told, trees = mounts()
                self.send({"op": "mount", "id": child_id, **told}, trees)
            meanwhile(birth)
            await birth.born
        except Exception:
            await birth.abort()
            raise
        except BaseException:  # the client left: the child must not wait for ever
            birth.born.cancel()
            self.call_off(birth)
            birth.leave()
            raise
        return birth

    def attach(self, container_id: str, sock: socket.socket) -> None:
        """Hand a client's socket to the container's output pump."""
        self.send({"op": "attach", "id": container_id}, [sock.fileno()])

    def send(self, message: dict[str, object], fds: list[int] | None = None) -> None:
        if self._sock is None:
            raise PycontainerError("the monitor is not running", hint="try again; the next start brings a new one")
        # Local and at most a few hundred kilobytes: waiting here is shorter than a task switch.
        self._sock.setblocking(True)
        try:
            channel.send(self._sock, message, fds)
        except OSError as error:
            if error.errno != errno.EMSGSIZE:
                raise
            raise InvalidInput(
                f"too much for one container: {error.strerror}", hint="use fewer mounts, or a shorter environment"
            ) from error
        finally:
            self._sock.setblocking(False)

    def call_off(self, birth: MonitorBirth) -> None:
        """Kill a child whatever its stage; of one that is about to be born the monitor does it."""
        if birth.pidfd >= 0:
            try:
                signal.pidfd_send_signal(birth.pidfd, signal.SIGKILL)
            except ProcessLookupError:
                pass
        elif not birth.ended.is_set():
            with contextlib.suppress(PycontainerError, OSError):
                self.send({"op": "abort", "id": birth.child_id})

    def forget(self, child_id: str) -> None:
        self._births.pop(child_id, None)

    def close(self) -> None:
        """Hang up; the monitor kills what was not released, and nobody here waits for it any more."""
        if self._sock is not None:
            asyncio.get_running_loop().remove_reader(self._sock.fileno())
            self._sock.close()
            self._sock = None
        if self._reloaded is not None and not self._reloaded.done():
            self._reloaded.set_exception(
                PycontainerError("the monitor died of its new code; containers go on without one")
            )
        if self._children is not None and not self._children.done():
            self._children.set_exception(PycontainerError("the monitor died while it was asked for its children"))
        for birth in list(self._births.values()):
            birth.hear({"op": "exit"}, [])
        self._births.clear()

    def dismiss(self) -> None:
        """Hang up for good, as nothing runs: the monitor ends, and has stopped listening by the time we return."""
        if self._sock is not None:
            self._sock.settimeout(_LEAVE_SECONDS)
            with contextlib.suppress(OSError):  # it has ended already, or does not answer
                channel.send(self._sock, {"op": "leave"})
                while self._sock.recv(1):
                    pass
        self.close()

    def _hear(self) -> None:
        assert self._sock is not None
        try:
            received = channel.receive(self._sock)
        except BlockingIOError:
            return
        except OSError:
            received = None
        if received is None:
            self.close()
            self._on_lost()
            return
        message, fds = received
        if message["op"] == "reloaded":
            if not message["text"]:  # it is another program now
                self._mounts = bool(message.get("mounts"))
            if self._reloaded is not None and not self._reloaded.done():
                self._reloaded.set_result(str(message["text"]))
            return
        if message["op"] == "streams":
            kinds = message["streams"]
            assert isinstance(kinds, list)
            for fd, _ in self.take_streams(str(message["id"])):
                os.close(fd)
            self._streams[str(message["id"])] = list(zip(fds, kinds, strict=True))
            return
        if message["op"] == "children":
            if self._children is not None and not self._children.done():
                children = message["children"]
                assert isinstance(children, list)
                self._mounts = bool(message.get("mounts"))
                self._children.set_result(children)
            return
        child_id = str(message["id"])
        found = self._births.get(child_id)
        if found is not None and message["op"] == "exit" and message.get("pid", found.pid) != found.pid:
            return  # of one that was called off, and had the same id
        if found is not None:
            found.hear(message, fds)
            if found.ended.is_set():
                self.forget(child_id)
        else:  # who asked for that child has gone
            for fd in fds:
                os.close(fd)
        # One that we adopted may never have executed its program.
        if message["op"] == "exit" and (message["started"] or found is None):
            self._on_exit(message)

    def _command(self, *, ready_fd: int) -> list[str]:
        return [
            sys.executable,
            "-SI",
            "-c",
            _BOOT.format(parent=_PACKAGE_PARENT),
            self._paths.run_dir,
            self._paths.containers_dir,
            self._paths.stage_dir,
            str(DEFAULT_MAX_BYTES),
            str(DEFAULT_FILES),
            str(self._open_files_soft),
            str(ready_fd),
        ]

    async def _spawn(self) -> None:
        """Start a monitor, detached from us in session and lifetime, and wait until it listens."""
        os.makedirs(self._paths.stage_dir, mode=0o700, exist_ok=True)
        os.makedirs(self._paths.containers_dir, mode=0o700, exist_ok=True)
        read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
        with os.fdopen(read_fd, "rb", buffering=0) as ready:
            with os.fdopen(write_fd, "wb"):
                pid = self._spawn_told_to(write_fd)
            listening, loop = asyncio.Event(), asyncio.get_running_loop()
            loop.add_reader(read_fd, listening.set)
            try:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(listening.wait(), _SPAWN_SECONDS)
            finally:
                loop.remove_reader(read_fd)
            if not listening.is_set():
                os.kill(pid, signal.SIGKILL)  # it hangs: all starts would wait for it
            if not listening.is_set() or ready.read(1) != b"1":
                raise PycontainerError(
                    "the monitor did not start", hint=f"its words are in '{self._paths.run_dir}/monitor.log'"
                )

    def _spawn_told_to(self, ready_fd: int) -> int:
        """Start a monitor that says on `ready_fd` when it listens; return its pid."""
        scope = self._scope
        joins = scope is not None and scope.is_alive()  # containers are there whose monitor died
        arguments = [
            *(scope.command() if scope is not None and not joins else ()),
            *self._command(ready_fd=3),
        ]
        log = f"{self._paths.run_dir}/monitor.log"
        with open(os.devnull, "rb") as null, open(log, "ab", opener=_for_us_alone) as words:
            pid = os.posix_spawnp(
                arguments[0],
                arguments,
                {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", **failpoints.environment("monitor:")},
                setsid=True,
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, null.fileno(), 0),
                    (os.POSIX_SPAWN_DUP2, words.fileno(), 1),
                    (os.POSIX_SPAWN_DUP2, words.fileno(), 2),
                    (os.POSIX_SPAWN_DUP2, ready_fd, 3),
                ],
            )
        if scope is not None and joins:
            try:
                scope.join(pid)
            except BaseException:
                os.kill(pid, signal.SIGKILL)  # nobody would hear of it
                raise
        return pid


def _for_us_alone(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def _joined(
    message: dict[str, object], fds: list[int], told: dict[str, object], trees: list[int]
) -> tuple[dict[str, object], list[int]]:
    """Return a `birth` as it was before there was `mount`: steps name trees by their place, so these come first."""

    def moved(places: object) -> object:
        if isinstance(places, list):
            return [moved(place) for place in places]
        return places + len(trees) if isinstance(places, int) and places >= 0 else places

    doors = cast("list[int]", message["doors"])
    if len(trees) + len(fds) > channel.MAX_MESSAGE_FDS:  # it does without doors, which come last
        message, fds = {**message, "doors": []}, [fd for place, fd in enumerate(fds) if place not in doors]
    placed = {name: moved(message[name]) for name in ("stdio", "program", "cgroup", "doors")}
    return {**message, **told, **placed}, [*trees, *fds]
