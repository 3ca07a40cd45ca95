"""The rows of the child's half, in the order that is the security.

A container's first process                       A process that joins (exec)
    bridge   die with the monitor until released      bridge   the same, but stays host root
    label    its file in our procfs opened            label    the same
    lock     unshare the mounts: they lock            join     non-dumpable, then all namespaces, root inside
    pivot    own root, old root gone                  ─
    identity hostname                                 ─
    finish   workdir made, rlimits, bounding set, ids, capabilities, no_new_privs, landlock, label, descriptors, cwd,
             seccomp, execve

`bridge` rows run in the forked copy of the monitor, all others in the sealed program. The child finds its descriptors at
numbers of their own (monitor/lending.py): GO_FD is where it waits, TOLD_FD where it says that it shares nothing any more,
STDIO_FDS become the standard streams, REPORT_FD is for failures, JOIN_FD the pidfd of the container that `join` enters,
PROC_FD the procfs of the monitor for a process that gets a label, PROGRAM_FD the sealed program.
"""

import struct

from pycontainer.init.table import MODE_EXACT, MODE_IGNORE, MODE_SEARCH, REAPER_NUMBER, Counted, Slot, Table
from pycontainer.init.table import call_by_name as _call
from pycontainer.linux.capabilities import NAMES, pack_sets
from pycontainer.linux.descriptors import CLOSE_RANGE_UNSHARE, LAST_FD
from pycontainer.linux.libc import syscall_number
from pycontainer.linux.mounts import (
    AT_EMPTY_PATH,
    AT_FDCWD,
    AT_RECURSIVE,
    MNT_DETACH,
    MOVE_MOUNT_F_EMPTY_PATH,
    OPEN_TREE_CLOEXEC,
    OPEN_TREE_CLONE,
)
from pycontainer.linux.namespaces import (
    CLONE_NEWCGROUP,
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
)
from pycontainer.linux.process import (
    PR_CAP_AMBIENT,
    PR_CAP_AMBIENT_CLEAR_ALL,
    PR_CAPBSET_DROP,
    PR_SET_DUMPABLE,
    PR_SET_NO_NEW_PRIVS,
    PR_SET_PDEATHSIG,
)

GO_FD, TOLD_FD = 0, 1
REPORT_FD = 3
JOIN_FD = 4
PROC_FD = 5
INHERITED_FDS = (REPORT_FD, JOIN_FD, PROC_FD)  # by the sealed program
STDIO_FDS = (6, 7, 8)
PROGRAM_FD = 9
FIRST_FREE_FD = 10  # the monitor keeps its own descriptors from here up
_SIGKILL = 9
_IGNORED = (1, 2, 13, 15, 25)  # SIGHUP SIGINT SIGPIPE SIGTERM SIGXFSZ
_SIG_SETMASK = 2
_RLIMIT_NOFILE = 7
_F_SETFD, _FD_CLOEXEC = 2, 1
_TIOCSCTTY = 0x540E
_O_WRONLY, _O_RDWR, _O_NOCTTY, _O_CLOEXEC = 1, 2, 0o400, 0o2000000
_SECCOMP_SET_MODE_FILTER = 1
_SOCK_FILTER_BYTES = 8
# struct landlock_ruleset_attr: no file access and no port is handled, so no rule is needed; only what is scoped.
_LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET = 1
_LANDLOCK_RULESET = struct.pack("<QQQ", 0, 0, _LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET)


class Finish:
    """What the last rows need: who the program is, what it may do, and what is executed."""

    __slots__ = (
        "argv",
        "capabilities",
        "console",
        "environment",
        "executables",
        "gid",
        "groups",
        "hides_abstract_sockets",
        "label",
        "make_workdir",
        "no_new_privs",
        "reaper",
        "rlimits",
        "seccomp",
        "tty",
        "uid",
        "umask",
        "workdir",
    )

    def __init__(
        self,
        *,
        argv: list[bytes],
        executables: list[bytes],
        environment: list[bytes],
        workdir: str,
        uid: int,
        gid: int,
        groups: list[int],
        capabilities: int,
        no_new_privs: bool,
        rlimits: list[tuple[int, int, int]],
        seccomp: tuple[int, bytes] | None = None,
        label: tuple[Slot, bytes] | None = None,
        hides_abstract_sockets: bool = False,
        tty: bool = False,
        console: str = "",
        reaper: bool = False,
        make_workdir: bool = False,
        umask: int = 0o022,
    ) -> None:
        """`executables` are the paths to try in order; `rlimits` (resource, soft, hard); `seccomp` (flags, compiled
        filter); `label` (what `open_label` returned, what is written there); `console` a path to open inside."""
        self.argv, self.executables, self.environment, self.workdir = argv, executables, environment, workdir
        self.uid, self.gid, self.groups, self.capabilities = uid, gid, groups, capabilities
        self.no_new_privs, self.rlimits, self.seccomp, self.tty, self.console = (
            no_new_privs,
            rlimits,
            seccomp,
            tty,
            console,
        )
        self.label, self.hides_abstract_sockets = label, hides_abstract_sockets
        self.reaper, self.make_workdir, self.umask = reaper, make_workdir, umask


def bridge(
    table: Table,
    *,
    go_write_fd: int,
    joins: bool,
    executes: bool,
    open_files: tuple[int, int],
    doors: tuple[int, ...] = (),
) -> None:
    """From the clone to the sealed program. `executes` False: the interpreter goes on instead of an execveat.

    `go_write_fd` is the end that would keep it waiting for itself, -1 where it shares the monitor's descriptors, which it
    ceases to do here. `doors` lead into its cgroups (cgroup/v1.py); whoever waits for it looks whether it is there, and moves
    it if not.

    The child dies with the monitor until it is released; releasing is one byte, and end of file is not one byte.
    """
    _call(table, "birth", "prctl", PR_SET_PDEATHSIG, _SIGKILL)
    shares = go_write_fd < 0
    if not shares:
        _call(table, "birth", "close", go_write_fd)
    for fd in doors:
        _call(table, "cgroups", "write", fd, b"0", 1, mode=MODE_IGNORE)
    if shares:
        _call(table, "descriptors", "close_range", FIRST_FREE_FD, LAST_FD, CLOSE_RANGE_UNSHARE)
        _call(
            table, "descriptors", "write", TOLD_FD, struct.pack("<Q", 1), 8, mode=MODE_EXACT, expected=8
        )  # eventfd(2)
    elif executes:  # while there is nothing else to do, or the execve does it when everybody waits; before 5.9 it does
        _call(table, "descriptors", "close_range", FIRST_FREE_FD, LAST_FD, 0, mode=MODE_IGNORE)
    _call(table, "release", "read", GO_FD, b"\0", 1, mode=MODE_EXACT, expected=1)
    for number, fd in enumerate(STDIO_FDS):
        _call(table, "standard streams", "dup3", fd, number, 0)
    # The monitor raised its own limit on open files; what starts here gets the one that the monitor was given.
    _call(table, "ulimit", "prlimit64", 0, _RLIMIT_NOFILE, struct.pack("<QQ", *open_files), 0)
    if not joins:
        # Root inside before the exec: an unmapped uid would lose all its capabilities there. user_namespaces(7)
        become_root(table)
    if executes:
        _call(table, "sealed program", "execveat", PROGRAM_FD, b"", [b"pycontainer-init"], [], AT_EMPTY_PATH)


def become_root(table: Table) -> None:
    """Take id 0 of the user namespace the process is in, and its capabilities with it."""
    _call(table, "ids", "setgroups", 0, 0)
    _call(table, "ids", "setresgid", 0, 0, 0)
    _call(table, "ids", "setresuid", 0, 0, 0)


def open_label(table: Table, file: str) -> Slot:
    """Open the file below /proc/PID/attr that takes our label; the first rows of the sealed program.

    The procfs is the monitor's, from a room in which nobody else can mount anything: the write cannot land elsewhere (the
    class of CVE-2019-16884 and CVE-2025-52881). Opened here, because the kernel takes a label only from who opened the file
    and with the memory it was opened with; and before the container is entered, so that nothing of the host's procfs but
    this one file, for writing, goes along.
    """
    path = f"self/attr/{file}"
    flags = _O_WRONLY | _O_CLOEXEC
    slot = table.call_keeping("label", syscall_number("openat"), PROC_FD, path.encode(), flags, path=f"/proc/{path}")
    _call(table, "label", "close", PROC_FD)
    return slot


def lock_and_pivot(table: Table, root: str) -> None:
    """Take a locked copy of the prepared mounts and make `root` (relative to the stage) the root.

    The cgroup namespace comes with it, in either version: on v1 the child came into its cgroups after the clone.

    unshare(NEWNS) into a less privileged user namespace locks every mount as it is. pivot_root onto a locked mount is
    EINVAL: hence the recursive clone, whose root is unlocked while what lies on it keeps its locks. mount_namespaces(7).
    """
    where = root.encode()
    _call(table, "mount namespace", "unshare", CLONE_NEWNS | CLONE_NEWCGROUP)
    tree = table.call_keeping(
        "root clone", syscall_number("open_tree"), AT_FDCWD, where, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE
    )
    _call(table, "root clone", "move_mount", tree, b"", AT_FDCWD, where, MOVE_MOUNT_F_EMPTY_PATH)
    _call(table, "pivot_root", "chdir", where)
    _call(table, "pivot_root", "pivot_root", b".", b".")
    _call(table, "pivot_root", "umount2", b".", MNT_DETACH)
    _call(table, "pivot_root", "chdir", b"/")


def identity(table: Table, hostname: str, domainname: str) -> None:
    """Name the UTS namespace."""
    _call(table, "hostname", "sethostname", hostname.encode(), len(hostname.encode()))
    if domainname:
        _call(table, "hostname", "setdomainname", domainname.encode(), len(domainname.encode()))


def join(table: Table) -> None:
    """Enter the namespaces of the process behind JOIN_FD.

    Non-dumpable first: from the moment we are in its user namespace, root inside could otherwise trace us.
    The pid namespace was chosen at the clone; the network one may be the host's, then joining changes nothing.
    """
    _call(table, "join", "prctl", PR_SET_DUMPABLE, 0)
    flags = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP
    _call(table, "join", "setns", JOIN_FD, flags)
    _call(table, "join", "close", JOIN_FD)
    become_root(table)


def finish(table: Table, f: Finish) -> None:
    """The last rows: from root inside to the user's program, confined."""
    workdir = f.workdir.encode()
    _call(table, "umask", "umask", f.umask, mode=MODE_IGNORE)  # returns the old mask, never fails
    if f.make_workdir:  # as root inside, so that a missing workdir appears as Docker makes it
        parts = f.workdir.strip("/").split("/")
        for count in range(1, len(parts) + 1 if parts[0] else 1):
            made = "/" + "/".join(parts[:count])
            _call(table, "workdir", "mkdirat", AT_FDCWD, made.encode(), 0o755, mode=MODE_IGNORE, path=made)
    for resource, soft, hard in f.rlimits:
        _call(table, "ulimit", "prlimit64", 0, resource, struct.pack("<QQ", soft, hard), 0)
    _call(table, "capabilities", "prctl", PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    for number in range(len(NAMES)):
        if not f.capabilities >> number & 1:  # every kernel that we run on knows all of them
            _call(table, "capabilities", "prctl", PR_CAPBSET_DROP, number)
    if f.console:
        console = f.console.encode()
        fd = table.call_keeping("console", syscall_number("openat"), AT_FDCWD, console, _O_RDWR | _O_NOCTTY)
        _call(table, "console", "dup3", fd, 0, 0)
        _call(table, "console", "dup3", 0, 1, 0)
        _call(table, "console", "dup3", 0, 2, 0)
        if f.uid:
            _call(table, "console", "fchown", 0, f.uid, -1)
    if f.hides_abstract_sockets and not f.no_new_privs:
        _landlock(table)  # these two need CAP_SYS_ADMIN of our user namespace, which goes with the ids
    if f.seccomp and not f.no_new_privs:
        _seccomp(table, f.seccomp)
    groups = struct.pack(f"<{len(f.groups)}I", *f.groups)
    _call(table, "user", "setgroups", len(f.groups), groups)
    _call(table, "user", "setresgid", f.gid, f.gid, f.gid)
    _call(table, "user", "setresuid", f.uid, f.uid, f.uid)  # to another id than 0 clears permitted and effective
    keep = f.capabilities if f.uid == 0 else 0
    _call(table, "capabilities", "capset", *pack_sets(keep, keep))
    if f.no_new_privs:
        _call(table, "no_new_privs", "prctl", PR_SET_NO_NEW_PRIVS, 1)
    if f.hides_abstract_sockets and f.no_new_privs:
        _landlock(table)
    if f.label and f.reaper:
        _label(table, *f.label)  # now: the reaper executes nothing, and what it bears inherits
    if f.reaper:
        if f.seccomp and f.no_new_privs:
            _seccomp(table, f.seccomp)  # a process 1 without a filter could be traced, and would call for others
        table.call("reaper", REAPER_NUMBER)
    _call(table, "session", "setsid", mode=MODE_IGNORE)
    if f.tty:
        _call(table, "console", "ioctl", 0, _TIOCSCTTY, 0)
    for number in _IGNORED:  # by the monitor or its Python; an ignored signal stays ignored over execve
        _call(table, "signals", "rt_sigaction", number, bytes(32), 0, 8)
    _call(table, "signals", "rt_sigprocmask", _SIG_SETMASK, bytes(8), 0, 8)
    if f.label and not f.reaper:
        _label(table, *f.label)  # for the execve, which is refused if no_new_privs forbids the change
    # Nothing of ours is open when a path is resolved as the user: a workdir of /proc/self/fd/N has nothing to find.
    _call(table, "descriptors", "close_range", REPORT_FD + 1, LAST_FD, 0)
    _call(table, "descriptors", "fcntl", REPORT_FD, _F_SETFD, _FD_CLOEXEC)
    _call(table, "workdir", "chdir", workdir, path=f.workdir)
    if f.seccomp and f.no_new_privs and not f.reaper:
        _seccomp(table, f.seccomp)  # as late as can be: what we do ourselves need not be allowed
    argv, environment = f.argv, f.environment
    for position, executable in enumerate(f.executables):
        last = position == len(f.executables) - 1
        path = executable.decode(errors="replace")
        if last:
            _call(table, "execve", "execve", executable, argv, environment, path=path)
        else:
            table.call_keeping(
                "execve", syscall_number("execve"), executable, argv, environment, mode=MODE_SEARCH, path=path
            )


def _label(table: Table, slot: Slot, text: bytes) -> None:
    """Write our label into the file that was opened at the beginning. proc_pid_attr(5)"""
    _call(table, "label", "write", slot, text, len(text), mode=MODE_EXACT, expected=len(text), path=text.decode())


def _landlock(table: Table) -> None:
    """Leave the abstract sockets of others alone, which on the host's network are the host's: the class of CVE-2020-15257.

    The ruleset is close-on-exec. landlock(7), scopes, Linux 6.12.
    """
    ruleset = table.call_keeping(
        "landlock", syscall_number("landlock_create_ruleset"), _LANDLOCK_RULESET, len(_LANDLOCK_RULESET), 0
    )
    _call(table, "landlock", "landlock_restrict_self", ruleset, 0)


def _seccomp(table: Table, loaded: tuple[int, bytes]) -> None:
    """Load a filter of system calls. seccomp(2)"""
    flags, program = loaded
    count = len(program) // _SOCK_FILTER_BYTES
    _call(table, "seccomp", "seccomp", _SECCOMP_SET_MODE_FILTER, flags, Counted(count, program))
