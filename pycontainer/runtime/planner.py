"""Spec and facts in, plan out: pure, so that it can be printed, compared in tests and run by anyone.

A plan has the parent's half (steps, see init/steps.py, over prepared trees that are named here by host path and opened by
whoever runs the plan) and, once the root exists and the user is known, the child's half (a table, see init/child.py).
The order of both lists is the design; each line below says what must come before it.
"""

import os.path
import signal
from collections.abc import Sequence

from pycontainer.errors import InvalidInput
from pycontainer.init import child
from pycontainer.init.child import REPORT_FD, Finish
from pycontainer.init.table import Table
from pycontainer.linux.capabilities import NAMES, mask
from pycontainer.linux.namespaces import (
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWPID,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
)
from pycontainer.runtime.users import User
from pycontainer.security.profile import Rights
from pycontainer.spec.model import ContainerSpec
from pycontainer.spec.signals import signal_number

NOTIFY_SOCKET = "/dev/pycontainer/notify"
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_RLIMITS = {
    "cpu": 0,
    "fsize": 1,
    "data": 2,
    "stack": 3,
    "core": 4,
    "rss": 5,
    "nproc": 6,
    "nofile": 7,
    "memlock": 8,
    "as": 9,
    "locks": 10,
    "sigpending": 11,
    "msgqueue": 12,
    "nice": 13,
    "rtprio": 14,
    "rttime": 15,
}
_INFINITY = (1 << 64) - 1
_INIT, _INITS = "/sbin/init", ("init", "systemd")
# To systemd: halt; it would take SIGTERM for the wish to start itself again. systemd(1). To busybox: power off.
_SHUT_DOWN = {"systemd": signal.SIGRTMIN + 3, "busybox": signal.SIGUSR2}
_SYSTEM_TMPFS = (("/run", (64 << 20, "755", False)), ("/run/lock", (5 << 20, "1777", False)))
# Where systemd cannot make a user namespace it does not start a service that asks for one, instead of starting it without.
# Settings for all services are the weakest there are: what is set for one of them, inside, wins. systemd.unit(5)
_DROP_IN = "/run/systemd/system/service.d/50-pycontainer.conf"
_DROP_IN_TEXT = "# By pycontainer: there are no user namespaces in here.\n[Service]\nPrivateUsers=no\n"
_ETC_FILES = ("/etc/resolv.conf", "/etc/hostname", "/etc/hosts")
_PING_SYSCTL = "net.ipv4.ping_group_range"


class Tree:
    """A mount the parent clones from a host path before the birth; steps refer to it by its index."""

    __slots__ = ("is_layer", "path", "recursive")

    def __init__(self, path: str, *, recursive: bool = False, is_layer: bool = False) -> None:
        self.path, self.recursive, self.is_layer = path, recursive, is_layer


class Plan:
    """The parent's half of a start."""

    __slots__ = ("steps", "trees")

    def __init__(self) -> None:
        self.trees: list[Tree] = []
        self.steps: list[list[object]] = []

    def tree(self, path: str, *, recursive: bool = False, is_layer: bool = False) -> int:
        """Add a tree and return its index; a layer may be the file of a file system instead (store/fsimages.py)."""
        self.trees.append(Tree(path, recursive=recursive, is_layer=is_layer))
        return len(self.trees) - 1

    def step(self, name: str, *arguments: object) -> None:
        self.steps.append([name, *arguments])

    def describe(self) -> list[str]:
        """Return one line per tree and step, for --debug."""
        lines = [f"tree {number}: {tree.path}" for number, tree in enumerate(self.trees)]
        return lines + [f"{name} {' '.join(str(a) for a in arguments)}".rstrip() for name, *arguments in self.steps]


class Files:
    """Host files that stand in for some of the container's: absolute paths, empty when not wanted."""

    __slots__ = ("hostname", "hosts", "is_mapped", "notify_dir", "resolv_conf", "view")

    def __init__(
        self,
        *,
        hosts: str,
        resolv_conf: str,
        hostname: str,
        view: Sequence[tuple[str, str]] = (),
        is_mapped: bool = True,
        notify_dir: str = "",
    ) -> None:
        """`view` are (path below /proc or /sys, file that stands in for it). `notify_dir` holds the socket for sd_notify.

        `is_mapped`: hostname and resolv_conf are root's, and are shown as those of root inside; else they are so on disk.
        """
        self.hosts, self.resolv_conf, self.hostname, self.view = hosts, resolv_conf, hostname, view
        self.is_mapped, self.notify_dir = is_mapped, notify_dir


def clone_flags(spec: ContainerSpec) -> int:
    """Return the namespaces of the first process that come with the clone; the two others it makes itself (init/child.py)."""
    flags = CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC
    return flags if "host" in spec.networks else flags | CLONE_NEWNET


def plan_mounts(
    spec: ContainerSpec,
    *,
    rootfs_dir: str,
    layers: tuple[str, ...],
    volumes: dict[str, str],
    files: Files,
    rights: Rights,
    cgroup_dirs: list[tuple[str, str]],
    cgroup_writable: bool,
) -> Plan:
    """Return the parent's half.

    `layers` are absolute directories, lowest first, none where `upper` is the whole root; `rootfs_dir` holds upper and
    work; `volumes` maps a volume's name to its directory; `cgroup_dirs` are (name inside, host directory);
    `cgroup_writable` says that they were delegated.
    """
    plan = Plan()

    # The root first: everything else is attached inside it.
    if spec.rootfs and spec.rootfs_writable:
        plan.step("Tree", plan.tree(spec.rootfs), "t0", True)
        plan.step("Root", "t0", rights.no_new_privs)
    else:
        plan.step("Tree", plan.tree(rootfs_dir), "t0", True)
        lowers = []
        for number, layer in enumerate(reversed(layers), start=1):
            plan.step("Tree", plan.tree(layer, is_layer=True), f"t{number}", True)
            lowers.append(f"t{number}")
        if lowers:
            plan.step("Overlay", lowers, "t0/upper", "t0/work", rights.no_new_privs)
        else:
            plan.step("Root", "t0/upper", rights.no_new_privs)

    # /dev before what lies in it; proc and sys before the masks on them, these before anything of the user's.
    plan.step("Dev", spec.tty)
    plan.step("Devpts")
    plan.step("Tmpfs", "/dev/shm", spec.shm_bytes, "1777", False)
    plan.step("Kernel", "host" not in spec.networks and _PING_SYSCTL not in dict(spec.sysctls))
    for inside, path in files.view:
        plan.step("View", plan.tree(path), inside)
    if rights.read_only_paths:  # while nothing but our own procfs and sysfs lies there
        plan.step("ReadOnly", *rights.read_only_paths)
    if rights.writable_paths:
        plan.step("Writable", *rights.writable_paths)
    if rights.masked_paths:
        plan.step("Mask", *rights.masked_paths)
    if files.notify_dir:  # in our own /dev: nothing of it stays in the container's files
        plan.step("Bind", plan.tree(files.notify_dir), os.path.dirname(NOTIFY_SOCKET), True, False, False)
    if cgroup_dirs:
        plan.step("Cgroup", cgroup_writable, *[[plan.tree(path), name] for name, path in cgroup_dirs])

    taken = {mount.target for mount in spec.mounts}
    if spec.profile == "system":
        for target, options in _SYSTEM_TMPFS:
            if target not in taken:
                plan.step("Tmpfs", target, *options)
        if "/run" not in taken:
            plan.step("File", _DROP_IN, _DROP_IN_TEXT)

    # The user's mounts, parents before children.
    resolv_conf, hostname, hosts = _ETC_FILES
    for target, path in ((resolv_conf, files.resolv_conf), (hostname, files.hostname)):
        if path:
            plan.step("Bind", plan.tree(path), target, False, files.is_mapped, False)
    if files.hosts:
        plan.step("Bind", plan.tree(files.hosts), hosts, True, False, False)
    for mount in sorted(spec.mounts, key=lambda m: m.target.count("/")):
        if mount.type == "tmpfs":
            plan.step("Tmpfs", mount.target, mount.size_bytes, f"{mount.mode or 0o1777:o}", mount.exec_allowed)
        else:
            source = volumes[mount.source] if mount.type == "volume" else mount.source
            recursive = mount.type == "bind" and mount.recursive
            index = plan.tree(source, recursive=recursive)
            # A volume's files are the container's, so its ids are mapped; a bind mount's stay the host's, unless asked.
            plan.step("Bind", index, mount.target, mount.read_only, mount.type == "volume" or mount.idmap, recursive)
    for device in spec.devices:
        plan.step("Device", plan.tree(device.host_path), device.container_path)
    if spec.read_only:
        plan.step("RootReadOnly")
    return plan


def mount_points(spec: ContainerSpec) -> frozenset[str]:
    """Return the paths inside onto which `plan_mounts` may mount, so that they are made where the root has none."""
    made = {"/dev", "/proc", "/sys", *_ETC_FILES, *(mount.target for mount in spec.mounts)}
    made |= {device.container_path for device in spec.devices}
    return frozenset(made | ({target for target, _ in _SYSTEM_TMPFS} if spec.profile == "system" else set()))


def plan_init(
    spec: ContainerSpec,
    config: dict[str, object],
    *,
    name: str,
    user: User,
    rights: Rights,
    seccomp: tuple[int, bytes] | None,
    label: tuple[str, bytes] | None,
    console: str,
    container_id: str,
) -> Table:
    """Return the child's half of a start; `seccomp` is the compiled filter of `rights`, `label` (file, what is written)."""
    table = Table(REPORT_FD)
    label_slot = child.open_label(table, label[0]) if label else None  # before anything of the container is near
    child.lock_and_pivot(table, f"{container_id}/root")
    child.identity(table, spec.hostname or name, spec.domainname)
    argv = command_line(spec, config)
    said_at = [f"NOTIFY_SOCKET={NOTIFY_SOCKET}"] if spec.notify else []  # for the first process, not for what joins
    environment = build_environment(spec, config, user, hostname=spec.hostname or name, tty=spec.tty, extra=said_at)
    child.finish(
        table,
        Finish(
            argv=_encode(argv),
            executables=_executables(argv[0], environment),
            environment=_encode(environment),
            workdir=spec.workdir or _text(config, "workdir") or "/",
            uid=user.uid,
            gid=user.gid,
            groups=user.groups,
            capabilities=rights.capability_mask,
            no_new_privs=rights.no_new_privs,
            rlimits=rlimits(spec),
            seccomp=seccomp,
            label=(label_slot, label[1]) if label and label_slot else None,
            hides_abstract_sockets=rights.hides_abstract_sockets,
            tty=spec.tty,
            console=console,
            reaper=spec.init,
            make_workdir=True,
        ),
    )
    return table


def plan_exec(
    spec: ContainerSpec,
    config: dict[str, object],
    *,
    command: list[str],
    env: list[str],
    workdir: str,
    user: User,
    rights: Rights,
    seccomp: tuple[int, bytes] | None,
    label: tuple[str, bytes] | None,
    tty: bool,
    privileged: bool,
    name: str,
) -> Table:
    """Return the child's half of a process that joins a running container, with what the container may do.

    `privileged` adds all capabilities of its user namespace, and takes no other wall down.
    """
    table = Table(REPORT_FD)
    label_slot = child.open_label(table, label[0]) if label else None
    child.join(table)
    environment = build_environment(spec, config, user, hostname=spec.hostname or name, tty=tty, extra=env)
    child.finish(
        table,
        Finish(
            argv=_encode(command),
            executables=_executables(command[0], environment),
            environment=_encode(environment),
            workdir=workdir or spec.workdir or _text(config, "workdir") or "/",
            uid=user.uid,
            gid=user.gid,
            groups=user.groups,
            capabilities=mask(frozenset(NAMES)) if privileged else rights.capability_mask,
            no_new_privs=rights.no_new_privs,
            rlimits=rlimits(spec),
            seccomp=seccomp,
            label=(label_slot, label[1]) if label and label_slot else None,
            hides_abstract_sockets=rights.hides_abstract_sockets,
            tty=tty,
        ),
    )
    return table


def command_line(spec: ContainerSpec, config: dict[str, object]) -> list[str]:
    """Join entrypoint and command as Docker does: an own entrypoint drops the image's command.

    An instance of profile system for which nobody names a program boots.
    """
    if spec.entrypoint is not None:
        argv = [*spec.entrypoint, *spec.command]
    else:
        argv = [*_list(config, "entrypoint"), *(spec.command or _list(config, "cmd"))]
    if not argv and spec.profile == "system":
        argv = [_INIT]
    if argv and not argv[0]:
        raise InvalidInput(
            "the command's first word is empty", field="command", hint="name a program, or leave the word out"
        )
    if not argv:
        raise InvalidInput(
            "no command: neither the image nor the call names a program to run",
            field="command",
            hint="give one after the image, e.g. 'pycontainer run IMAGE /bin/sh'",
        )
    return argv


def build_environment(
    spec: ContainerSpec,
    config: dict[str, object],
    user: User,
    *,
    hostname: str,
    tty: bool,
    extra: list[str] | None = None,
) -> list[str]:
    """Return the environment: PATH, HOME, HOSTNAME, then the image's, the container's and the call's, later ones winning.

    Nothing of the caller's or the supervisor's own environment gets in.
    """
    values = {"PATH": DEFAULT_PATH, "HOSTNAME": hostname, "HOME": user.home}
    if spec.profile == "system":
        values["container"] = "pycontainer"  # by this an init knows where it is; systemd's CONTAINER_INTERFACE
    if tty:
        values["TERM"] = "xterm"
    for entry in _list(config, "env"):
        key, _, value = entry.partition("=")
        values[key] = value
    values.update(spec.env)
    for entry in extra or []:
        key, _, value = entry.partition("=")
        values[key] = value
    return [f"{key}={value}" for key, value in values.items()]


def stop_signal_number(spec: ContainerSpec, config: dict[str, object], program: str = "") -> int:
    """Return the signal `stop` sends: the container's, the image's, or SIGTERM; an init that boots a system takes another.

    `program` is the path of what the first process executes, which tells whose init it is.
    """
    name = spec.stop_signal or _text(config, "stop_signal")
    if not name:
        boots = spec.profile == "system" and os.path.basename(command_line(spec, config)[0]) in _INITS
        return _SHUT_DOWN.get(os.path.basename(program), _SHUT_DOWN["systemd"]) if boots else signal.SIGTERM
    return signal_number(name)


def rlimits(spec: ContainerSpec) -> list[tuple[int, int, int]]:
    """Return (resource, soft, hard) for prlimit(2); core dumps are off unless asked for."""
    limits = {"core": (0, 0)}
    for limit in spec.ulimits:
        soft = _INFINITY if limit.soft is None else limit.soft
        limits[limit.name] = (soft, _INFINITY if limit.hard is None else limit.hard)
    return [(_RLIMITS[name], soft, hard) for name, (soft, hard) in limits.items()]


def _executables(program: str, environment: list[str]) -> list[bytes]:
    """Return the paths to try, in order: the program itself if it has a slash, else along the container's PATH."""
    if "/" in program:
        return [os.fsencode(program)]
    path = next((entry[5:] for entry in environment if entry.startswith("PATH=")), DEFAULT_PATH)
    return [os.fsencode(os.path.join(directory or ".", program)) for directory in path.split(":")]


def _encode(texts: list[str]) -> list[bytes]:
    return [os.fsencode(text) for text in texts]


def _text(config: dict[str, object], key: str) -> str:
    value = config.get(key)
    return value if isinstance(value, str) else ""


def _list(config: dict[str, object], key: str) -> list[str]:
    value = config.get(key)
    return [str(entry) for entry in value] if isinstance(value, list) else []
