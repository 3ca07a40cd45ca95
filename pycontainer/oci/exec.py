"""`exec`: one more process in a container.

    this process                                  the child, of our pid namespace        its child, of the container's
    clone3                          ── birth ──▶  waits for a byte
    cgroups; the lock is given back
    its table into the memfd        ── go ─────▶  joins, confines itself
                                    ◀─ pid ─────  clone, end                       ──▶   waits for a byte
    schedulers                      ── go ────────────────────────────────────────▶      filter, execve
                                    ◀─ end of file ────────────────────────────────

It is who `process.json` says, or the container's own process with another command; never with more than either names.
Nothing of ours is imported, opened by path or left open once it has entered (the classes of CVE-2019-5736, CVE-2024-21626).
"""

import os
import select
import struct

from pycontainer.errors import InvalidInput, InvalidState
from pycontainer.init.birth import Bearer
from pycontainer.init.sealed import build, new_memfd, write_program
from pycontainer.init.table import ROW_BYTES, Table, describe_rows
from pycontainer.linux.capabilities import NUMBERS
from pycontainer.linux.files import read_bounded
from pycontainer.linux.libc import MACHINE
from pycontainer.linux.namespaces import CLONE_NEWUSER
from pycontainer.linux.process import pidfd_open
from pycontainer.linux.tty import open_pty
from pycontainer.oci import cgroups, config, console, reports, rows, scheduling, seccomp, started, text
from pycontainer.oci.state import PARKED, Lock, State, let_go

_HEAD = struct.Struct("<qq")  # of a report: the address of a row, its result

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontainer.oci.arguments import Options
    from pycontainer.oci.config import Config, Process


def exec_(options: "Options") -> int:
    """Return the exit code of the process; 0 once it runs, with --detach. Raises what `main` turns into 255."""
    started.check_preserved(options.preserve_fds)
    given = _given(options.process) if options.process else None
    with State.lock(options.root, options.id) as lock:
        state = State.load(options.root, options.id)
        status = state.status(holds_lock=True)
        if status == "stopped":
            raise InvalidState("cannot exec in a stopped container")
        if status == "paused" and not options.ignore_paused:
            raise InvalidState("cannot exec in a paused container (use --ignore-paused to override)")
        if status == "paused":
            lock.release()  # the process waits for a `resume`, and that for the lock
        found = started.kept(state)
        process = given or _process(options, found)
        console.check(process.terminal, options.console_socket, detached=options.detach)
        pid, pidfd, master_fd = bear(
            state, found, process, preserved=options.preserve_fds, console_socket=options.console_socket, lock=lock
        )
    if options.pid_file:
        try:
            started.write_pid_file(options.pid_file, pid)
        except OSError:
            started.end(pidfd, pid)  # the caller would not know of it
            raise
    if options.detach:
        os.close(pidfd)
        return 0
    from pycontainer.oci.foreground import Foreground

    return Foreground(pid, pidfd, master_fd).wait()


def _given(path: str) -> "Process":
    """Return the process of a file. Without the lock: it may be a pipe, and who writes to it slow."""
    return config.parse_process(text.loads(read_bounded(path, text.MAX_BYTES), path), path)


def _process(options: "Options", found: "Config") -> "Process":
    """Return the container's own process with what the command line says instead."""
    if found.process is None:
        raise InvalidInput("the container has no process to take for a pattern", hint="give --process")
    if not options.words:
        raise InvalidInput("exec needs a command, or --process")
    process = found.process
    process.args, process.terminal = options.words, options.tty
    process.env = _merged(process.env, options.env)
    if options.cwd:
        process.cwd = options.cwd
    if options.user:
        process.uid, process.gid = _ids(options.user)
    process.additional_gids = process.additional_gids + [
        _id("--additional-gids", str(gid)) for gid in options.additional_gids
    ]
    if options.cap:
        more = _mask(options.cap)
        sets = process.capabilities = process.capabilities or config.Capabilities(0, 0, 0, 0, 0)
        for name in ("bounding", "effective", "permitted"):
            setattr(sets, name, getattr(sets, name) | more)
    process.apparmor_profile = options.apparmor or process.apparmor_profile
    process.selinux_label = options.process_label or process.selinux_label
    process.no_new_privs = process.no_new_privs or options.no_new_privs
    return process


def _merged(environment: list[str], more: list[str]) -> list[str]:
    """Return the environment with what is given besides, each name once: getenv(3) would find the first of two."""
    found = {entry.partition("=")[0]: entry for entry in environment}
    for entry in more:
        name, equals, _ = entry.partition("=")
        if not (name and equals):
            raise InvalidInput(f"--env: '{entry}' is not NAME=VALUE")
        found[name] = entry
    return list(found.values())


def _mask(names: list[str]) -> int:
    found = 0
    for name in names:
        number = NUMBERS.get(name.upper() if name.upper().startswith("CAP_") else f"CAP_{name.upper()}")
        if number is None:
            raise InvalidInput(f"--cap: unknown capability '{name}'")
        found |= 1 << number
    return found


def _ids(user: str) -> tuple[int, int]:
    uid, colon, gid = user.partition(":")
    return _id("--user", uid), _id("--user", gid) if colon else 0


def _id(flag: str, value: str) -> int:
    """Return an id. The kernel takes the last one for "as it is", which is root, and looks at 32 bits of what is more."""
    if not (value.isascii() and value.isdigit()) or len(value) > 10 or int(value) > config.ID_MOST:
        raise InvalidInput(f"{flag}: '{value}' is not the number of a user or group", hint="write UID[:GID]")
    return int(value)


def bear(
    state: State,
    found: "Config",
    process: "Process",
    *,
    program: str = "",
    preserved: int = 0,
    stdio: "tuple[int, ...]" = (),
    console_socket: str = "",
    lock: "Lock | None" = None,
) -> tuple[int, int, int]:
    """Start `process` in the container; return its pid, its pidfd and the master of its terminal, or -1 if that is not ours.

    `program` is executed, with the process's own arguments, instead of the first of these. `preserved` descriptors from 3 up
    are its own; `stdio` becomes its standard streams. The caller holds the container's lock; `lock` is given back on the way,
    before anything is looked up inside but the terminal: a file system there may never answer.
    """
    init_fd = state.open_pidfd()
    if init_fd is None:
        raise InvalidState("cannot exec in a stopped container")
    joined = _joined(state)
    if os.geteuid():
        from pycontainer.oci import rootless

        rootless.join(init_fd)
        found.uid_mappings, found.gid_mappings = [], []  # its ids are ours now
    places = rows.Places(preserved, 0)
    label = started.process_label(process)
    if joined & CLONE_NEWUSER and not found.uid_mappings and not found.gid_mappings:  # one that is another container's
        from pycontainer.oci import idmaps

        userns_fd = os.open(f"/proc/{state.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        found.uid_mappings, found.gid_mappings = idmaps.of_namespace(userns_fd)
        os.close(userns_fd)
    try:
        root_fd = os.open(f"/proc/{state.pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:  # it is ending: what it had is gone before it is
        raise InvalidState("cannot exec in a stopped container") from None
    master_fd, moves = -1, [(started.high(init_fd, places), places.join)]
    init_fd = moves[0][0]
    if process.terminal:
        master_fd, slave_fd = _terminal(root_fd, process, found)
        stdio = (slave_fd,) * 3
    streams = {fd: started.high(fd if process.terminal else os.dup(fd), places) for fd in set(stdio)}
    moves += [(streams[fd], number) for number, fd in enumerate(stdio)]
    if label:
        moves.append((started.high(os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC), places), places.label))
    root_fd = started.high(root_fd, places)
    if state.config.get("chroots"):
        moves.append((root_fd, places.root))
    go_read_fd, go_write_fd = (started.high(fd, places) for fd in os.pipe2(os.O_CLOEXEC))
    moves.append((go_read_fd, places.go))
    memfd = started.high(new_memfd(), places)
    report_read_fd, report_fd = (started.high(fd, places) for fd in os.pipe2(os.O_CLOEXEC))
    bearer = Bearer(MACHINE)
    group = state.group()
    entrance = cgroups.Entrance()
    if group is not None:
        moves_itself = not process.exec_cpu_affinity[0]  # where it has to be before it is in the container's cpuset
        entrance = group.entrance(lambda fd: started.high(fd, places), beside=state.pid, moves_itself=moves_itself)
    bridge = rows.bridge(
        places,
        go_read_fd=go_read_fd,
        go_write_fd=go_write_fd,
        report_fd=report_fd,
        program_fd=memfd if bearer.runs_programs() else -1,
        moves=moves,
        becomes_root=False,
        doors=entrance.doors,
    )
    pid, pidfd = entrance.bear(lambda fd: bearer.bear(bridge, flags=0, cgroup_fd=fd, program_fd=memfd, owner=0))
    try:
        scheduling.set_affinity(pid, process.exec_cpu_affinity[0])
        if group is not None:
            group.see_in(pid, entrance, beside=state.pid)
        scheduling.set_affinity(pid, process.exec_cpu_affinity[1])
        if lock is not None:
            lock.release()  # whoever ends, stops or limits the container does so to what lives in its cgroup
        table = _table(state, found, process, places, root_fd, program=program, stdio=stdio)
        described = describe_rows(table)
        image, rows_at = build(table, MACHINE)
        write_program(memfd, image)
        if master_fd >= 0 and console_socket:
            console.send(console_socket, master_fd)
            os.close(master_fd)
            master_fd = -1
        for fd in {root_fd, report_fd, memfd, *(fd for fd, _ in moves)}:
            os.close(fd)
        entrance.close()
        let_go(go_write_fd)
        report = _read_to_end(report_read_fd, pidfd)
        born = _born_pid(report, described, rows_at)
        if not born:
            raise reports.failure(described, rows_at, report)
        born_pidfd = pidfd_open(born)
        started.end(pidfd, pid)
        os.close(pidfd)
        pid, pidfd = born, born_pidfd
        scheduling.apply(pid, process)  # who is of SCHED_DEADLINE bears nobody
        let_go(go_write_fd)

        def hand_over() -> None:
            assert found.seccomp is not None
            seccomp.hand_over(found.seccomp, pidfd, places.listener, state.describe("running"), pid)

        report = reports.read(report_read_fd, hand_over)
        if report == PARKED:
            let_go(go_write_fd)
            report = reports.read(report_read_fd, hand_over)
        if report:
            raise reports.failure(described, rows_at, report)
    except BaseException:
        started.end(pidfd, pid)
        raise
    finally:
        os.close(go_write_fd)
        os.close(report_read_fd)
    return pid, pidfd, master_fd


def _table(
    state: State,
    found: "Config",
    process: "Process",
    places: rows.Places,
    root_fd: int,
    *,
    program: str,
    stdio: "tuple[int, ...]",
) -> Table:
    """Return the program of the child and of its child, from the namespaces to the execve."""
    joined, label = _joined(state), started.process_label(process)
    filter_ = seccomp.loadable(found.seccomp, process)
    table = Table(places.report)
    slot = rows.open_label(table, places, label[0]) if label else None
    rows.join_process(table, places, joined, into_user_namespace=bool(joined & CLONE_NEWUSER))
    if state.config.get("chroots"):
        rows.change_root(table, places.root)
    rows.finish(
        table,
        places,
        rows.Finish(
            process,
            executables=[os.fsencode(program)] if program else started.executables(root_fd, process),
            seccomp=filter_,
            label=(slot, label[1]) if slot and label else None,
            keyring=str(state.config.get("keyring", "")),
            console="",
            streams=[] if process.terminal else started.streams_to_give(stdio or (0, 1, 2)),
        ),
        parks=seccomp.has_listener(filter_),  # until that has been handed over
        bears=True,
        bears_filtered=not process.no_new_privs and seccomp.permits(filter_, rows.calls_of_birth()),
        personality=found.personality,
    )
    return table


def _joined(state: State) -> int:
    joined = state.config["joined"]
    assert isinstance(joined, int)
    return joined


def _read_to_end(fd: int, pidfd: int) -> bytes:
    """Return what a process says up to its end; its child has the pipe as well, and says nothing before it is told to go."""
    report, has_ended = b"", False
    while not has_ended:
        has_ended = bool(_readable(fd, pidfd) & {pidfd})
        while _readable(fd, wait_ms=0) and (piece := os.read(fd, 65536)):
            report += piece
    return report


def _readable(*fds: int, wait_ms: "int | None" = None) -> set[int]:
    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    return {fd for fd, _ in poll.poll(wait_ms)}


def _born_pid(report: bytes, described: "list[tuple[str, str, int, int]]", rows_at: int) -> int:
    """Return the pid of the child that a report tells of, 0 if it tells of a failure."""
    if len(report) < _HEAD.size:
        return 0
    address, result = _HEAD.unpack_from(report)
    index = (address - rows_at) // ROW_BYTES
    is_birth = 0 <= index < len(described) and described[index][0] == rows.BIRTH
    return int(result) if is_birth and result > 0 else 0


def _terminal(root_fd: int, process: "Process", found: "Config") -> tuple[int, int]:
    """Open a terminal of the container's own devpts; return master and slave.

    The slave comes from the master, never from a path (the classes of CVE-2016-10124 and CVE-2025-52565).
    """
    from pycontainer.oci.mounting import outside

    master_fd = console.open_master(root_fd)
    _, slave_fd = open_pty(master_fd, uid=outside(found.uid_mappings, process.uid), window=process.console_size)
    return master_fd, slave_fd
