"""`delete ID`: take away all that a container holds, then run its poststop hooks.

Each step may have been done before: what was cut off, by a crash of `create` or of `delete`, is finished by another
`delete`. The record goes last; without it nobody would know of the rest.
"""

from __future__ import annotations

import os
import select
import time

from pycontainer.errors import Busy, InvalidState, NotFound, PycontainerError
from pycontainer.oci import log
from pycontainer.oci.state import Lock, State, remove_directory
from pycontainer.oci.verbs.kill import SIGKILL, to_all, to_first

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontainer.oci.arguments import Options
    from pycontainer.oci.cgroups import Group

END_SECONDS = 10.0  # a process that is in the kernel, writing to a slow disk, dies late


def run(options: Options) -> None:
    """Delete a stopped container; with `--force` any, and none is fine."""
    try:
        with _lock(options.root, options.id, force=options.force):
            _delete(options.root, options.id, force=options.force)
    except NotFound:
        if not options.force:
            raise


def _lock(root: str, container_id: str, *, force: bool) -> Lock:
    """Take the lock; who holds it may wait for a process of the container, which is to end anyway with `force`."""
    if force:
        try:
            return State.lock(root, container_id, wait_seconds=0)
        except Busy:
            _kill_early(root, container_id)
    return State.lock(root, container_id)


def _kill_early(root: str, container_id: str) -> None:
    """End all processes, also those that stand still, without the lock: who waits for one gives the lock back then."""
    try:
        state = State.load(root, container_id)
        to_first(state, SIGKILL)
        to_all(state, SIGKILL)
    except (PycontainerError, OSError):
        pass  # no record, or a damaged one: seen to under the lock


def _delete(root: str, container_id: str, *, force: bool) -> None:
    state = None
    try:
        state = State.load(root, container_id)
        state.group()
    except NotFound:  # `create` died between the id and the first record: there is nothing else yet
        remove_directory(f"{root}/{container_id}")
        return
    except PycontainerError as error:
        if not force:
            raise
        log.warn(f"{error.message}; its cgroup, if there is one, stays")
        if state is not None:
            to_first(state, SIGKILL)
        remove_directory(f"{root}/{container_id}")
        return
    status = state.status(holds_lock=True)
    if status != "stopped" and not force:
        raise InvalidState(f"cannot delete container '{container_id}' that is not stopped: {status}")
    remove(state)


def remove(state: State) -> None:
    """Kill what lives of a container, remove its cgroup and its record, run its poststop hooks. The caller has the lock."""
    group = state.group()
    pidfd = state.open_pidfd()
    try:
        if pidfd is not None:
            to_first(state, SIGKILL)
        if group is not None:
            _end_all(group)
        if pidfd is not None:
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            if not poll.poll(END_SECONDS * 1000):
                raise Busy(f"process {state.pid} of container '{state.id}' was killed but does not end")
    finally:
        if pidfd is not None:
            os.close(pidfd)
    if group is not None:
        group.delete()
    if group_of_cache := state.config.get("resctrl"):
        from pycontainer.oci import resctrl

        resctrl.leave(str(group_of_cache))
    state.remove()
    run_poststop(state)


def _end_all(group: Group) -> None:
    """Kill all processes of the cgroup, also of one without a pid namespace, and wait for their end."""
    if not group.pids():
        return
    group.kill()
    until = time.monotonic() + END_SECONDS
    pause_seconds = 0.0005
    while pids := group.pids():
        if time.monotonic() > until:
            raise Busy(f"process {pids[0]} was killed but does not end")
        time.sleep(pause_seconds)
        pause_seconds = min(2 * pause_seconds, 0.02)


def run_poststop(state: State) -> None:
    """Run the hooks; the container is gone, whatever becomes of them. runtime-spec runtime.md, Lifecycle, 13."""
    if not state.hooks_poststop:
        return
    from pycontainer.oci import hooks
    from pycontainer.oci.config import Hook

    wanted = []
    for record in state.hooks_poststop:
        assert isinstance(record, dict)
        wanted.append(Hook(record["path"], record["args"], record["env"], record.get("timeout")))
    for message in hooks.run_all(wanted, state.describe("stopped"), where="poststop"):
        log.warn(message)
