"""The messages between supervisor and monitor: JSON on a SOCK_SEQPACKET socket, descriptors beside them.

    supervisor                                   monitor
    birth    id kind flags base doors ...   ──▶              a child is cloned and waits; descriptors by index
    mount    id base steps file_label       ──▶              + trees: the mounts of a first process, made once it is born
                                            ◀──  born        id pid                   + pidfd
                                            ◀──  ready       id                       + root directory (first processes)
    release  id log tty                     ──▶              + output to pump; the child goes on
                                            ◀──  started     id                       execve has happened
                                            ◀──  failed      id report | step errno text
    abort    id                             ──▶              kill a child that was not released
    attach   id                             ──▶              + a client's socket
    adopt    id pid streams tty             ──▶              + pidfd, the ends to read from: its own monitor died
    reload   argv                           ──▶              + a mount namespace: become that program (handover.py)
                                            ◀──  reloaded    text: nothing, or why not; mounts
    leave                                   ──▶              nothing runs: end now; the socket is closed once it has
    list                                    ──▶
                                            ◀──  streams     id streams               + the ends, for each first process
                                            ◀──  children    [{id kind pid started tty}] mounts: it knows `mount`
                                            ◀──  exit        id kind pid wait_status finished; null if it was adopted

A birth with `steps` is one of a supervisor before there was `mount`, and has its trees beside it.

A birth with `trace` is traced (pycontainer/trace.py): `born`, `ready`, `started`, `failed` and `exit` then have `trace`, the
spans of the monitor and of the bridge, and where the program was told to tell its times (init/times.py), `times`.

A child that was not released dies with the connection that asked for it. The newest supervisor is the one that is heard.
"""

import _socket
import errno

from pycontainer import jsontext
from pycontainer.linux.descriptors import receive_fds, send_fds

MAX_MESSAGE_BYTES = 1 << 20
MAX_MESSAGE_FDS = 253  # SCM_MAX_FD of the kernel


def connect(path: str) -> _socket.socket:
    """Connect to the monitor at `path`."""
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
    try:
        sock.connect(path)
    except OSError:
        sock.close()
        raise
    prepare(sock)
    return sock


def accept(listener: _socket.socket) -> _socket.socket:
    """Return the connection of who has connected to us."""
    fd, _ = listener._accept()  # type: ignore[attr-defined]  # typeshed has it of `socket.socket` alone
    return _socket.socket(fileno=fd)


def prepare(sock: _socket.socket) -> None:
    """Make room for the largest message: a plan with many mounts and a long environment."""
    SO_SNDBUFFORCE = 32  # passes wmem_max; needs CAP_NET_ADMIN, which the runtime has
    try:
        sock.setsockopt(_socket.SOL_SOCKET, SO_SNDBUFFORCE, 2 * MAX_MESSAGE_BYTES)
    except OSError:
        sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDBUF, 2 * MAX_MESSAGE_BYTES)


def send(sock: _socket.socket, message: dict[str, object], fds: list[int] | None = None) -> None:
    """Send one message; the caller keeps its descriptors."""
    data = jsontext.dumps(message).encode()
    if len(data) > MAX_MESSAGE_BYTES or len(fds or ()) > MAX_MESSAGE_FDS:
        raise OSError(
            errno.EMSGSIZE, f"{len(data)} bytes and {len(fds or ())} descriptors are more than a message holds"
        )
    if fds:
        send_fds(sock, data, fds)
    else:
        sock.send(data)


def receive(sock: _socket.socket) -> tuple[dict[str, object], list[int]] | None:
    """Receive one message and its descriptors (close-on-exec, now the caller's); None when the other side is gone."""
    # First how long it is: memory for the longest one would be mapped and given back each time, 50 us.
    size = sock.recv_into(bytearray(1), 1, _socket.MSG_PEEK | _socket.MSG_TRUNC)
    if size > MAX_MESSAGE_BYTES:  # `send` refuses such a message; nothing cut is trusted
        raise OSError(errno.EMSGSIZE, f"a message of {size} bytes")
    data, fds = receive_fds(sock, max(size, 1), MAX_MESSAGE_FDS)
    if not data:
        return None
    return jsontext.loads(data, max_bytes=MAX_MESSAGE_BYTES), fds
