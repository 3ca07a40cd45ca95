"""`start`: let the parked child execute its program, and hear what became of that.

startContainer hooks ──▶ a byte into ROOT/ID/go ──▶ ROOT/ID/report: end of file is execve, words are a failure
"""

import errno
import os
import time

from pycontainer.errors import InvalidState
from pycontainer.oci.state import GO, State, process_state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontainer.oci.arguments import Options
    from pycontainer.oci.config import Hook
    from pycontainer.oci.hooks import Bear


_FIRST_STEPS_SECONDS = 0.1
_AT_WORK = ("R", "D")  # states of proc_pid_stat(5): it runs, or waits for a disk that its code is on


def start(options: "Options") -> None:
    """Start a created container. Raises NotFound, InvalidState, and StartFailed for its program."""
    with State.lock(options.root, options.id):
        state = State.load(options.root, options.id)
        found = begin(state)
    if found is not None:  # without the lock: what a hook does with the container is its own affair
        found.after(state)


def begin(state: State) -> "_Hooks | None":
    """Start the container of this record; return whose `after` is to be called, without the lock that the caller has."""
    status = state.status(holds_lock=True)
    if status == "stopped":
        raise InvalidState("cannot start a container that has stopped")
    if status != "created":
        raise InvalidState(f"cannot start a container in the {status} state")
    if not state.config["executes"]:
        _release(state)
        return None
    report_fd = _open_report(state)
    found = None
    if state.config["start_hooks"]:
        found = _Hooks(state)
        found.before(state)
    _release(state)
    _await_execution(state, report_fd)
    return found


class _Hooks:
    """Those of the kept configuration that belong to a start."""

    def __init__(self, state: State) -> None:
        from pycontainer.oci.started import kept

        self._config = kept(state)

    def before(self, state: State) -> None:
        """Run those of the container as further processes of its own; the container ends if one fails."""
        from pycontainer.oci import hooks
        from pycontainer.oci.verbs.kill import SIGKILL, to_first

        wanted = self._config.hooks["startContainer"]
        if not wanted:
            return
        try:
            told = hooks.seen_inside(state.describe("created"))
            hooks.run(wanted, told, where="startContainer", bear=self._bear_inside(state))
        except BaseException:
            to_first(state, SIGKILL)
            raise

    def _bear_inside(self, state: State) -> "Bear":
        """Return what bears a hook: who the container's process is to be, and no more than that may do."""
        from pycontainer.oci import exec as exec_

        def bear(hook: "Hook", in_fd: int, out_fd: int) -> tuple[int, int]:
            process = self._config.process
            assert process is not None  # that is what is started
            process.args, process.env, process.terminal = hook.args, hook.env, False
            pid, pidfd, _ = exec_.bear(state, self._config, process, program=hook.path, stdio=(in_fd, out_fd, out_fd))
            return pid, pidfd

        return bear

    def after(self, state: State) -> None:
        from pycontainer.oci import hooks, log

        if self._config.hooks["poststart"]:
            _await_first_steps(state)
        for failed in hooks.run_all(self._config.hooks["poststart"], state.describe("running"), where="poststart"):
            log.warn(failed)


def _await_first_steps(state: State) -> None:
    """Let the program, executed just now, come to where it waits or ends: a hook would often be done before its first line.

    That is not promised, but expected (as by the validation suite); who computes on and on is not waited for.
    """
    until = time.monotonic() + _FIRST_STEPS_SECONDS
    while (found := process_state(state.pid)) is not None and found[0] in _AT_WORK and time.monotonic() < until:
        time.sleep(0.001)


def _release(state: State) -> None:
    """Write the byte that the child waits for. The FIFO goes first: whoever looks from here on sees a running container."""
    try:
        fd = os.open(state.go_path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno != errno.ENXIO:  # nobody has it open
            raise
        raise InvalidState("cannot start a container that has stopped") from None
    try:
        os.unlink(state.go_path)
        os.write(fd, GO)
    except BrokenPipeError:
        raise InvalidState("cannot start a container that has stopped") from None
    finally:
        os.close(fd)


def _open_report(state: State) -> int:
    """Open the report for reading, before the child goes on: it may be done with it in a moment."""
    fd = os.open(state.report_path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    os.set_blocking(fd, True)
    return fd


def _await_execution(state: State, report_fd: int) -> None:
    """Return when the child's end of the report has closed without a word. Raises StartFailed for what it says.

    The child keeps the writer open until its execve closes it; the report holds what `create` could not foresee.
    """
    try:
        report = os.read(report_fd, 4096)
        if report:
            from pycontainer.oci import reports

            while more := os.read(report_fd, 65536):  # with a long PATH it is more than one piece
                report += more
            raise reports.explain(state, report)
    finally:
        os.close(report_fd)
