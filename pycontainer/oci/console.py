"""The master of a container's terminal on its way to whoever asked for it: --console-socket.

A unix stream socket takes one message: the name of the terminal, and with it the descriptor. unix(7), SCM_RIGHTS
"""

import os
import stat

from pycontainer.errors import InvalidInput, StartFailed
from pycontainer.linux.descriptors import send_fds
from pycontainer.linux.files import open_in_root

_PTMX = os.makedev(5, 2)


def check(terminal: bool, console_socket: str, *, detached: bool) -> None:
    """Raise InvalidInput where a terminal and the socket for it do not go together."""
    if terminal and detached and not console_socket:
        raise InvalidInput("cannot allocate tty if the runtime will detach without setting console socket")
    if console_socket and not (terminal and detached):
        raise InvalidInput("cannot use console socket if the runtime will not detach or allocate tty")


def open_master(root_fd: int) -> int:
    """Open a new terminal of the devpts beneath a container's root; return its master.

    What lies there is the container's to choose, or its image's: it is looked at before it is opened, for the opening alone
    acts on some devices, and waits for some files.
    """
    looked_fd = open_in_root(root_fd, "dev/pts/ptmx", os.O_PATH)
    try:
        details = os.fstat(looked_fd)
        if not stat.S_ISCHR(details.st_mode) or details.st_rdev != _PTMX:
            raise StartFailed("the container's /dev/pts/ptmx is no terminal multiplexer", step="console")
        return os.open(f"/proc/self/fd/{looked_fd}", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    finally:
        os.close(looked_fd)


def send(path: str, master_fd: int, name: str = "/dev/ptmx") -> None:
    """Send `master_fd` to the socket at `path`. StartFailed if nobody takes it."""
    import _socket  # 0.3 ms that a container without a terminal does not need

    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        sock.connect(path)
        send_fds(sock, name.encode(), [master_fd])
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise StartFailed(f"console socket '{path}': {why}", step="console", errno=error.errno or 0) from error
    finally:
        sock.close()
