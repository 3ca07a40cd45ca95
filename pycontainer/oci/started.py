"""What `create` and `exec` have in common for the process that they start: its program, its descriptors, its pid."""

import os
import stat

from pycontainer.errors import InvalidInput, StartFailed
from pycontainer.linux.files import open_in_root
from pycontainer.oci import config, mounting, reports, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontainer.oci.config import Config, Process
    from pycontainer.oci.rows import Places
    from pycontainer.oci.state import State

_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def kept(state: "State") -> "Config":
    """Return of the kept configuration what further processes need: whole it was checked when all that it names was there."""
    with open(f"{state.directory}/config.json", "rb") as file:
        return config.parse_kept(text.loads(file.read(), config.FILE))


def executables(root_fd: int, process: "Process") -> list[bytes]:
    """Return the paths to execute, in order, looked at beneath the root; StartFailed in the words that engines know."""
    program = process.args[0]
    if "/" in program:
        candidates = [program]
    else:
        path = next((entry[5:] for entry in process.env if entry.startswith("PATH=")), _DEFAULT_PATH)
        candidates = [os.path.join(directory or ".", program) for directory in path.split(":")]
    denied = False
    for candidate in candidates:
        try:
            fd = open_in_root(root_fd, os.path.join(process.cwd, candidate), os.O_PATH)
        except OSError:
            continue
        found = os.fstat(fd)
        os.close(fd)
        if stat.S_ISREG(found.st_mode) and found.st_mode & 0o111:
            return [os.fsencode(each) for each in candidates]
        denied = True
    if denied:
        why = "permission denied"
    elif "/" in program:
        why = f"stat {program}: no such file or directory"
    else:
        why = "executable file not found in $PATH"
    raise StartFailed(f'{reports.FAILED}: exec: "{program}": {why}', step="execve")


def process_label(process: "Process") -> "tuple[str, bytes] | None":
    """Return (file below /proc/self/attr, what is written there), None for a process without a label. proc_pid_attr(5)"""
    if process.selinux_label:
        return "exec", process.selinux_label.encode()
    if process.apparmor_profile:
        return "apparmor/exec", f"exec {process.apparmor_profile}".encode()
    return None


def check_preserved(count: int) -> None:
    """Refuse to hand on descriptors that the caller did not give: their numbers would go to files that we open."""
    if count < 0:
        raise InvalidInput(f"flag '--preserve-fds' is the number of descriptors, not {count}")
    for fd in range(3, 3 + count):
        try:
            is_given = os.get_inheritable(fd)  # all of ours are close-on-exec
        except OSError:
            is_given = False
        if not is_given:
            raise InvalidInput(f"--preserve-fds {count}: descriptor {fd} is not open")


def streams_to_give(fds: "tuple[int, ...]") -> list[int]:
    """Return which of standard input, output and error shall belong to the process: all but the null device."""
    found = ((number, os.fstat(fd)) for number, fd in enumerate(fds))
    return [number for number, each in found if not (stat.S_ISCHR(each.st_mode) and each.st_rdev == mounting.NULL)]


def high(fd: int, places: "Places") -> int:
    """Move a descriptor of ours out of the way of what the child renumbers."""
    if fd >= places.above():
        return fd
    import fcntl

    moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, places.above())
    os.close(fd)
    return moved


def write_pid_file(path: str, pid: int) -> None:
    """Write the pid so that a reader sees all of it or no file."""
    temporary = f"{path}.{os.getpid()}.new"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    try:
        os.write(fd, str(pid).encode())
        os.rename(temporary, path)
    except OSError:
        os.unlink(temporary)
        raise
    finally:
        os.close(fd)


def end(pidfd: int, pid: int) -> None:
    """Kill a child and reap it."""
    from pycontainer.linux.process import pidfd_send_signal

    try:
        pidfd_send_signal(pidfd, 9)
    except ProcessLookupError:
        pass
    os.waitpid(pid, 0)
