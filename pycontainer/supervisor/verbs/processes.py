"""exec, attach, logs, stats, top: what goes on inside a running container."""

import asyncio
import os

from pycontainer.controllers import stats as cgroup_stats
from pycontainer.errors import InvalidInput, InvalidState
from pycontainer.runtime.container import Container
from pycontainer.runtime.exec_process import ExecRequest, start_exec
from pycontainer.supervisor.call import Call
from pycontainer.supervisor.world import World

_CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


async def exec(world: World, call: Call) -> object:
    """Run one more process. Sends {started} first (with a terminal its frame carries the master), then the exit code.

    One to be left alone (`detach`) is answered once its program has been executed: {pid}.
    """
    container = world.find(call.text("container"))
    run = world.run_of(container)
    if run.cgroup.is_frozen():
        raise InvalidState(
            f"container '{container.spec.name}' is paused", hint=f"pycontainer unpause {container.spec.name}"
        )
    is_left = call.flag("detach")
    if is_left and call.flag("tty"):
        raise InvalidInput("nobody would have the terminal of a process that is left alone", field="tty")
    rights = world.rights_of(container)
    stdio_fds = call.take_fds()
    exec_id = f"{container.id}-{os.urandom(4).hex()}"
    exited = world.endings.expect_exec_exit(exec_id)
    try:
        try:
            pid, pidfd, pty_fd = await start_exec(
                container,
                run.cgroup,
                world.link,
                ExecRequest(
                    command=call.texts("command"),
                    env=call.texts("env"),
                    workdir=call.text("workdir"),
                    user=call.text("user"),
                    tty=call.flag("tty"),
                    privileged=call.flag("privileged"),
                    rights=rights,
                    seccomp=world.filter_of(rights),
                    stdio_fds=stdio_fds,
                    window=call.window(),
                ),
                exec_id=exec_id,
                init_pidfd=run.pidfd,
                find_user=world.looks[container.id].user,
                open_ptmx=world.looks[container.id].ptmx,
            )
        finally:
            for fd in stdio_fds:
                os.close(fd)
        os.close(pidfd)
        world.events.emit("exec", container, pid=pid)
        if is_left:
            return {"pid": pid}
        if pty_fd >= 0:
            try:
                await call.event({"started": {"pid": pid}}, [pty_fd])
            finally:
                os.close(pty_fd)
        else:
            await call.event({"started": {"pid": pid}})
        call.waits_for, call.is_answered = {"exec_id": exec_id}, exited.done
        return {"exit_code": await exited}
    finally:
        world.endings.forget_exec(exec_id)


async def exec_ended(world: World, call: Call) -> object:
    """Answer with the exit code of a process that the supervisor before us let join."""
    exec_id = call.text("exec_id")
    exited = world.endings.expect_exec_exit(exec_id)
    call.is_answered = exited.done
    try:
        return {"exit_code": await exited}
    finally:
        world.endings.forget_exec(exec_id)


async def attach(world: World, call: Call) -> object:
    """Hand the client's socket to the output pump."""
    container = world.find(call.text("container"))
    world.run_of(container)
    with call.require_socket() as sock:
        world.link.attach(container.id, sock)
    return {}


async def logs(world: World, call: Call) -> object:
    """Say where the log is, oldest file first; the client reads it, and is handed the open files if it asks for that."""
    container = world.find(call.text("container"))
    base = f"{container.directory}/log"
    candidates = [f"{base}.2", f"{base}.1", base]
    if call.flag("open"):
        for path in reversed(candidates):  # against the direction of the renames, so that a rotation hides none
            try:
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            except FileNotFoundError:
                continue
            try:
                await call.event({}, [fd])
            finally:
                os.close(fd)
    is_on = world.status(container) in ("running", "paused", "restarting")
    return {"paths": [path for path in candidates if os.path.exists(path)], "running": is_on}


async def stats(world: World, call: Call) -> object:
    references = call.texts("containers")
    containers = [world.find(r) for r in references] if references else world.seen_running()
    return [_stats(world, container) for container in containers if container.id in world.runs]


def _stats(world: World, container: Container) -> dict[str, object]:
    received = sent = 0
    if container.addresses:
        received, sent = world.networks.stats(container.id)
    return {
        "id": container.id,
        "name": container.spec.name,
        "monotonic_seconds": asyncio.get_running_loop().time(),
        **cgroup_stats.stats(world.runs[container.id].cgroup),
        "net_rx_bytes": received,
        "net_tx_bytes": sent,
    }


async def top(world: World, call: Call) -> object:
    """List the container's processes, asked of its cgroup and /proc."""
    container = world.find(call.text("container"))
    run = world.run_of(container)
    found = await world.looks[container.id].processes(sorted(run.cgroup.pids()))
    return [_process(int(pid), parts, container.base) for pid, parts in found.items() if isinstance(parts, list)]


def _process(pid: int, parts: list[str], base: int) -> dict[str, object]:
    """Make a row of what /proc says: stat, status and the command line."""
    stat, status_text, command = (part.encode("latin-1") for part in parts)
    fields = stat.rpartition(b")")[2].split()
    status = dict(line.split(b":", 1) for line in status_text.splitlines() if b":" in line)
    uid = int(status[b"Uid"].split()[1])
    inside = uid - base if base <= uid < base + 65536 else uid
    text = command.replace(b"\0", b" ").strip() or b"[" + status[b"Name"].strip() + b"]"
    return {
        "pid": pid,
        "ns_pid": int(status[b"NSpid"].split()[-1]),
        "user": "root" if inside == 0 else str(inside),
        "cpu_seconds": (int(fields[11]) + int(fields[12])) / _CLOCK_TICKS,
        "rss_bytes": int(fields[21]) * _PAGE_BYTES,
        "command": text.decode(errors="backslashreplace"),
    }
