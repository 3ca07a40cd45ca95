"""The supervisor's program: one per world, started on demand by the first client or by systemd's socket activation.

    python -I -m pycontainer.supervisor.main [--root DIR] [--log-format text|json] [--ready-fd N] [--reloaded-fd N]

It takes the lock on its pidfile, recovers the world, listens, writes one byte to the ready descriptor, and serves. With
nothing running and nobody asking it leaves after a minute, and nothing of ours stays on the host. Where a group may drive it
(operators.py) it stays: the group's members, and tenants' users, could not start it again.
"""

import asyncio
import contextlib
import fcntl
import gc
import os
import resource
import signal
import socket
import sys
import time

import prctl

from pycontainer import failpoints
from pycontainer.errors import InvalidInput, NotPermitted, PycontainerError
from pycontainer.linux.descriptors import make_room
from pycontainer.paths import HostPaths
from pycontainer.supervisor import log, reconcile, reload
from pycontainer.supervisor.operators import load_operators
from pycontainer.supervisor.recovery import recover
from pycontainer.supervisor.server import Server
from pycontainer.supervisor.verbs import lifecycle, running, snapshots
from pycontainer.supervisor.world import World
from pycontainer.units import shown

IDLE_SECONDS = 60.0
_SYSTEMD_FIRST_FD = 3
_BACKLOG = 128
_IDLE = "PYCONTAINER_IDLE_SECONDS"  # with nothing to do: for tests on slow machines
_RECONCILE = "PYCONTAINER_RECONCILE_SECONDS"  # between two rounds, 0 for none: for tests
_LEAVING_SECONDS, _LOCK_RETRY_SECONDS = 20.0, 0.02
_AT_WORK_SECONDS = 12.0  # that requests at work have when we end: a stop with its ten seconds until it kills, and some


def main() -> None:
    """Parse the arguments and serve; exit 0, or with the code of what stood in the way."""
    root, log_format, ready_fd, reloaded_fd = _arguments(sys.argv[1:])
    try:
        paths = HostPaths(root)
        _begin_log(log_format or os.environ.get(log.VARIABLE, ""), paths)
        os.umask(0o022)  # what is private says so itself: 0700 directories, 0600 files
        _need_capabilities()
        try:
            failpoints.arm(os.environ)
        except ValueError as error:
            raise InvalidInput(str(error)) from None
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # six descriptors for each container
        make_room()
        asyncio.run(_serve(paths, ready_fd, reloaded_fd, open_files_soft=soft))
    except PycontainerError as error:
        log.say(f"pycontainer supervisor: {error.message}", hint=error.hint, level="error")
        sys.exit(error.exit_code)


def _begin_log(form: str, paths: HostPaths) -> None:
    """Say everything in this form; one that there is not costs its wish, not the supervisor."""
    log.begin(form if form in log.FORMATS else log.TEXT, paths.supervisor_log)
    if form and form not in log.FORMATS:
        log.say(f"there is no log format {shown(form)}; it is text now", hint="one of " + ", ".join(log.FORMATS))


def _arguments(arguments: list[str]) -> tuple[str | None, str, int, int]:
    root, log_format, ready_fd, reloaded_fd = None, "", -1, -1
    rest = iter(arguments)
    for argument in rest:
        if argument == "--root":
            root = next(rest)
        elif argument == "--log-format":
            log_format = next(rest)
        elif argument == "--ready-fd":
            ready_fd = int(next(rest))
        elif argument == reload.OPTION:
            reloaded_fd = int(next(rest))
        else:
            raise SystemExit(f"unknown argument {argument!r}")
    return root, log_format, ready_fd, reloaded_fd


def _need_capabilities() -> None:
    """Refuse early, with names, instead of failing in the middle of a start."""
    permitted = prctl.cap_permitted
    missing = [
        name
        for name in ("sys_admin", "net_admin", "setuid", "setgid", "setfcap", "mknod", "chown", "kill")
        if not getattr(permitted, name)
    ]
    if missing:
        raise NotPermitted(
            "the supervisor lacks capabilities: " + ", ".join(f"CAP_{name.upper()}" for name in missing),
            hint="run as root",
        )


async def _serve(paths: HostPaths, ready_fd: int, reloaded_fd: int, *, open_files_soft: int) -> None:
    gc.freeze()  # what is loaded so far stays; to look at it for garbage is 20 ms in which nobody is answered
    handed = reload.arrive(reloaded_fd) if reloaded_fd >= 0 else None
    if handed is not None:
        lock_fd, open_files_soft = handed["lock_fd"], handed["open_files_soft"]
    else:
        os.makedirs(paths.run_dir, mode=0o750, exist_ok=True)
        lock_fd = os.open(paths.supervisor_pidfile, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not _take_lock(lock_fd, paths):
            _say_ready(ready_fd)  # another client was faster: its supervisor serves both
            return
        os.ftruncate(lock_fd, 0)
        os.pwrite(lock_fd, f"{os.getpid()}\n".encode(), 0)
    world = World(paths, open_files_soft=open_files_soft)
    world.events.tell(log.event)
    world.restarts.start = lambda container: lifecycle.start_now(world, container)
    world.health.end = lambda container: lifecycle.end_now(world, container, cause=container.ending)
    world.unfinished.remove = lambda container: running.remove(world, container)
    world.boot.start = lambda container: lifecycle.start_now(world, container)
    world.boot.stop = lambda container, seconds: lifecycle.stop_now(world, container, seconds)
    world.transfer.start = lambda container: lifecycle.start_now(world, container)
    world.transfer.stop = lambda container, seconds: lifecycle.stop_now(world, container, seconds, cause="transfer")
    world.schedule.take = lambda container, name: snapshots.take_now(world, container, name)
    world.schedule.drop = lambda container, names: snapshots.drop_now(world, container, names)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, world.end)
    if handed is not None and handed["monitor_fd"] >= 0:
        for each in handed["clients"]:  # before the monitor is heard: their processes may have ended meanwhile
            if each["verb"] == "exec":
                world.endings.expect_exec_exit(each["arguments"]["exec_id"])
            elif each["verb"] in ("wait", "run") and "container" in each["arguments"]:
                world.endings.keep_result(each["arguments"]["container"])
        world.link.take_over(socket.socket(fileno=handed["monitor_fd"]))
    if handed is not None:
        world.health.take_over(handed["speakers"])
    await recover(world)
    if handed is not None:
        listener, own_socket = socket.socket(fileno=handed["listener_fd"]), handed["own_socket"]
        listener.setblocking(False)
    else:
        given = _systemd_listener()
        listener, own_socket = given or _listen(paths), given is None
    operators = world.operators = load_operators(paths)
    if operators.problem:
        log.say(operators.problem)
    operators.open_up(paths.run_dir, listener.getsockname())
    listener.listen(_BACKLOG)
    server = Server(world, listener, operators)
    server.accept()
    for each in handed["clients"] if handed is not None else ():
        server.take_over(socket.socket(fileno=each["fd"]), each["verb"], each["arguments"])
    _say_ready(ready_fd)
    if (seconds := float(os.environ.get(_RECONCILE, reconcile.SECONDS))) > 0:
        world.reconcile.begin(seconds)
    try:
        while True:
            await _until_idle_or_told(world, server)
            if world.new_code is None or world.is_ending:
                break
            state = {
                "lock_fd": lock_fd,
                "listener_fd": listener.fileno(),
                "own_socket": own_socket,
                "open_files_soft": open_files_soft,
            }
            await _become_new_code(world, server, state)
    finally:
        if own_socket:  # systemd's stays for it to listen on
            with contextlib.suppress(FileNotFoundError):
                os.unlink(paths.supervisor_socket)
        await server.finish(_AT_WORK_SECONDS)
        world.close()
        os.close(lock_fd)


async def _become_new_code(world: World, server: Server, state: dict[str, object]) -> None:
    """Hand everything over to the code that is installed now; return only if that cannot be, all being as it was."""
    try:
        clients = await reload.quiet(world, server)
        world.endings.settle()
        state |= {"monitor_fd": world.link.fileno(), "clients": clients, "speakers": world.health.handed_over()}
        world.ledger.close()
        world.events.close(cause="reload")
        try:
            reload.become(state)
        finally:  # it returns only if it cannot be
            try:
                world.events.open()
            finally:
                world.ledger.open()
    except (PycontainerError, OSError) as error:
        if not world.is_ending:
            server.go_on()
            world.leave.clear()
        if world.new_code is not None:
            world.new_code.set_exception(
                error
                if isinstance(error, PycontainerError)
                else PycontainerError(f"cannot execute '{sys.executable}': {error.strerror}")
            )


def _take_lock(lock_fd: int, paths: HostPaths) -> bool:
    """Take the lock of the one supervisor; False if another one serves. One that is just leaving is waited for."""
    deadline = time.monotonic() + _LEAVING_SECONDS
    while True:
        try:
            fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if os.path.lexists(paths.supervisor_socket) or time.monotonic() > deadline:
                return False
        time.sleep(_LOCK_RETRY_SECONDS)


async def _until_idle_or_told(world: World, server: Server) -> None:
    idle_seconds = float(os.environ.get(_IDLE, IDLE_SECONDS))
    while not world.leave.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(world.leave.wait(), 5.0)
        world.reserve.take()
        quiet = time.monotonic() - world.last_activity
        if not world.operators.has_others and not server.connections and world.is_idle() and quiet > idle_seconds:
            return


def _systemd_listener() -> socket.socket | None:
    """Return the listening socket that systemd started us with, if it did. sd_listen_fds(3)."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()) or os.environ.get("LISTEN_FDS") != "1":
        return None
    listener = socket.socket(fileno=_SYSTEMD_FIRST_FD)
    listener.set_inheritable(False)
    listener.setblocking(False)
    return listener


def _listen(paths: HostPaths) -> socket.socket:
    """Return a socket of our own at its place, to which nobody can connect yet."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(paths.supervisor_socket)
    listener.bind(paths.supervisor_socket)
    listener.setblocking(False)
    return listener


def _say_ready(ready_fd: int) -> None:
    if ready_fd >= 0:
        with contextlib.suppress(BrokenPipeError):  # who started us was killed, and others wait for us by now
            os.write(ready_fd, b"1")
        os.close(ready_fd)


if __name__ == "__main__":
    main()
