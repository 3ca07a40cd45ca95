"""The six kinds of hooks: host programs that are told the container's state. runtime-spec config.md, "POSIX-platform Hooks".

    prestart, createRuntime    before the root is changed, where we are                     a failure ends the container
    createContainer            the same moment, in the container's namespaces but its root  a failure ends the container
    startContainer             as a process of the container, right before its program      a failure ends the container
    poststart, poststop        where we are, after the start, after the deletion            a failure is logged

A hook runs in the order of its list, with nothing of ours open but its standard streams, and is killed when its time is over,
with what it started. The program of a startContainer hook is the container's own file, and confined as all that is in there.
"""

import _signal  # type: ignore[import-not-found]  # `signal` costs 2 ms for its enumerations
import errno
import os
import select
import time

from pycontainer.errors import StartFailed
from pycontainer.linux.namespaces import setns
from pycontainer.linux.process import pidfd_open, reap
from pycontainer.oci import text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pycontainer.oci.config import Hook

    Bear = Callable[[Hook, int, int], tuple[int, int]]  # (hook, its input, its output) → pid, pidfd

_SIGKILL, _SIGPIPE, _SIGXFSZ = 9, 13, 25
_MAX_OUTPUT = 8192
_MOST_FDS = 1 << 16
_CLONE_NEWPID = 0x20000000


def run(
    hooks: "list[Hook]",
    state: "dict[str, object]",
    *,
    where: str,
    enter: "Callable[[], None] | None" = None,
    bear: "Bear | None" = None,
) -> None:
    """Run `hooks` of kind `where` one after the other, each with `state` as JSON on its standard input.

    `enter` is called in the new process before it executes the hook; `bear` makes that process, else it is a copy of us.
    Raises StartFailed for the first that fails.
    """
    for number, hook in enumerate(hooks):
        _run_one(hook, state, f"hooks.{where}[{number}]", bear or _copies(state, enter))


def run_all(hooks: "list[Hook]", state: "dict[str, object]", *, where: str) -> list[str]:
    """Run all of `hooks` whatever becomes of each; return what went wrong, for the log."""
    failures = []
    for number, hook in enumerate(hooks):
        try:
            _run_one(hook, state, f"hooks.{where}[{number}]", _copies(state, None))
        except StartFailed as error:
            failures.append(error.message)
    return failures


def record(hook: "Hook") -> "dict[str, object]":
    """Return a hook as config.json has it, for the state."""
    found: dict[str, object] = {"path": hook.path, "args": hook.args, "env": hook.env}
    if hook.timeout_seconds is not None:
        found["timeout"] = hook.timeout_seconds
    return found


def seen_inside(state: "dict[str, object]") -> "dict[str, object]":
    """Return the state as hooks within the container's namespaces are told it: with the pid that the process has there."""
    with open(f"/proc/{state['pid']}/status") as file:
        pid = next((int(line.split()[-1]) for line in file if line.startswith("NSpid:")), state["pid"])
    return state | {"pid": pid}


def joining(pidfd: int, flags: int) -> "Callable[[], None]":
    """Return what enters the namespaces of a process; that of pids counts from the next fork on, which follows."""

    def enter() -> None:
        setns(pidfd, flags)
        if flags & _CLONE_NEWPID:
            pid = os.fork()
            if pid:
                os.closerange(3, _MOST_FDS)  # our copy of its standard input, too, whose end it waits for
                _, status = os.waitpid(pid, 0)
                os._exit(os.waitstatus_to_exitcode(status) & 0xFF)

    return enter


def _run_one(hook: "Hook", state: "dict[str, object]", where: str, bear: "Bear") -> None:
    data = text.dumps(state).encode()
    in_read, in_write = os.pipe2(os.O_CLOEXEC)
    out_read, out_write = os.pipe2(os.O_CLOEXEC)
    try:
        pid, pidfd = bear(hook, in_read, out_write)
    except StartFailed as error:
        for fd in (in_write, out_read):
            os.close(fd)
        raise StartFailed(f"{where}: {error.message}", step="hook", errno=error.errno) from error
    finally:
        for fd in (in_read, out_write):
            os.close(fd)
    try:
        output, in_time = _attend(pidfd, in_write, out_read, data, hook.timeout_seconds)
        if not in_time:
            os.killpg(pid, _SIGKILL)  # it leads a session: what it started goes as well
            raise StartFailed(f"{where}: '{hook.path}' did not end within {hook.timeout_seconds} seconds", step="hook")
        status = reap(pidfd)
        assert status is not None
        if status:
            code = os.waitstatus_to_exitcode(status)
            why = f"exit status {code}" if code >= 0 else f"signal {-code}"
            said = output.decode(errors="replace").strip()
            raise StartFailed(f"{where}: '{hook.path}' failed: {why}{f', output: {said}' if said else ''}", step="hook")
    finally:
        try:
            os.waitid(os.P_PID, pid, os.WEXITED)
        except ChildProcessError:
            pass
        for fd in (pidfd, out_read):
            os.close(fd)


def _copies(state: "dict[str, object]", enter: "Callable[[], None] | None") -> "Bear":
    """Return what bears a hook as a copy of ourselves."""

    def bear(hook: "Hook", in_fd: int, out_fd: int) -> tuple[int, int]:
        pid = os.fork()
        if pid == 0:
            _become(hook, str(state["bundle"]), in_fd, out_fd, enter)
        return pid, pidfd_open(pid)

    return bear


def _become(hook: "Hook", bundle: str, in_fd: int, out_fd: int, enter: "Callable[[], None] | None") -> None:
    """Turn this new process into the hook; never returns."""
    try:
        os.setsid()
        for ignored in (_SIGPIPE, _SIGXFSZ):  # by Python, and an ignored signal stays ignored over execve
            _signal.signal(ignored, _signal.SIG_DFL)
        for fd, number in ((in_fd, 0), (out_fd, 1), (out_fd, 2)):
            os.dup2(fd, number)
        if enter is not None:
            enter()
        try:  # not in the container's root, where `create` is: what lies there is not the engine's
            os.chdir(bundle)
        except OSError:  # it may have gone by the time of poststop
            os.chdir("/")
        os.closerange(3, _MOST_FDS)
        os.execve(hook.path, hook.args or [hook.path], dict(entry.split("=", 1) for entry in hook.env if "=" in entry))
    except OSError as error:
        os.write(2, f"{error.strerror}".encode())
    finally:
        os._exit(126)


def _attend(pidfd: int, in_fd: int, out_fd: int, data: bytes, timeout_seconds: "int | None") -> tuple[bytes, bool]:
    """Feed the hook and listen to it until it ends; return what it wrote, bounded, and whether it ended in time."""
    deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
    output = b""
    os.set_blocking(in_fd, False)
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.register(out_fd, select.POLLIN)
    poll.register(in_fd, select.POLLOUT)
    rest = memoryview(data)
    try:
        while True:
            left = None if deadline is None else (deadline - time.monotonic()) * 1000
            if left is not None and left <= 0:
                return output, False
            ended = False
            for fd, events in poll.poll(left):
                if fd == in_fd and in_fd >= 0:
                    try:
                        rest = rest[os.write(in_fd, rest) :]
                    except BlockingIOError:
                        continue
                    except OSError as error:
                        if error.errno != errno.EPIPE:  # it does not want to know
                            raise
                        rest = rest[:0]
                    if not rest:
                        poll.unregister(in_fd)
                        os.close(in_fd)
                        in_fd = -1
                elif fd == out_fd:
                    part = os.read(out_fd, 65536)
                    output = (output + part)[-_MAX_OUTPUT:]
                    if not part:
                        poll.unregister(out_fd)
                elif fd == pidfd and events & select.POLLIN:
                    ended = True
            if ended:
                return (output + _rest(out_fd))[-_MAX_OUTPUT:], True
    finally:
        if in_fd >= 0:
            os.close(in_fd)


def _rest(fd: int) -> bytes:
    """Return what a hook that has ended left in the pipe; what it started may hold that open."""
    os.set_blocking(fd, False)
    try:
        return os.read(fd, 65536)
    except BlockingIOError:
        return b""
