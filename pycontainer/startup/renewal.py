"""After a slow start: have the dump made that the next one goes on in, in the background.

Who comes here has done what it was asked for and costs nobody time any more, other than the one process that it starts.
"""

import os
import sys
import time

from pycontainer.linux.libc import MACHINE
from pycontainer.startup.machine import CODES

SWITCH = "PYCONTAINER_START"  # "slow": no dump is wanted, by who looks for an error; "trial": one is being tried
FAILED = ".failed"  # behind the name of a dump: that it could not be made
_NOT_OURS_TO_SET = (9, 19, 32, 33)  # SIGKILL, SIGSTOP, and two of libc's own
_AGAIN_SECONDS = 3600.0


def begin(name: str, dump_path: str, mounts: int) -> None:
    """Start the building of the dump of a program, for root of the host alone; what can go wrong with it, is borne.

    An empty `dump_path` says that there is a dump, and that it could not be gone on in for what the caller wants. `mounts` is
    the inode of /proc/self/ns/mnt as the program began: in other mounts, a container's, nothing of the host is executed, and
    nobody stays.
    """
    if MACHINE not in CODES or not dump_path or os.environ.get(SWITCH) or os.geteuid() != 0:
        return
    if not _is_root_of_the_host() or os.stat("/proc/self/ns/mnt").st_ino != mounts:
        return
    if _has_failed(f"{dump_path}{FAILED}") or not _is_writable(os.path.dirname(dump_path)):
        return
    library = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    # What our caller lets us inherit, a pipe on whose end somebody waits, is none of its business.
    program = "import os; os.closerange(3, 1 << 20); os.chdir('/')\n"
    program += f"import sys; sys.path.append({library!a}); sys.argv[1:] = [{name!a}]\n"
    program += "from pycontainer.startup.build import main; main()"
    try:
        null_fd = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        actions = [(os.POSIX_SPAWN_DUP2, null_fd, fd) for fd in (0, 1, 2)]
        os.posix_spawn(
            sys.executable,
            [sys.executable, "-IS", "-c", program],
            {},
            file_actions=actions,
            setsid=True,
            setsigmask=[],
            setsigdef=[number for number in range(1, 65) if number not in _NOT_OURS_TO_SET],
        )
    except OSError:
        pass


def _has_failed(path: str) -> bool:
    """Say whether it could not be done within the last hour: a full disk may have room again, a kernel stays as it is."""
    try:
        passed = time.time() - os.stat(path).st_mtime
    except OSError:
        return False
    return 0 <= passed < _AGAIN_SECONDS


def _is_writable(directory: str) -> bool:
    """Say whether it is there to be written to, or could be made."""
    while not os.path.lexists(directory):
        directory = os.path.dirname(directory)
    return os.access(directory, os.W_OK)


def _is_root_of_the_host() -> bool:
    """Say whether root here is root there: in a user namespace the directory of the dumps is somebody else's."""
    return _read("/proc/self/uid_map").split() == [b"0", b"0", b"4294967295"]


def _read(path: str) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(fd, 4096)
    finally:
        os.close(fd)
