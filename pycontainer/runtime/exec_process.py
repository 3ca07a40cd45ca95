"""Run one more process in a running container: born in its pid namespace, joined to the others by the sealed program.

It is the monitor's child like any first process, in the container's cgroups, with its capabilities and never more.
"""

import contextlib
import os
import stat
from collections.abc import AsyncIterator, Awaitable, Callable

from pycontainer.cgroup.base import Cgroup
from pycontainer.errors import Busy, InvalidInput, StartFailed
from pycontainer.init.sealed import build, new_memfd, write_program
from pycontainer.linux.libc import MACHINE
from pycontainer.linux.tty import open_pty
from pycontainer.runtime import planner
from pycontainer.runtime.container import Container
from pycontainer.runtime.launcher import Launcher
from pycontainer.runtime.start import alive, check_room, failure, move_in, open_doors, own_pipes
from pycontainer.runtime.users import User
from pycontainer.security.lsm import Label
from pycontainer.security.profile import Rights

_NULL = os.makedev(1, 3)
_EXECUTE_SECONDS, _KILL_SECONDS = 30.0, 5.0

# Both beneath the root of a container that runs, and nobody else waits for its files.
FindUser = Callable[[int, str], Awaitable[User]]
OpenPtmx = Callable[[int], Awaitable[int]]


class ExecRequest:
    """What `exec` was asked for; `stdio_fds` are pipes the caller made, empty with a terminal."""

    __slots__ = ("command", "env", "privileged", "rights", "seccomp", "stdio_fds", "tty", "user", "window", "workdir")

    def __init__(
        self,
        *,
        command: list[str],
        env: list[str],
        workdir: str,
        user: str,
        tty: bool,
        privileged: bool,
        rights: Rights,
        seccomp: tuple[int, bytes] | None,
        stdio_fds: list[int],
        window: tuple[int, int] | None,
    ) -> None:
        self.command, self.env, self.workdir, self.user = command, env, workdir, user
        self.rights, self.seccomp = rights, seccomp
        self.tty, self.privileged, self.stdio_fds, self.window = tty, privileged, stdio_fds, window


async def start_exec(
    container: Container,
    cgroup: Cgroup,
    launcher: Launcher,
    request: ExecRequest,
    *,
    exec_id: str,
    init_pidfd: int,
    find_user: FindUser,
    open_ptmx: OpenPtmx,
) -> tuple[int, int, int]:
    """Start the process beside that of `init_pidfd`; return (pid, pidfd, pty master or -1), the descriptors the caller's.

    Raises StartFailed with step `execve` when the program is missing or not executable, Busy when a file system that was
    mounted inside does not answer.
    """
    if not request.command or not request.command[0]:
        raise InvalidInput("no command to execute", field="command")
    config = container.image.config if container.image else {}
    action = f"cannot run '{request.command[0]}' in '{container.spec.name}'"
    with alive(action):
        check_room(cgroup, action)
    async with contextlib.AsyncExitStack() as undo, _kept(init_pidfd) as joined_fd:
        root_fd = _open_root(container)
        try:
            user = await find_user(root_fd, request.user or container.spec.user or str(config.get("user") or ""))
            pty_fd = await open_ptmx(root_fd) if request.tty else -1
            if pty_fd >= 0:
                undo.callback(os.close, pty_fd)
            stdio_fds = _standard_streams(request, pty_fd, container, user.uid)
        finally:
            os.close(root_fd)
        with contextlib.ExitStack() as sent:  # descriptors only the message needs
            if pty_fd >= 0:
                sent.callback(os.close, stdio_fds[0])
            table = planner.plan_exec(
                container.spec,
                config,
                command=request.command,
                env=request.env,
                workdir=request.workdir,
                user=user,
                rights=request.rights,
                seccomp=request.seccomp,
                label=Label(*container.label).written() if container.label else None,
                tty=request.tty,
                privileged=request.privileged,
                name=container.spec.name,
            )
            memfd = new_memfd()
            undo.callback(os.close, memfd)
            fds = [*stdio_fds, memfd, joined_fd]
            with alive(action):
                cgroup_fd = cgroup.dirfd(beside=container.pid)
            if cgroup_fd is not None:
                sent.callback(os.close, cgroup_fd)
                fds.append(cgroup_fd)
            with alive(action):
                doors = open_doors(cgroup, sent, beside=len(fds), is_judged=True)
            birth = await launcher.birth(
                {
                    "op": "birth",
                    "id": exec_id,
                    "kind": "exec",
                    "flags": 0,
                    "base": container.base,
                    "stdio": [0, 1, 2],
                    "program": 3,
                    "join": 4,
                    "label": bool(container.label),
                    "cgroup": 5 if cgroup_fd is not None else -1,
                    "doors": [len(fds) + position for position in range(len(doors))],
                },
                [*fds, *doors],
                action=action,
            )
        undo.push_async_callback(birth.abort, seconds=_KILL_SECONDS)
        await birth.ready()
        if birth.is_watched:
            birth.watch(table)
        image, rows_at = build(table, MACHINE)
        write_program(memfd, image)
        if cgroup_fd is None:
            with alive(action):
                move_in(cgroup, birth.pid, beside=container.pid)
                check_room(cgroup, action, arrived=1)
        try:
            report = await birth.release(
                streams=[], input_fd=-1, tty=request.tty, attached=None, seconds=_EXECUTE_SECONDS
            )
        except TimeoutError:
            raise Busy(
                f"{action}: the program is not executed within {_EXECUTE_SECONDS:g} seconds",
                hint="a file system that was mounted inside does not answer, or the container was paused",
            ) from None
        if report:
            raise failure(action, table, rows_at, report)
        undo.pop_all()
        os.close(memfd)
    return birth.pid, birth.pidfd, pty_fd


@contextlib.asynccontextmanager
async def _kept(pidfd: int) -> AsyncIterator[int]:
    """Keep a descriptor of our own: while we wait for something the run may end, and its number be that of another file."""
    kept_fd = os.dup(pidfd)
    try:
        yield kept_fd
    finally:
        os.close(kept_fd)


def _open_root(container: Container) -> int:
    """Return a descriptor of the running container's root; StartFailed if it has ended meanwhile."""
    ended = StartFailed(f"container '{container.spec.name}' ended", step="join")
    try:
        root_fd = os.open(f"/proc/{container.pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except (
        FileNotFoundError,
        ProcessLookupError,
    ) as error:  # a process that ends has no root any more, before it is reaped
        raise ended from error
    if not container.is_running():  # the pid was reused between our look and the open
        os.close(root_fd)
        raise ended
    return root_fd


def _standard_streams(request: ExecRequest, pty_fd: int, container: Container, uid: int) -> list[int]:
    """Return the three descriptors for the process: with a terminal the slave of the master `pty_fd`.

    The pty is the container's own: its ptmx is opened without following links and proven to be one, the slave comes from
    the master, never from a path (the classes of CVE-2016-10124 and CVE-2025-52565).
    """
    if request.tty:
        _, slave_fd = open_pty(pty_fd, uid=container.base + uid, gid=container.base + 5, window=request.window)
        return [slave_fd, slave_fd, slave_fd]
    if len(request.stdio_fds) != 3:
        raise InvalidInput("exec without a terminal needs three descriptors", field="fds")
    for fd in request.stdio_fds:
        details = os.fstat(fd)
        is_null = stat.S_ISCHR(details.st_mode) and details.st_rdev == _NULL
        if not stat.S_ISFIFO(details.st_mode) and not is_null:  # a host file or terminal never goes inside
            raise InvalidInput("the standard streams of exec must be pipes or /dev/null", field="fds")
    own_pipes(request.stdio_fds, container.base + uid)
    return request.stdio_fds
