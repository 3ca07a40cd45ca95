"""The child of the OCI front door, as rows: from the clone to a parked program, from there to the user's.

    bridge   in the copy of ours: waits for `create`, descriptors into place, the sealed program
    enter    namespaces by path; mounts copied, own root, names
    confine  console, limits, ids, capabilities, no_new_privs, label
    park     says "P" on the report, waits for one byte of `start`
    execute  seccomp, descriptors, execve

All that can fail fails before it parks, so that `create` says it; but the filter of system calls comes as late as can be:
what we do ourselves need not be allowed by it. Nothing of Python is left in a child that parks, for a day or for a year.

Descriptors: 0-2 and those that the caller preserves (3 ... 2+N) are the program's; ours stand right above them.
"""

import _signal  # type: ignore[import-not-found]  # `signal` costs 2 ms for its enumerations
import struct

from pycontainer.init.table import MODE_EXACT, MODE_IGNORE, MODE_SEARCH, Counted, Slot, Table
from pycontainer.init.table import call_by_name as _call
from pycontainer.linux.capabilities import NAMES, pack_sets
from pycontainer.linux.libc import syscall_number
from pycontainer.linux.mounts import (
    AT_EMPTY_PATH,
    AT_FDCWD,
    AT_RECURSIVE,
    MNT_DETACH,
    MOVE_MOUNT_F_EMPTY_PATH,
    MS_MOVE,
    MS_RDONLY,
    MS_REC,
    MS_SLAVE,
    OPEN_TREE_CLOEXEC,
    OPEN_TREE_CLONE,
)
from pycontainer.linux.namespaces import CLONE_NEWCGROUP, CLONE_NEWNS
from pycontainer.linux.process import (
    PR_CAP_AMBIENT,
    PR_CAP_AMBIENT_CLEAR_ALL,
    PR_CAPBSET_DROP,
    PR_SET_DUMPABLE,
    PR_SET_NO_NEW_PRIVS,
)
from pycontainer.oci.state import LISTENS, PARKED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontainer.oci.config import Process

_PR_SET_KEEPCAPS = 8
_PR_CAP_AMBIENT_RAISE = 2
_KEYCTL_JOIN_SESSION_KEYRING = 1
_SECCOMP_SET_MODE_FILTER = 1
_SOCK_FILTER_BYTES = 8
_F_SETFD, _FD_CLOEXEC = 2, 1
_TIOCSCTTY = 0x540E
_O_WRONLY, _O_RDWR, _O_NOCTTY, _O_CLOEXEC = 1, 2, 0o400, 0o2000000
_ALL_ONES = 0xFFFFFFFF
_SIG_SETMASK = 2
_LAST_SIGNAL = 64
_CAP_SYS_ADMIN = 1 << 21
_CLONE_PARENT, _SIGCHLD = 0x8000, 17
BIRTH = "birth"  # the step whose report has a pid
_NEW_LISTENER = 8  # SECCOMP_FILTER_FLAG_NEW_LISTENER


class _None:
    """What a process without `capabilities` has."""

    bounding = effective = inheritable = permitted = ambient = 0


_NO_CAPABILITIES = _None()


class Places:
    """Where the child finds what it needs: descriptor numbers, the same in the bridge and in the program."""

    __slots__ = ("first", "go", "join", "label", "listener", "namespaces", "preserved", "report", "root")

    def __init__(self, preserved: int, namespaces: int) -> None:
        """`preserved` descriptors from 3 up are the program's; `namespaces` are joined by path."""
        self.preserved = preserved
        self.first = 3 + preserved
        self.report, self.go, self.listener = range(self.first, self.first + 3)
        self.label, self.root, self.join = range(self.first + 3, self.first + 6)
        self.namespaces = range(self.first + 6, self.first + 6 + namespaces)

    def above(self) -> int:
        """Return the lowest number that is none of these: descriptors of our own are kept from here up."""
        return self.first + 6 + len(self.namespaces)


def bridge(
    places: Places,
    *,
    go_read_fd: int,
    go_write_fd: int,
    report_fd: int,
    program_fd: int,
    moves: "list[tuple[int, int]]",
    becomes_root: bool,
    doors: "tuple[int, ...]" = (),
) -> Table:
    """Return the rows between the clone and the program in `program_fd`.

    `program_fd` is -1 where there is no machine code.

    They wait for one byte of the parent, and end with it: end of file is not a byte. `moves` are (descriptor, number);
    `becomes_root` in a user namespace that was made by the clone, where nobody has an id yet, or that it was born in.
    user_namespaces(7) `doors` lead into its cgroups; whoever waits for it sees whether they did (`cgroups.Entrance`).
    """
    table = Table(report_fd)
    for fd in doors:
        _call(table, "cgroups", "write", fd, b"0", 1, mode=MODE_IGNORE)
    _call(table, "create", "close", go_write_fd)
    _call(table, "create", "read", go_read_fd, b"\0", 1, mode=MODE_EXACT, expected=1)
    for fd, number in [(report_fd, places.report), *moves]:
        _call(table, "descriptors", "dup3", fd, number, 0)
    if becomes_root:
        _become_root(table)
    else:  # the caller's, while that is allowed: a user namespace that is joined may forbid it
        _call(table, "ids", "setgroups", 0, 0, mode=MODE_IGNORE)
    if program_fd < 0:  # the interpreter goes on from here
        return table
    _call(table, "sealed program", "execveat", program_fd, b"", [b"pycontainer-oci init"], [], AT_EMPTY_PATH)
    return table


def _become_root(table: Table) -> None:
    _call(table, "ids", "setgroups", 0, 0, mode=MODE_IGNORE)  # a map of one id, made without privileges, forbids it
    _call(table, "ids", "setresgid", 0, 0, 0)
    _call(table, "ids", "setresuid", 0, 0, 0)


def hide(table: Table) -> None:
    """Let nobody trace us or look at our descriptors, up to the execve: in a pod others may be of our ids and namespaces."""
    _call(table, "dumpable", "prctl", PR_SET_DUMPABLE, 0)


def join_namespaces(table: Table, places: Places, flags: "list[int]") -> None:
    """Enter namespaces that were given by path; those of users are entered before the clone."""
    for fd, flag in zip(places.namespaces, flags, strict=False):
        _call(table, "join", "setns", fd, flag)
        _call(table, "join", "close", fd)


def join_process(table: Table, places: Places, flags: int, *, into_user_namespace: bool) -> None:
    """Enter the namespaces of a container's first process, whose pidfd is at `places.join`; that of pids with the next child.

    Non-dumpable first: root inside could otherwise trace us from the moment we are there.
    """
    hide(table)
    _call(table, "join", "setns", places.join, flags)
    _call(table, "join", "close", places.join)
    if into_user_namespace:
        _become_root(table)


def own_cgroups(table: Table) -> None:
    """Leave for a cgroup namespace whose root is the container's cgroup, where the process was put before."""
    _call(table, "cgroup namespace", "unshare", CLONE_NEWCGROUP)


def callers_mounts(table: Table, places: Places, mounts_fd: int) -> None:
    """Go back to the mount namespace `mounts_fd`, with the present directory for the root and nothing mounted there.

    The root is a clone that is attached nowhere. It comes apart from any namespace when its descriptor is closed, but stays
    whole as long as somebody is in it: whatever becomes of us, no mount is left to the caller. mount_setattr(2), open_tree(2)
    """
    flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE
    tree = table.call_keeping("root clone", syscall_number("open_tree"), AT_FDCWD, b".", flags)
    _call(table, "root clone", "dup3", tree, places.root, _O_CLOEXEC)
    _call(table, "mount namespace", "setns", mounts_fd, CLONE_NEWNS)
    change_root(table, places.root)


def change_root(table: Table, root_fd: int = -1) -> None:
    """Take `root_fd`, or the present directory, for the root in a mount namespace that is not ours to rearrange. chroot(2)"""
    if root_fd >= 0:
        _call(table, "root", "fchdir", root_fd)
    _call(table, "root", "chroot", b".")
    _call(table, "root", "chdir", b"/")


def own_mounts(table: Table, places: Places, *, left: "list[str] | None" = None, covers: bool = False) -> None:
    """Copy the mounts that the parent made and make the present directory, a mount, the root of the copy.

    In a less privileged user namespace the copies are locked, and pivot_root(2) does not take a locked mount: hence the
    recursive clone on top, of which only what lies in it is locked. mount_namespaces(7)

    With `left` the old root cannot be left behind, and stays below; procfs and sysfs at these places in it go, or are covered
    where they are locked. Else a user namespace inside could mount a procfs without our masks: one is there that has none.
    """
    _call(table, "mount namespace", "unshare", CLONE_NEWNS)
    flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE
    tree = table.call_keeping("root clone", syscall_number("open_tree"), AT_FDCWD, b".", flags)
    _call(table, "root clone", "dup3", tree, places.root, _O_CLOEXEC)
    # What is shared in the old root has its peer in the clone, which would lose what lies there with the old one's umount.
    _call(table, "root clone", "mount", 0, b"/", 0, MS_SLAVE | MS_REC, 0)
    _call(table, "root clone", "move_mount", places.root, b"", AT_FDCWD, b".", MOVE_MOUNT_F_EMPTY_PATH)
    _call(table, "pivot_root", "fchdir", places.root)
    if left is not None:  # a root in the initial ramfs has no parent that could be pivoted away
        for path in left:
            if covers:
                _call(table, "hide", "mount", b"tmpfs", path.encode(), b"tmpfs", MS_RDONLY, b"size=0k", path=path)
            else:
                _call(table, "hide", "umount2", path.encode(), MNT_DETACH, path=path)
        _call(table, "move root", "mount", b".", b"/", 0, MS_MOVE, 0)
        _call(table, "move root", "chroot", b".")
    else:
        _call(table, "pivot_root", "pivot_root", b".", b".")
        _call(table, "pivot_root", "umount2", b".", MNT_DETACH)
    _call(table, "pivot_root", "chdir", b"/")


def name_it(table: Table, hostname: str, domainname: str) -> None:
    """Name the UTS namespace, where a name is given."""
    for name, call in ((hostname, "sethostname"), (domainname, "setdomainname")):
        if name:
            _call(table, "hostname", call, name.encode(), len(name.encode()), path=name)


def propagate(table: Table, path: str, flags: int) -> None:
    """Set the propagation of the mount at `path`. mount(2)"""
    _call(table, "propagation", "mount", 0, path.encode(), 0, flags, 0, path=path)


def open_label(table: Table, places: Places, file: str) -> Slot:
    """Open the file below /proc/self/attr that takes our label, beneath the host's procfs at `places.label`, which goes.

    Before the container is entered: the write can then land nowhere else (the class of CVE-2019-16884). Return its
    descriptor, the lowest number that is free: that of `go` or `listener`, which are closed after the write.
    """
    path = f"self/attr/{file}"
    slot = table.call_keeping(
        "label", syscall_number("openat"), places.label, path.encode(), _O_WRONLY | _O_CLOEXEC, path=f"/proc/{path}"
    )
    _call(table, "label", "close", places.label)
    return slot


class Finish:
    """What the last rows need beside the process itself."""

    __slots__ = ("console", "executables", "has_listener", "keyring", "label", "process", "seccomp", "streams")

    def __init__(
        self,
        process: "Process",
        *,
        executables: "list[bytes]",
        seccomp: "tuple[int, bytes] | None",
        label: "tuple[Slot, bytes] | None",
        keyring: str,
        console: str,
        streams: "list[int]",
    ) -> None:
        """`executables` are tried in order; `seccomp` (flags, program); `label` (what `open_label` returned, what is written
        there); `keyring` names a new session keyring, empty for none; `console` is the path of a terminal inside; `streams`
        are the standard streams that shall belong to the user."""
        self.process, self.executables, self.seccomp, self.label = process, executables, seccomp, label
        self.keyring, self.console, self.streams = keyring, console, streams
        self.has_listener = seccomp is not None and bool(seccomp[0] & _NEW_LISTENER)


def finish(
    table: Table,
    places: Places,
    f: Finish,
    *,
    parks: bool,
    bears: bool = False,
    bears_filtered: bool = False,
    personality: "int | None" = None,
) -> None:
    """The rows from root of the container to the user's program; with `parks` it waits for `start` right before.

    With `bears` a child of it, and so a process of the pid namespace that was entered, goes on once it is confined; with
    `bears_filtered` its filter is loaded before, which has to permit `calls_of_birth`.
    """
    p = f.process
    if f.keyring:
        _call(table, "keyring", "keyctl", _KEYCTL_JOIN_SESSION_KEYRING, f.keyring.encode(), mode=MODE_IGNORE)
    if personality is not None:
        _call(table, "personality", "personality", personality)
    if not bears:
        _call(table, "session", "setsid", mode=MODE_IGNORE)
    if f.console:
        fd = table.call_keeping("console", syscall_number("openat"), AT_FDCWD, f.console.encode(), _O_RDWR | _O_NOCTTY)
        _call(table, "console", "dup3", fd, places.root, _O_CLOEXEC)
        for number in range(3):
            _call(table, "console", "dup3", places.root, number, 0)
    if p.terminal and not bears:
        _call(table, "console", "ioctl", 0, _TIOCSCTTY, 0)
    for resource, soft, hard in p.rlimits:  # from here on nothing but a listener needs a new descriptor
        _call(table, "rlimits", "prlimit64", 0, resource, struct.pack("<QQ", soft, hard), 0)
    for number in range(1, _LAST_SIGNAL + 1):  # what we ignore, and our caller did, stays so over an execve; signal(7)
        if _signal.getsignal(number) == _signal.SIG_IGN:
            _call(table, "signals", "rt_sigaction", number, bytes(32), 0, 8)
    _call(table, "signals", "rt_sigprocmask", _SIG_SETMASK, bytes(8), 0, 8)
    for number in f.streams:  # who opens /dev/stdout anew needs the right to; what nobody here may give away stays
        _call(table, "streams", "fchown", number, p.uid, -1, mode=MODE_IGNORE)
    late = f.seccomp is not None and not p.no_new_privs
    _identity(table, p, keeps_admin=late)
    if not late:
        _capabilities(table, p)
    umask = p.umask if p.umask is not None else 0o022
    _call(table, "umask", "umask", umask, mode=MODE_IGNORE)  # returns the old one, never fails
    if p.no_new_privs:
        _call(table, "no_new_privs", "prctl", PR_SET_NO_NEW_PRIVS, 1)
    if f.label:
        slot, text = f.label
        step = "SELinux label" if p.selinux_label else "AppArmor profile"
        name = p.selinux_label or p.apparmor_profile
        _call(table, step, "write", slot, text, len(text), mode=MODE_EXACT, expected=len(text), path=name)
    # Nothing of ours but two FIFOs, nothing that the caller forgot: a cwd of /proc/self/fd/N has nothing to find there
    # (CVE-2024-21626).
    _call(table, "descriptors", "close_range", places.label, _ALL_ONES, 0)
    _call(table, "descriptors", "close", places.listener, mode=MODE_IGNORE)
    _call(table, "cwd", "chdir", p.cwd.encode(), path=p.cwd)
    filters_early = late and bears_filtered  # the right to load it is then not to be had from who is born
    if filters_early:
        for number in (places.go, places.report):
            _call(table, "descriptors", "fcntl", number, _F_SETFD, _FD_CLOEXEC)
        assert f.seccomp is not None
        _seccomp(table, f.seccomp)
        _capabilities(table, p)
    if bears:
        _bear(table, places)
        _call(table, "session", "setsid", mode=MODE_IGNORE)
        if p.terminal:
            _call(table, "console", "ioctl", 0, _TIOCSCTTY, 0)
    if filters_early:
        _execute(table, f)
        return
    if f.seccomp and f.has_listener:  # before it parks: who hands it on is there until then
        _seccomp(table, f.seccomp, listens=places)
    if parks:
        _call(table, "park", "write", places.report, PARKED, 1, mode=MODE_EXACT, expected=1)
        _call(table, "park", "read", places.go, b"\0", 1, mode=MODE_EXACT, expected=1)
    _call(table, "descriptors", "close", places.go)
    _call(table, "descriptors", "fcntl", places.report, _F_SETFD, _FD_CLOEXEC)
    if f.has_listener:
        _call(table, "descriptors", "close", places.listener)
    elif f.seccomp:
        _seccomp(table, f.seccomp)
    if late:
        _capabilities(table, p)
    _execute(table, f)


def calls_of_birth() -> "list[tuple[int, ...]]":
    """Return what is called between the birth of a child and the execve, here and in it: number, arguments as far as told."""
    calls = ("write", "exit_group", "read", "setsid", "execve")
    return [
        (syscall_number("clone"), _CLONE_PARENT | _SIGCHLD),
        (syscall_number("ioctl"), 0, _TIOCSCTTY),
        *((syscall_number(name),) for name in calls),
    ]


def _bear(table: Table, places: Places) -> None:
    """Have a child go on, a brother to whoever made us, who is told its pid and sends it a byte.

    A pid namespace shows who is born in it to all that live there, and to CAP_SYS_PTRACE without a user namespace also what
    that one has: it must not be the host's root, descriptors and rights. What is born here has only the container's.
    """
    # In us the result is not 0 but a pid: the row fails, its report says which, and we end. clone(2)
    _call(table, BIRTH, "clone", _CLONE_PARENT | _SIGCHLD, 0, 0, 0, 0, mode=MODE_EXACT, expected=0)
    _call(table, BIRTH, "read", places.go, b"\0", 1, mode=MODE_EXACT, expected=1)


def park_for_ever(table: Table, places: Places) -> None:
    """The rows of a container without a process: it holds its namespaces until it is killed; `start` does nothing."""
    _call(table, "descriptors", "close_range", places.label, _ALL_ONES, 0)
    _call(table, "park", "write", places.report, PARKED, 1, mode=MODE_EXACT, expected=1)
    _call(table, "descriptors", "close", places.report)
    _call(table, "park", "read", places.go, b"\0", 1)
    _call(table, "park", "read", places.go, b"\0", 1)  # the first one was `start`


def _identity(table: Table, p: "Process", *, keeps_admin: bool) -> None:
    """Bounding set, groups, ids, and the capabilities that go over the change. capabilities(7)

    A filter without no_new_privs needs CAP_SYS_ADMIN, which is kept until nothing but prctl, capset and execve follows.
    """
    wanted = p.capabilities or _NO_CAPABILITIES
    for number in range(len(NAMES)):
        if not wanted.bounding >> number & 1:
            _call(table, "capabilities", "prctl", PR_CAPBSET_DROP, number)
    _call(table, "capabilities", "prctl", _PR_SET_KEEPCAPS, 1)
    groups = p.additional_gids
    _call(
        table,
        "user",
        "setgroups",
        len(groups),
        struct.pack(f"<{len(groups)}I", *groups),
        mode=0 if groups else MODE_IGNORE,
    )
    _call(table, "user", "setresgid", p.gid, p.gid, p.gid)
    _call(table, "user", "setresuid", p.uid, p.uid, p.uid)
    if keeps_admin and p.uid:  # kept as permitted, but a change of ids makes none of them effective
        raised = wanted.permitted | _CAP_SYS_ADMIN
        _call(table, "capabilities", "capset", *pack_sets(raised, raised))


def _capabilities(table: Table, p: "Process") -> None:
    """The sets that the program is to have."""
    wanted = p.capabilities or _NO_CAPABILITIES
    _call(table, "capabilities", "prctl", PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    _call(table, "capabilities", "capset", *pack_sets(wanted.effective, wanted.permitted, wanted.inheritable))
    # The kernel takes none that is not inheritable as well; engines write such sets all the same, and runc drops them.
    ambient = wanted.ambient & wanted.inheritable & wanted.permitted
    for number in range(len(NAMES)):
        if ambient >> number & 1:
            _call(table, "capabilities", "prctl", PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, number, 0, 0)


def _seccomp(table: Table, loaded: "tuple[int, bytes]", *, listens: "Places | None" = None) -> None:
    """Load the filter; with `listens` it has a listener, which is told of: our own next call may be one that waits for it.

    All numbers below its place are in use, so that the kernel takes that one by itself; dup3(2) would wait for the listener
    if it is asked about, and refuses to copy a descriptor onto itself.
    """
    flags, program = loaded
    count = len(program) // _SOCK_FILTER_BYTES
    if listens is not None:
        at, counted = listens.listener, Counted(count, program)
        _call(table, "seccomp", "close", at, mode=MODE_IGNORE)  # what the caller may have left open
        _call(table, "seccomp", "seccomp", _SECCOMP_SET_MODE_FILTER, flags, counted, mode=MODE_EXACT, expected=at)
        _call(table, "seccomp", "write", listens.report, LISTENS, 1, mode=MODE_EXACT, expected=1)
        return
    _call(table, "seccomp", "seccomp", _SECCOMP_SET_MODE_FILTER, flags, Counted(count, program))


def _execute(table: Table, f: Finish) -> None:
    argv = [text.encode("utf-8", "surrogateescape") for text in f.process.args]
    environment = [text.encode("utf-8", "surrogateescape") for text in f.process.env]
    for position, executable in enumerate(f.executables):
        path = executable.decode(errors="replace")
        if position == len(f.executables) - 1:
            _call(table, "execve", "execve", executable, argv, environment, path=path)
        else:
            number = syscall_number("execve")
            table.call_keeping("execve", number, executable, argv, environment, mode=MODE_SEARCH, path=path)
