"""A process of ours that reads what an attacker wrote, and what it cannot do if that takes it over.

    spawn(task, confinement)      fork into a pid namespace of its own; then in the child, in this order
      descriptors                 those that the task needs, and no others
      namespaces                  mounts, network, IPC, host name, cgroups: fresh ones, and the host owns them
      root                        one mount, or an empty tmpfs that cannot be written to: the host's tree is gone
      Landlock                    where the kernel has it: rights on files beneath the root, and no others
      user namespace              root there and nobody outside; joined last, so that it owns nothing that was made before
      capabilities                those that files ask for, none in the bounding set
      limits                      memory, open files, file size, CPU time, no processes, no core dumps
      system calls                a list of what Python and files need; a few that only an exploit makes end the process

Nothing can be executed or imported afterwards. The child ends with its parent. No cgroup: a process that cannot fork is
bounded by RLIMIT_AS, and the page cache that it fills can be taken back.
"""

import ctypes
import errno
import os
import resource
import select
import signal
import struct
import sys
from collections.abc import Callable, Iterable
from typing import NamedTuple, NoReturn

from pycontainer.linux import landlock
from pycontainer.linux.capabilities import NAMES, keep_only
from pycontainer.linux.libc import syscall
from pycontainer.linux.mounts import (
    MNT_DETACH,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY,
    MS_PRIVATE,
    MS_REC,
    mount,
    move_mount,
    new_mount,
    pivot_root,
    umount2,
)
from pycontainer.linux.namespaces import (
    CLONE_NEWCGROUP,
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
    setns,
    unshare,
)
from pycontainer.linux.process import (
    PR_CAP_AMBIENT,
    PR_CAP_AMBIENT_CLEAR_ALL,
    PR_CAPBSET_DROP,
    PR_SET_DUMPABLE,
    PR_SET_NO_NEW_PRIVS,
    PR_SET_PDEATHSIG,
    prctl,
)
from pycontainer.security.seccomp import ALLOW, KILL_PROCESS, TERMINAL_INPUT, Policy, Rule, refuse
from pycontainer.security.syscalls import NEWEST_NUMBER

FILE_CAPABILITIES = frozenset({"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_SETFCAP"})
READ_CAPABILITIES = frozenset({"CAP_DAC_READ_SEARCH"})
WRITE_RIGHTS = (
    landlock.READ
    | landlock.WRITE_FILE
    | landlock.TRUNCATE
    | landlock.MAKE_REG
    | landlock.MAKE_DIR
    | landlock.MAKE_SYM
    | landlock.REMOVE_FILE
    | landlock.REMOVE_DIR
    | landlock.REFER
)
MAX_MEMORY_BYTES = 1 << 30
_MAX_OPEN_FILES = 1024
_PR_SET_NAME = 15
_SECCOMP_SET_MODE_FILTER = 1
_HIGHEST_FD = 0xFFFFFFFF
_SOCK_FILTER_BYTES = 8
_NAMESPACES = CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP
_NEEDS_REFER = 2  # the ABI before cannot allow hard links between directories

# What Python, the decoders and the unpacker need on the machines that we support; the rest fails with EPERM.
_ALLOWED = """
brk chmod chown clock_gettime clock_nanosleep close close_range dup dup2 dup3 exit exit_group faccessat faccessat2 fadvise64
fchmod fchmodat fchown fchownat fcntl fgetxattr flistxattr fsetxattr fstat fstatfs fsync ftruncate futex futimesat
getdents64 getegid geteuid getgid getpid getppid getrandom getrusage gettid getuid lchown linkat lseek lstat madvise mkdirat
mknodat mmap mprotect mremap munmap nanosleep newfstatat open openat openat2 poll ppoll pread64 prlimit64 read readlink
readlinkat readv restart_syscall rmdir rseq rt_sigaction rt_sigprocmask rt_sigreturn sched_yield sigaltstack stat statx
symlinkat sysinfo uname unlink unlinkat utimensat write writev
"""
# Python makes none of these by itself here: who tries is not us any more.
_FATAL = """
bpf clone clone3 connect execve execveat fork init_module io_uring_setup keyctl kexec_load mount move_mount open_by_handle_at
open_tree perf_event_open pivot_root process_vm_readv process_vm_writev ptrace setns setuid setresuid socket tgkill unshare
userfaultfd vfork
"""
_RENAMES = "renameat renameat2"  # by which a file that is whole takes the place of another


def _filter(allowed: str) -> Policy:
    return Policy(
        refuse(errno.EPERM),
        (Rule(tuple(allowed.split()), ALLOW), Rule(tuple(_FATAL.split()), KILL_PROCESS)),
        newest_number=NEWEST_NUMBER,
        denied_ioctls=TERMINAL_INPUT,
    )


FILTER, REPLACING_FILTER = _filter(_ALLOWED), _filter(_ALLOWED + _RENAMES)


class Confinement(NamedTuple):
    """What is left to a child. `root_fd` is a detached mount that becomes its root, None: an empty directory."""

    name: str
    program: bytes  # FILTER, compiled
    userns_fd: int
    root_fd: int | None
    capabilities: frozenset[str]
    rights: int  # of Landlock, beneath the root
    max_file_bytes: int
    max_cpu_seconds: int


def spawn(
    task: Callable[[], None], failed: Callable[[OSError], None], confinement: Confinement, keep_fds: Iterable[int]
) -> int:
    """Run `task` in a confined child and return the child's pid; `keep_fds` stay open there, no others do.

    The child calls `failed` instead where the host does not let it be confined. Both see to their own errors: what they
    let through ends the child with status 1 and no word. Needs one thread.
    """
    life_read_fd, life_write_fd = os.pipe()  # the write end is ours alone: hung up when we are gone
    home_fd = os.open("/proc/thread-self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    try:
        unshare(CLONE_NEWPID)  # for the next child, which is alone in it
        try:
            pid = os.fork()
        except BaseException:
            setns(home_fd, CLONE_NEWPID)
            raise
        if pid == 0:
            _run(task, failed, confinement, {*keep_fds, life_read_fd}, life_read_fd)
        setns(home_fd, CLONE_NEWPID)
        _life_fds[pid] = life_write_fd
        return pid
    except BaseException:
        os.close(life_write_fd)
        raise
    finally:
        os.close(home_fd)
        os.close(life_read_fd)


def reap(pid: int) -> int:
    """Wait for a child of `spawn` to end; return its wait status."""
    _, wait_status = os.waitpid(pid, 0)
    os.close(_life_fds.pop(pid))
    return wait_status


def load_filter(program: bytes) -> None:
    """Have the kernel judge each further system call of this thread by a compiled filter. seccomp(2)."""
    buffer = ctypes.create_string_buffer(program, len(program))
    fprog = struct.pack("HxxxxxxQ", len(program) // _SOCK_FILTER_BYTES, ctypes.addressof(buffer))
    holder = ctypes.create_string_buffer(fprog, len(fprog))
    syscall("seccomp", _SECCOMP_SET_MODE_FILTER, 0, ctypes.addressof(holder))


def forget_imports() -> None:
    """Let no module be loaded any more: a file's name now means one of somebody else's."""
    sys.meta_path.clear()
    sys.path.clear()
    sys.path_importer_cache.clear()


def enter_root(root_fd: int | None) -> None:
    """Make a detached mount, or an empty directory, the root of a fresh mount namespace, with nothing else in it."""
    mount("none", "/", flags=MS_REC | MS_PRIVATE)
    if root_fd is None:
        flags = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC
        root_fd = new_mount("tmpfs", [("size", "4k"), ("nr_inodes", "2"), ("mode", "0555")], flags)
    old_root_fd = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    move_mount(root_fd, old_root_fd)
    os.close(old_root_fd)
    os.fchdir(root_fd)
    os.close(root_fd)
    pivot_root(".", ".")  # the old root then lies on the new one
    umount2(".", MNT_DETACH)
    os.chdir("/")


def become_root_of(userns_fd: int) -> None:
    """Join a user namespace as its root."""
    setns(userns_fd, CLONE_NEWUSER)
    os.close(userns_fd)
    os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


def drop_capabilities(keep: frozenset[str]) -> None:
    """Keep these capabilities, the bounding and the ambient set empty."""
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    for number in range(len(NAMES)):
        try:
            prctl(PR_CAPBSET_DROP, number)
        except OSError as error:
            if error.errno != errno.EINVAL:  # the kernel does not know it
                raise
    keep_only(keep)


def restrict_files(rights: int) -> None:
    """Leave only `rights` beneath the root, where Landlock is there to see to it."""
    version = landlock.abi()
    if version >= _NEEDS_REFER:
        root_fd = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        landlock.restrict([(root_fd, rights)] if rights else [], version=version)
        os.close(root_fd)


_life_fds: dict[int, int] = {}


def _run(
    task: Callable[[], None],
    failed: Callable[[OSError], None],
    confinement: Confinement,
    keep_fds: set[int],
    life_fd: int,
) -> NoReturn:
    code = 1
    try:
        try:
            _confine(confinement, keep_fds)
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # after the change of ids, which takes it away
            poller = select.poll()
            poller.register(life_fd, 0)
            if poller.poll(0):  # the parent ended before the signal was asked for
                os._exit(1)
            load_filter(confinement.program)
        except OSError as error:
            failed(error)
            os._exit(1)
        task()
        code = 0
    finally:
        os._exit(code)  # no handler, no buffer of the parent's is run here


def _confine(confinement: Confinement, keep_fds: set[int]) -> None:
    forget_imports()
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, signal.SIG_DFL)
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    root_fd, userns_fd = confinement.root_fd, confinement.userns_fd
    null_fd = os.open("/dev/null", os.O_RDWR)
    for number in range(3):
        os.dup2(null_fd, number)
    _close_but({0, 1, 2, userns_fd, *keep_fds} | ({root_fd} if root_fd is not None else set()))
    os.umask(0o022)
    unshare(_NAMESPACES)
    enter_root(root_fd)
    restrict_files(confinement.rights)
    become_root_of(userns_fd)
    drop_capabilities(confinement.capabilities)
    prctl(PR_SET_DUMPABLE, 0)
    name = ctypes.create_string_buffer(confinement.name.encode())
    prctl(_PR_SET_NAME, ctypes.addressof(name))
    for limit, value in (
        (resource.RLIMIT_AS, MAX_MEMORY_BYTES),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_NOFILE, _MAX_OPEN_FILES),
        (resource.RLIMIT_FSIZE, confinement.max_file_bytes),
        (resource.RLIMIT_CPU, confinement.max_cpu_seconds),
    ):
        resource.setrlimit(limit, (value, value))


def _close_but(keep_fds: set[int]) -> None:
    low = 0
    for fd in sorted(keep_fds):
        if low < fd:
            syscall("close_range", low, fd - 1, 0)
        low = fd + 1
    syscall("close_range", low, _HIGHEST_FD, 0)
