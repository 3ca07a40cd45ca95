"""Start a container: claim what it needs, have it born, build its world, release it.

    supervisor                                             monitor
    cgroup and streams made, mounts planned ── birth ──▶   clone3 …
    trees opened                            ── mount ──▶
    limits applied and read back, walls
    opened, the child's table built        ◀── born ──
    network attached through its netns                     id maps; mounts …
    v1: is it in its cgroups?              ◀── ready ──
    user resolved beneath the new root
    the child's table sealed into the memfd ─ release ─▶   one byte; lock, pivot, drop, execve
    if it is new: its records, to the disk
                                           ◀─ started ─

The longest way is the monitor's; so what can be is done beside it.

Everything made here has its undo beside it; a failed start leaves the host as if never tried.
"""

import contextlib
import errno
import os
import signal
import socket
import stat
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from pycontainer.cgroup.base import Cgroup
from pycontainer.errors import InvalidInput, InvalidState, PycontainerError, StartFailed
from pycontainer.failpoints import reach
from pycontainer.init.child import REPORT_FD
from pycontainer.init.sealed import build, new_memfd, write_program
from pycontainer.init.table import Table, describe_rows, read_report
from pycontainer.linux.libc import MACHINE
from pycontainer.linux.loopback import set_loopback_up
from pycontainer.linux.mounts import clone_tree
from pycontainer.linux.namespaces import CLONE_NEWNET, visiting
from pycontainer.linux.process import start_time_ticks
from pycontainer.linux.tty import open_pty
from pycontainer.monitor.channel import MAX_MESSAGE_FDS
from pycontainer.runtime import planner, users
from pycontainer.runtime.container import Container, now
from pycontainer.runtime.hostbinds import open_source
from pycontainer.runtime.launcher import Birth, Launcher
from pycontainer.runtime.sysctls import write_sysctls
from pycontainer.security.lsm import Label
from pycontainer.security.profile import Rights
from pycontainer.spec.model import ContainerSpec
from pycontainer.store.fsimages import open_layer
from pycontainer.trace import span

_AT_ONCE = 32  # children of one container or tenant that may be on their way
_NO_TREE = (
    "this host has no cgroup v2 tree: an init such as systemd cannot boot inside; "
    "mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified, then 'pycontainer service stop'"
)
STDOUT, STDERR = 1, 2  # the kinds of a stream, as in api/messages.py


class Network(Protocol):
    """What a start asks of the network."""

    def expect(self, container_id: str) -> None: ...
    def attach(self, container_id: str, netns_fd: int) -> None: ...
    def detach(self, container_id: str, *, alive: bool) -> None: ...


class Host:
    """What a start needs of the host, handed in."""

    __slots__ = (
        "apply_limits", "create_cgroup", "files", "keep", "label", "launcher", "layers", "may_limit_late", "network",
        "open_rootfs", "release_limits", "rights", "seccomp", "volumes",
    )  # fmt: skip

    def __init__(
        self,
        *,
        launcher: Launcher,
        network: Network | None,
        create_cgroup: Callable[[], Cgroup],
        apply_limits: Callable[[Cgroup], None],
        release_limits: Callable[[Cgroup], None],
        files: planner.Files,
        layers: tuple[str, ...],
        open_rootfs: Callable[[], int],
        rights: Rights,
        seccomp: tuple[int, bytes] | None,
        label: Label | None,
        volumes: dict[str, tuple[str, Callable[[], int]]],
        may_limit_late: bool = False,
        keep: Callable[[], None] = lambda: None,
    ) -> None:
        """`network` is None for containers without one of their own; `open_rootfs` opens what holds upper and work.

        `volumes`: for each name its place, and what opens a detached mount of it. `keep` writes the records of a
        container that has none yet. `may_limit_late`: there may be a process, which is not the program yet, before limits.
        """
        self.launcher, self.network = launcher, network
        self.create_cgroup, self.apply_limits, self.release_limits = create_cgroup, apply_limits, release_limits
        self.files, self.layers, self.open_rootfs, self.volumes = files, layers, open_rootfs, volumes
        self.rights, self.seccomp, self.label, self.keep = rights, seccomp, label, keep
        self.may_limit_late = may_limit_late


class Run:
    """What a started container leaves with its supervisor: descriptors that outlive the monitor."""

    __slots__ = ("cgroup", "netns_fd", "pid", "pidfd", "root_fd", "streams")

    def __init__(
        self,
        cgroup: Cgroup,
        pid: int,
        pidfd: int,
        streams: list[tuple[int, int]],
        root_fd: int = -1,
        netns_fd: int = -1,
    ) -> None:
        """`streams` are (descriptor, kind): another monitor reads from there. `root_fd` is the root as we made it, -1 where
        another supervisor did. `netns_fd` keeps its links until their bytes have been counted; -1 if it has none of ours."""
        self.cgroup, self.pid, self.pidfd, self.streams = cgroup, pid, pidfd, streams
        self.root_fd, self.netns_fd = root_fd, netns_fd

    def close(self) -> None:
        held = [fd for fd in (self.root_fd, self.netns_fd) if fd >= 0]
        for fd in (self.pidfd, *(fd for fd, _ in self.streams), *held):
            os.close(fd)
        self.pidfd = self.root_fd = self.netns_fd = -1  # who still has us must not meet another file
        self.streams = []


class Streams:
    """The standard streams of a container: the inner ends go in, the outer ends to the pump."""

    __slots__ = ("inner", "input_fd", "outer")

    def __init__(self, *, with_input: bool, tty: bool) -> None:
        self.inner: list[int] = []
        self.outer: list[tuple[int, int]] = []
        self.input_fd = -1
        try:
            self._open(with_input=with_input, tty=tty)
        except OSError:
            self.close()
            raise

    def _open(self, *, with_input: bool, tty: bool) -> None:
        if with_input and not tty:
            read_fd, self.input_fd = os.pipe2(os.O_CLOEXEC)
        else:
            read_fd = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        self.inner.append(read_fd)
        for kind in (STDOUT, STDERR):
            if tty:  # the console is opened inside; until then, nothing
                self.inner.append(os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC))
                continue
            read_end, write_end = os.pipe2(os.O_CLOEXEC)
            self.inner.append(write_end)
            self.outer.append((read_end, kind))

    def outer_fds(self) -> list[int]:
        return [fd for fd, _ in self.outer]

    def close_inner(self) -> None:
        for fd in self.inner:
            os.close(fd)
        self.inner = []

    def close(self) -> None:
        self.close_inner()
        for fd, _ in self.outer:
            os.close(fd)
        self.outer = []
        if self.input_fd >= 0:
            os.close(self.input_fd)
            self.input_fd = -1


def open_doors(cgroup: Cgroup, opened: contextlib.ExitStack, *, beside: int, is_judged: bool) -> list[int]:
    """Open the ways by which a child moves itself into its cgroup; they are closed with `opened`.

    `move_in` copes without: none are opened if there is no room for them `beside` so many descriptors of the message, or if
    `check_room` is going to judge and little room is left. It judges one after the other, but they come in together, and
    each would be refused for the other's sake.
    """
    paths = cgroup.doors()
    if beside + len(paths) > MAX_MESSAGE_FDS or is_judged and cgroup.crowd(arrived=-_AT_ONCE):
        return []
    doors = []
    for path in paths:
        doors.append(os.open(path, os.O_WRONLY | os.O_CLOEXEC))
        opened.callback(os.close, doors[-1])
    return doors


def move_in(cgroup: Cgroup, pid: int, *, beside: int = 0) -> None:
    """See to it that a child is in its cgroup: it has moved in long ago, or could not, or its monitor knows no doors."""
    if not cgroup.holds(pid):
        cgroup.attach(pid, beside=beside)


@contextlib.contextmanager
def alive(action: str) -> Iterator[None]:
    """Turn what the files of a cgroup say of a process or a cgroup that is gone into StartFailed."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENODEV, errno.ESRCH):
            raise
        raise StartFailed(f"{action}: it was killed before it began, or the container ended", step="cgroup") from error


def check_room(cgroup: Cgroup, action: str, *, arrived: int = 0) -> None:
    """Raise StartFailed if a limit on processes leaves no room for one more."""
    if crowd := cgroup.crowd(arrived=arrived):
        raise StartFailed(
            f"{action}: {crowd}",
            hint="end some of them, or raise the limit: pycontainer set, pycontainer tenant set",
            step="limits",
            errno=errno.EAGAIN,
        )


def own_pipes(fds: Sequence[int], uid: int) -> None:
    """Give pipes (by either end) to the program's user, or /dev/stdout could not be opened again inside."""
    for fd in fds:
        if fd >= 0 and stat.S_ISFIFO(os.fstat(fd).st_mode):
            os.fchown(fd, uid, uid)


async def start(
    container: Container,
    host: Host,
    *,
    window: tuple[int, int] | None = None,
    attached: socket.socket | None = None,
) -> Run:
    """Start `container` and return once its program has been executed.

    `attached` is a client's socket that sees the output from the first byte; it stays the caller's.
    Raises StartFailed (exit 126, 127 for the program itself), InvalidInput for an unknown user.
    """
    spec = container.spec
    config = container.image.config if container.image else {}
    action = f"cannot start '{spec.name}'"
    planner.command_line(spec, config)  # no program: said before anything is made
    async with contextlib.AsyncExitStack() as undo:
        cgroup = host.create_cgroup()
        undo.callback(cgroup.delete)
        undo.callback(host.release_limits, cgroup)
        reach("start:cgroup")
        half = _Half(container, host, cgroup)
        if not host.may_limit_late:
            half.limit()
        if spec.tenant:  # its own cgroup is empty, and takes one process
            check_room(cgroup, action)
        delegated = cgroup.delegate(container.base) if spec.profile == "system" else ""
        if spec.profile == "system" and not delegated:
            container.warnings = [*container.warnings, _NO_TREE]
        plan = planner.plan_mounts(
            spec,
            rootfs_dir=f"{container.directory}/rootfs",
            layers=host.layers,
            volumes={name: place for name, (place, _) in host.volumes.items()},
            files=host.files,
            rights=host.rights,
            cgroup_dirs=[("", delegated)] if delegated else cgroup.mount_sources(),
            cgroup_writable=bool(delegated),
        )
        streams = Streams(with_input=spec.stdin_open, tty=spec.tty)
        undo.callback(streams.close)
        with contextlib.ExitStack() as sent:  # descriptors only the messages need
            memfd = new_memfd()
            undo.callback(os.close, memfd)
            fds = [*streams.inner, memfd]
            cgroup_fd = cgroup.dirfd()
            at_clone = cgroup_fd is not None
            if cgroup_fd is not None:
                sent.callback(os.close, cgroup_fd)
                fds.append(cgroup_fd)
            doors = open_doors(cgroup, sent, beside=len(fds), is_judged=bool(spec.tenant))
            if host.network is not None:
                undo.callback(host.network.detach, container.id, alive=False)
            birth = await host.launcher.birth(
                {
                    "op": "birth",
                    "id": container.id,
                    "kind": "init",
                    "flags": planner.clone_flags(spec),
                    "base": container.base,
                    "stdio": [0, 1, 2],
                    "program": 3,
                    "cgroup": 4 if at_clone else -1,
                    "doors": [len(fds) + position for position in range(len(doors))],
                    "join": -1,
                    "lingers": may_linger(spec),
                    "label": host.label is not None,
                },
                [*fds, *doors],
                action=action,
                mounts=lambda: _mounts(plan, container, host, sent),
                meanwhile=half.prepare,
            )
        undo.push_async_callback(birth.abort)  # awaits its end: only then the cgroup can go
        streams.close_inner()
        reach("start:born")
        half.limit()
        try:
            netns_fd = -1
            if host.network is not None:
                netns_fd = _attach_network(container.id, action, host.network, birth, undo)
            elif "host" not in spec.networks:
                with visiting(birth.pidfd, CLONE_NEWNET):
                    set_loopback_up()
            reach("start:network")
        except (OSError, PycontainerError):
            os.close(await birth.ready())  # if the child is gone, this raises why: that is the reason to tell
            raise
        half.expect(birth)
        root_fd = await birth.ready()
        reach("start:ready")
        try:
            if not at_clone:
                with alive(action), span("cgroups of v1"):
                    move_in(cgroup, birth.pid)
                    if spec.tenant:
                        check_room(cgroup, action, arrived=1)
            if spec.sysctls:
                write_sysctls(birth.pidfd, spec.sysctls, container.base)
            user = half.resolve(root_fd)
            own_pipes([*streams.outer_fds(), streams.input_fd], container.base + user.uid)
            console, pty_fd, slave_fd = _open_console(spec.tty, root_fd, container.base, window)
        except BaseException:
            os.close(root_fd)
            raise
        undo.callback(os.close, root_fd)
        if pty_fd >= 0:
            undo.callback(os.close, slave_fd)
            streams.outer = [(pty_fd, STDOUT)]
            streams.input_fd = os.dup(pty_fd)
        half.plan(birth, user, console)
        write_program(memfd, half.image)
        container.pid, container.start_ticks = birth.pid, start_time_ticks(birth.pid)
        container.started, container.finished, container.exit_code, container.oom_killed = now(), None, None, False
        container.finished_uptime = None
        container.label = list(host.label) if host.label else []
        container.save_run()
        undo.callback(container.forget_run)
        reach("start:noted")
        report = await birth.release(
            streams=streams.outer,
            input_fd=streams.input_fd,
            tty=spec.tty,
            attached=attached,
            meanwhile=host.keep,
        )
        reach("start:released")
        if report:
            raise failure(action, half.table, half.rows_at, report)
        undo.pop_all()
    os.close(memfd)
    if slave_fd >= 0:
        os.close(slave_fd)
    if streams.input_fd >= 0:
        os.close(streams.input_fd)
    return Run(cgroup, birth.pid, birth.pidfd, streams.outer, root_fd, netns_fd)


class _Half:
    """Our half of a start, as far as it can be done beside the monitor's: limits, walls, the table of the child.

    What fails while the kernel clones is tried again by who needs it, and says why.
    """

    __slots__ = (
        "_asked_user", "_cgroup", "_container", "_host", "_image", "_is_limited", "_is_watched", "_user", "image",
        "rows_at", "table",
    )  # fmt: skip

    def __init__(self, container: Container, host: Host, cgroup: Cgroup) -> None:
        self._container, self._host, self._cgroup = container, host, cgroup
        self._is_limited = False
        config = container.image.config if container.image else {}
        self._asked_user = container.spec.user or str(config.get("user") or "")
        self._image = container.image.id if container.image else container.spec.rootfs
        self._user: users.User | None = None
        self._is_watched = False

    def limit(self) -> None:
        """Set and prove all limits, once."""
        if not self._is_limited:
            self._host.apply_limits(self._cgroup)
            self._is_limited = True
            reach("start:limits")

    def prepare(self, birth: Birth) -> None:
        """Do what needs nothing of the child."""
        with contextlib.suppress(OSError, PycontainerError):
            self.limit()
            if self._host.network is not None:
                self._host.network.expect(self._container.id)
            self.expect(birth)

    def resolve(self, root_fd: int) -> users.User:
        """Return the user, by what is beneath the new root."""
        user = users.resolve(root_fd, self._asked_user)
        users.note(self._image, self._asked_user, user)
        return user

    def expect(self, birth: Birth) -> None:
        """Build the table for who it was the last time, before it is known."""
        if not self._container.spec.tty and (likely := users.likely(self._image, self._asked_user)) is not None:
            self.plan(birth, likely)

    def plan(self, birth: Birth, user: users.User, console: str = "") -> None:
        """Build the table, unless it has been for this very user."""
        if user.is_same(self._user) and self._is_watched == birth.is_watched:
            return
        spec, host, is_watched = self._container.spec, self._host, birth.is_watched
        self.table = planner.plan_init(
            spec,
            self._container.image.config if self._container.image else {},
            name=spec.name,
            user=user,
            rights=host.rights,
            seccomp=host.seccomp,
            label=host.label.written(at_once=spec.init) if host.label else None,
            console=console,
            container_id=self._container.id,
        )
        if is_watched:
            birth.watch(self.table)
        self.image, self.rows_at = build(self.table, MACHINE)
        self._user, self._is_watched = user, is_watched


def failure(action: str, table: Table, rows_at: int, report: bytes) -> StartFailed:
    """Turn the report of a child into words for people; `action` says what could not be done."""
    assert table.report_fd == REPORT_FD
    failed = read_report(report, describe_rows(table), rows_at)
    text = os.strerror(failed.errno)
    code = errno.errorcode.get(failed.errno, str(failed.errno))
    hint = ""
    if failed.step == "execve":
        program = (
            failed.path if "/" in table.rows[-1].path and len(_attempts(table)) == 1 else os.path.basename(failed.path)
        )
        if failed.errno in (errno.ENOENT, errno.ENOTDIR):
            message = f"{action}: executable '{program}' not found"
            hint = "give a path that exists inside, or check PATH; a script's interpreter (#!) must exist as well"
        elif failed.errno == errno.EACCES:
            message = f"{action}: '{failed.path}' is not executable: {text} ({code})"
            hint = "set its execute permission in the image, or run it through its interpreter"
        elif failed.errno == errno.ENOEXEC:
            message = f"{action}: '{failed.path}' is not a program of this machine: {text} ({code})"
            hint = f"the image must be made for {MACHINE}, and a script must begin with #!"
        else:
            message = f"{action}: execute '{failed.path}': {text} ({code})"
    else:
        what = f"{failed.step} '{failed.path}'" if failed.path else failed.step
        message = f"{action}: {what}: {text} ({code})"
        if failed.step == "label":
            hint = "somebody unloaded the profile, or the policy of this host forbids it; 'pycontainer check' says more"
        if failed.step == "ulimit":
            hint = "the limit is above what this host allows its root; lower it"
    return StartFailed(message, hint=hint, step=failed.step, errno=failed.errno)


def _attempts(table: Table) -> list[str]:
    return [row.path for row in table.rows if row.step == "execve"]


def _mounts(
    plan: planner.Plan, container: Container, host: Host, sent: contextlib.ExitStack
) -> tuple[dict[str, object], list[int]]:
    """Return what the monitor is told of the mounts, and the trees for them, which are closed with `sent`."""
    openers = {f"{container.directory}/rootfs": host.open_rootfs, **dict(host.volumes.values())}
    trees = _open_trees(plan, sent, openers, {m.source for m in container.spec.mounts if m.type == "bind"})
    reach("start:trees")
    label = host.label.files if host.label else ""
    return {"base": container.base, "steps": plan.steps, "file_label": label}, trees


def _open_trees(
    plan: planner.Plan, undo: contextlib.ExitStack, openers: dict[str, Callable[[], int]], binds: set[str]
) -> list[int]:
    """Open the plan's trees: those that have an opener by that, `binds` of the user's along a way that nobody can bend."""
    fds = []
    for tree in plan.trees:
        try:
            if tree.path in openers:
                fd = openers[tree.path]()
            elif tree.path in binds:
                fd = _open_bind(tree)
            elif tree.is_layer:
                fd = open_layer(tree.path)
            else:
                fd = clone_tree(tree.path, recursive=tree.recursive)
        except FileNotFoundError as error:
            if tree.is_layer:
                raise InvalidState(
                    f"a layer beneath the container, '{tree.path}', is gone", hint="bring its image in again"
                ) from error
            raise InvalidInput(f"mount source '{tree.path}' does not exist", field="volumes") from error
        undo.callback(os.close, fd)
        fds.append(fd)
    return fds


def _open_bind(tree: planner.Tree) -> int:
    source_fd = open_source(tree.path)
    try:
        return clone_tree("", dirfd=source_fd, recursive=tree.recursive)
    finally:
        os.close(source_fd)


def _attach_network(
    container_id: str, action: str, network: Network, birth: Birth, undo: contextlib.AsyncExitStack
) -> int:
    """Return the namespace that the links are in, for the run to keep."""
    netns_fd = _open_netns(birth, action)
    undo.callback(os.close, netns_fd)
    try:
        network.attach(container_id, netns_fd)
        undo.callback(network.detach, container_id, alive=False)  # before its process ends
    except OSError as error:
        raise StartFailed(
            f"{action}: network: {error.strerror or error}", step="network", errno=error.errno or 0
        ) from error
    return netns_fd


def _open_netns(birth: Birth, action: str) -> int:
    """Return the child's network namespace; StartFailed if it has ended, and its number may be somebody else's."""
    with contextlib.ExitStack() as undo:
        try:
            netns_fd = os.open(f"/proc/{birth.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            undo.callback(os.close, netns_fd)
            signal.pidfd_send_signal(birth.pidfd, 0)
        except (FileNotFoundError, ProcessLookupError):
            raise StartFailed(f"{action}: network: its process has ended", step="network") from None
        undo.pop_all()
    return netns_fd


def may_linger(spec: ContainerSpec) -> bool:
    """Tell whether mounts may outlive their container's end by a moment: it is to go then, and nothing that is somebody
    else's, who may wait for that end, is among them."""
    is_own = not spec.rootfs and all(mount.type == "tmpfs" for mount in spec.mounts)
    return spec.auto_remove and is_own and not spec.has_disk_cap and not spec.tenant


def _open_console(tty: bool, root_fd: int, base: int, window: tuple[int, int] | None) -> tuple[str, int, int]:
    """Open the container's first terminal; return its path inside, the master and the slave, ("", -1, -1) without one.

    The slave stays open until the child has opened its own: a master whose last slave was closed reads as ended.
    """
    if not tty:
        return "", -1, -1
    ptmx_fd = os.open("dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC, dir_fd=root_fd)
    try:
        number, slave_fd = open_pty(ptmx_fd, uid=base, gid=base + 5, window=window)
    except BaseException:
        os.close(ptmx_fd)
        raise
    return f"/dev/pts/{number}", ptmx_fd, slave_fd
