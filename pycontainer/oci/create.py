"""`create`: everything of a container but its program's first instruction.

    this process                                            the child
    config.json checked, id claimed
    mounts of our own, the root bound onto itself
    cgroup made
    clone3                                   ── birth ──▶   waits for a byte
    id maps, mounts, devices, console
    hooks: prestart, createRuntime, createContainer
    its table sealed into the memfd, state.json
    one byte                                 ── go ─────▶   copies the mounts, changes the root, confines itself
    pid file                                 ◀─ "P" ─────   parks at the FIFO `go`

What fails before "P" is told by us, and all that was made goes. Afterwards nothing of ours is left but ROOT/ID/: `start`
needs no more than its two FIFOs. The order of the child's half is in rows.py, of the mounts in mounting.py.
"""

import os

from pycontainer.errors import PycontainerError
from pycontainer.init.birth import CLONE_PARENT, Bearer
from pycontainer.init.procfs import ProcMaker
from pycontainer.init.sealed import build, new_memfd, write_program
from pycontainer.init.stage import Stage
from pycontainer.init.table import Table, describe_rows
from pycontainer.linux.capabilities import raise_effective
from pycontainer.linux.libc import MACHINE
from pycontainer.linux.mounts import MS_SHARED, MS_UNBINDABLE
from pycontainer.linux.namespaces import CLONE_NEWNS, Home, setns
from pycontainer.linux.process import set_fs_ids, start_time_ticks
from pycontainer.linux.tty import open_pty
from pycontainer.oci import (
    births,
    cgroups,
    config,
    console,
    hooks,
    mounting,
    reports,
    rows,
    scheduling,
    seccomp,
    started,
    text,
)
from pycontainer.oci.config_mounts import PROPAGATION
from pycontainer.oci.state import PARKED, State, let_go, write_whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pycontainer.oci.arguments import Options
    from pycontainer.oci.config import Config, Process


class Undo:
    """What has to be taken back, the last thing first, if the rest fails."""

    __slots__ = ("_steps",)

    def __init__(self) -> None:
        self._steps: list[Callable[[], object]] = []

    def add(self, step: "Callable[[], object]") -> None:
        self._steps.append(step)

    def run(self) -> bool:
        """Say whether nothing is left. The failure that brought us here is the one to tell, not one of these."""
        is_clean = True
        while self._steps:
            try:
                self._steps.pop()()
            except (OSError, PycontainerError):
                is_clean = False
        return is_clean


class Created:
    """What a foreground `run` goes on with; the descriptors are its own. `master_fd` is -1 without a terminal of ours."""

    __slots__ = ("master_fd", "pid", "pidfd", "state")

    def __init__(self, state: State, pidfd: int, master_fd: int) -> None:
        self.state, self.pid, self.pidfd, self.master_fd = state, state.pid, pidfd, master_fd


def create(options: "Options", *, detached: bool = True) -> None:
    """Create container `options.id` from bundle `options.bundle`. Raises PycontainerError or OSError, having left nothing."""
    made = create_here(options, detached=detached)
    os.close(made.pidfd)


def create_here(options: "Options", *, detached: bool) -> Created:
    """Do what `create` does, as the parent that stays. `detached`: a terminal goes to --console-socket."""
    started.check_preserved(options.preserve_fds)
    bundle = os.path.abspath(options.bundle or ".")
    for name in ("pid_file", "console_socket"):  # we go elsewhere
        if given := getattr(options, name):
            setattr(options, name, os.path.abspath(given))
    written = config.read(bundle)
    found = config.parse(text.loads(written, config.FILE), bundle)
    process = found.process
    console.check(process is not None and process.terminal, options.console_socket, detached=detached)
    state = State(
        options.root, options.id, bundle=bundle, rootfs=found.root_path, annotations=found.annotations,
        oci_version=found.oci_version,
    )  # fmt: skip
    if os.geteuid():
        from pycontainer.oci import rootless

        rootless.enter(found)
    if found.namespaces.get("user") and not found.uid_mappings and not found.gid_mappings:
        from pycontainer.oci import idmaps

        userns_fd = births.open_namespace(found.namespaces, "user")
        found.uid_mappings, found.gid_mappings = idmaps.of_namespace(userns_fd)
        os.close(userns_fd)
    if found.mount_label and not os.path.exists("/sys/fs/selinux/enforce"):
        found.mount_label = ""  # without SELinux file systems do not know the option
    undo = Undo()
    with State.claim(options.root, options.id):
        creation = _Creation(options, found, state, undo)
        try:
            # `start` and `exec` go by it, whatever becomes of the bundle
            write_whole(f"{state.directory}/config.json", written)
            creation.run()
        except BaseException:
            if undo.run():
                state.remove()
                creation.run_poststop()
            raise  # with a record left, `delete --force` goes on from there, hooks included
    return Created(state, creation.pidfd, creation.master_fd)


class _Creation:
    """One container on its way; each method is a step, in the order of `run`."""

    def __init__(self, options: "Options", found: "Config", state: State, undo: Undo) -> None:
        self._options, self._config, self._state, self._undo = options, found, state, undo
        self.pidfd = self.master_fd = self._outside_fd = -1
        self._is_hooked = False
        self._propagation = PROPAGATION.get(found.rootfs_propagation, 0)
        self._new = {kind for kind, path in found.namespaces.items() if not path}
        by_path = [kind for kind, path in found.namespaces.items() if path and kind != "mnt"]
        # With a shared root whatever is mounted anywhere on the way would be the host's too: a procfs is made, detached, by
        # a child that visits, as where there is no way back.
        self._returns = not self._propagation & MS_SHARED and births.can_return()
        # What we could not come back from is entered by somebody else, see sentbirth.py.
        self._sent_to = by_path if "user" in by_path or not self._returns and {*by_path} & {*births.BORN_IN} else []
        self._joined = [] if self._sent_to else [kind for kind in by_path if kind not in births.BORN_IN]
        self._places = rows.Places(options.preserve_fds, len(self._joined) + found.shares_mounts)
        self._root_id = mounting.outside(found.uid_mappings, 0)
        self._root_gid = mounting.outside(found.gid_mappings, 0)

    def run(self) -> None:
        config, options = self._config, self._options
        group = cgroups.make(
            config.cgroups_path,
            options.id,
            systemd=options.systemd_cgroup,
            resources=config.resources,
            rootless=lacks_host_root(options.rootless),
            annotations=config.annotations,
        )
        state = self._state
        state.cgroup = group.sought()
        state.config = {
            "joined": sum(births.NAMESPACES[kind] for kind in config.namespaces) | CLONE_NEWNS,
            "start_hooks": any(config.hooks[kind] for kind in ("startContainer", "poststart")),
            "executes": config.process is not None,
            # Its root is not that of its mount namespace, which who joins that one would be in.
            "chroots": config.shares_mounts or bool(config.namespaces.get("mnt")),
            # Of that name each further process has a new one as well; empty, all have their caller's.
            "keyring": "" if options.no_new_keyring else f"_ses.{options.id}",
        }
        state.hooks_poststop = [hooks.record(hook) for hook in config.hooks["poststop"]]
        state.save()  # if we are killed from here on, `delete` knows what there is
        report_read_fd, report_fd, go_fd = self._make_fifos()
        home = Home(sum(births.NAMESPACES[kind] for kind in births.BORN_IN), returns=self._returns)
        memfd = self._high(new_memfd())
        bearer = Bearer(MACHINE)
        self._outside_fd = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        group.create()  # refused, it leaves what it found, such as the cgroup of another container
        self._undo.add(group.delete)
        state.cgroup = group.record()  # now it is ours, and who lives in it
        state.save()
        group.apply(config.resources)
        # Before we go into the mounts of somebody else, where a cgroup's path may be anything.
        entrance = group.entrance(self._high, is_born=not self._sent_to)
        root_fd = self._enter_mounts()
        release_fd = self._bear(bearer, home, entrance, memfd, report_fd, go_fd)
        if not entrance.doors or (config.process is not None and config.process.scheduler is not None):
            group.see_in(state.pid, entrance)  # before it has a scheduler that is refused to who comes from elsewhere
        if config.process is not None:
            scheduling.apply(state.pid, config.process)
        if config.intel_rdt is not None:
            from pycontainer.oci import resctrl

            if made := resctrl.join(config.intel_rdt, options.id, state.pid):
                self._undo.add(lambda: resctrl.leave(made))
                state.config["resctrl"] = made
                state.save()
        userns_fd = os.open(f"/proc/{state.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        stage = Stage(
            state.directory,
            base=self._root_id,
            fds=[],
            child_pid=state.pid,
            child_pidfd=self.pidfd,
            userns_fd=userns_fd,
            file_label=config.mount_label,
            home=home,
            proc_maker=ProcMaker(bearer),
        )
        stage.root_fd = root_fd
        terminal = self._make_mounts(stage, group)
        if entrance.doors:  # it has been on its way all the time
            group.see_in(state.pid, entrance)
        entrance.close()
        told = state.describe("created")
        self._is_hooked = True
        for kind in ("prestart", "createRuntime"):
            hooks.run(config.hooks[kind], told, where=kind, enter=self._go_outside)
        if create_container := config.hooks["createContainer"]:
            enter = hooks.joining(self.pidfd, self._entered())
            hooks.run(create_container, hooks.seen_inside(told), where="createContainer", enter=enter)
        table = self._table(root_fd, terminal)
        image, rows_at = build(table, MACHINE)
        write_program(memfd, image)
        let_go(release_fd)
        os.close(release_fd)
        reports.keep(state, table, rows_at)  # while the child is on its way
        self._await_parked(report_read_fd, report_fd, table, rows_at)
        if options.pid_file:
            started.write_pid_file(options.pid_file, state.pid)

    def run_poststop(self) -> None:
        """After a failure: what the engine's hooks made, its others take away."""
        if self._is_hooked and self._state.hooks_poststop:
            from pycontainer.oci.verbs.delete import run_poststop

            self._go_outside()
            run_poststop(self._state)

    def _go_outside(self) -> None:
        """Go back to the caller's mounts: what a hook mounts there is to stay."""
        setns(self._outside_fd, CLONE_NEWNS)

    # -- steps -----------------------------------------------------------------------------------------------------

    def _enter_mounts(self) -> int:
        """Go into mounts of our own, or into those that the container joins, and bind its root there; return it."""
        config = self._config
        joined_fd = births.open_namespace(config.namespaces, "mnt") if self._joins_mounts() else -1
        mounting.own_mount_namespace(self._propagation, joined_fd, must_be_same=self._state.directory)
        return mounting.bind_root(config.root_path, is_private=not self._propagation & MS_SHARED)

    def _joins_mounts(self) -> bool:
        """Say whether the container's mounts are somebody else's, and not those of our caller."""
        return bool(self._config.namespaces.get("mnt")) and not self._config.shares_mounts

    def _make_fifos(self) -> tuple[int, int, int]:
        """Return the reader of the report, the child's writer, and the child's end of `go`, which sees no end of file."""
        go_path, report_path = self._state.go_path, self._state.report_path
        for path in (go_path, report_path):
            os.mkfifo(path, 0o600)
        read_fd = os.open(report_path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        os.set_blocking(read_fd, True)
        write_fd = os.open(report_path, os.O_WRONLY | os.O_CLOEXEC)
        go_fd = os.open(go_path, os.O_RDWR | os.O_CLOEXEC)
        return self._high(read_fd), self._high(write_fd), self._high(go_fd)

    def _high(self, fd: int) -> int:
        return started.high(fd, self._places)

    def _bear(
        self, bearer: Bearer, home: Home, entrance: "cgroups.Entrance", memfd: int, report_fd: int, go_fd: int
    ) -> int:
        """Clone the child, waiting; return the descriptor whose one byte lets it go on."""
        config, places = self._config, self._places
        go_read_fd, go_write_fd = map(self._high, os.pipe2(os.O_CLOEXEC))
        moves = [(go_fd, places.go)]
        if self._label():
            moves.append((self._high(os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)), places.label))
        for kind, number in zip(self._joined, places.namespaces, strict=False):
            moves.append((self._high(births.open_namespace(config.namespaces, kind)), number))
        if config.shares_mounts:
            moves.append((self._high(os.dup(self._outside_fd)), places.namespaces[-1]))
        table = rows.bridge(
            places,
            go_read_fd=go_read_fd,
            go_write_fd=go_write_fd,
            report_fd=report_fd,
            program_fd=memfd if bearer.runs_programs() else -1,
            moves=moves,
            becomes_root="user" in config.namespaces,
            doors=entrance.doors,
        )
        flags = sum(births.NAMESPACES[kind] for kind in births.AT_CLONE if kind in self._new)

        def bear(flags: int, cgroup_fd: int) -> tuple[int, int]:
            return bearer.bear(table, flags=flags, cgroup_fd=cgroup_fd, program_fd=memfd, owner=0)

        with births.Times(config.time_offsets if "time" in self._new else None):
            if self._sent_to:
                from pycontainer.oci import sentbirth

                # Who may not read its program cannot trace it either: in a pod others are root where it is. ptrace(2)
                os.fchmod(memfd, 0o111)
                entered = [
                    (births.open_namespace(config.namespaces, kind), births.NAMESPACES[kind]) for kind in self._sent_to
                ]
                pid, self.pidfd = sentbirth.bear(entered, lambda: bear(flags | CLONE_PARENT, -1)[0])
            else:
                with births.Elsewhere(home, config.namespaces):
                    pid, self.pidfd = entrance.bear(lambda cgroup_fd: bear(flags, cgroup_fd))
        self._state.pid, self._state.start_ticks = pid, start_time_ticks(pid)
        self._undo.add(lambda: started.end(self.pidfd, pid))
        self._state.save()  # and from here on, whom to kill
        os.close(go_read_fd)
        if "user" in self._new:
            from pycontainer.oci import idmaps

            idmaps.write(pid, config.uid_mappings, config.gid_mappings)
        return go_write_fd

    def _make_mounts(self, stage: Stage, group: "cgroups.Group") -> str:
        """Make all mounts, the console and the sysctls; return the path of the terminal inside, or nothing."""
        config, process = self._config, self._config.process
        if "net" in self._new:
            births.bring_loopback_up(stage)
        if config.net_devices:
            from pycontainer.oci import netdevices

            netdevices.move(config.net_devices, self.pidfd, stage.home, self._undo.add)
        set_fs_ids(self._root_id, self._root_gid)
        raise_effective()
        terminal = ""
        try:
            making = mounting.Mounting(config, stage, group, binds_nodes="user" in config.namespaces)
            making.make()
            if process is not None and process.terminal:
                terminal = self._open_console(stage, making, process)
            if process is not None:
                os.close(mounting.directory_inside(stage.root_fd, process.cwd))  # made if it is missing, as runc does
        finally:
            set_fs_ids(0, 0)
            raise_effective()
        if config.sysctl:
            from pycontainer.oci import sysctls

            sysctls.write(self.pidfd, config.sysctl, returns=stage.home.returns)
        making.finish()
        return terminal

    def _open_console(self, stage: Stage, making: mounting.Mounting, process: "Process") -> str:
        """Open the first terminal of the container's own devpts, hand its master to the caller; return its path inside."""
        ptmx_fd = console.open_master(stage.root_fd)
        try:
            # The slave stays open until the child has opened its own: a master whose last slave closed reads as ended.
            owner, window = mounting.outside(self._config.uid_mappings, process.uid), process.console_size
            if window is None and not self._options.console_socket and os.isatty(0):  # ours will be connected with it
                columns, lines = os.get_terminal_size(0)
                window = lines, columns
            number, slave_fd = open_pty(ptmx_fd, uid=owner, window=window)
            making.console(slave_fd)
            if self._options.console_socket:
                console.send(self._options.console_socket, ptmx_fd, f"/dev/pts/{number}")
            else:
                self.master_fd = os.dup(ptmx_fd)
        finally:
            os.close(ptmx_fd)
        return f"/dev/pts/{number}"

    def _entered(self) -> int:
        """Return the namespaces of the child that a hook in the container enters; the mounts are ours, which it will copy."""
        return sum(births.NAMESPACES[kind] for kind in births.BORN_IN if kind in self._config.namespaces)

    def _label(self) -> tuple[str, bytes] | None:
        process = self._config.process
        return started.process_label(process) if process is not None else None

    def _table(self, root_fd: int, terminal: str) -> Table:
        """Return the child's program, from the namespaces to the execve."""
        config, places, process = self._config, self._places, self._config.process
        table = Table(places.report)
        label = self._label()
        slot = rows.open_label(table, places, label[0]) if label else None
        rows.hide(table)
        rows.name_it(table, config.hostname, config.domainname)  # not a right of a user namespace that is joined
        rows.join_namespaces(table, places, [births.NAMESPACES[kind] for kind in self._joined])
        if config.shares_mounts:
            rows.callers_mounts(table, places, places.namespaces[-1])
        elif config.namespaces.get("mnt"):
            rows.change_root(table)
        else:
            left = mounting.full_views(config.root_path) if self._options.no_pivot else None
            rows.own_mounts(table, places, left=left, covers=not self._returns or "user" in config.namespaces)
        if "cgroup" in self._new:
            rows.own_cgroups(table)
        if self._propagation:
            rows.propagate(table, "/", self._propagation)
        for mount in config.mounts:  # a copy leaves out what is unbindable, so it becomes that after the copy
            for flags in mount.propagation:
                if flags & MS_UNBINDABLE:
                    rows.propagate(table, mount.destination, flags)
        if process is None:
            rows.park_for_ever(table, places)
            return table
        rows.finish(
            table,
            places,
            rows.Finish(
                process,
                executables=started.executables(root_fd, process),
                seccomp=seccomp.loadable(config.seccomp, process),
                label=(slot, label[1]) if slot and label else None,
                keyring=str(self._state.config["keyring"]),
                console=terminal,
                streams=[] if process.terminal else started.streams_to_give((0, 1, 2)),
            ),
            parks=True,
            personality=config.personality,
        )
        return table

    def _await_parked(self, read_fd: int, write_fd: int, table: Table, rows_at: int) -> None:
        os.close(write_fd)  # the child alone holds it from here: end of file is its death
        report = reports.read(read_fd, self._hand_over_listener)
        if report != PARKED:
            raise reports.failure(describe_rows(table), rows_at, report)

    def _hand_over_listener(self) -> None:
        assert self._config.seccomp is not None
        told = self._state.describe("created")
        seccomp.hand_over(self._config.seccomp, self.pidfd, self._places.listener, told, self._state.pid)


def lacks_host_root(asked: "str | bool") -> bool:
    """Say whether cgroups that we may not make are to be done without: as asked, or if our root is not the host's."""
    if str(asked) in ("true", "false"):
        return str(asked) == "true"
    if os.geteuid():
        return True
    from pycontainer.oci.main import in_user_namespace

    return in_user_namespace()
