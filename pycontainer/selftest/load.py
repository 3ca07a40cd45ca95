"""What runs inside: `load.py VERB ARGUMENTS...` takes all it can get of one resource, and tells what that was.

The standard library alone: it runs with -I -S, where pycontainer does not exist. It says "ready", waits for the file
`/stage/go`, and writes one number per line from then on; the last one counts.
"""

import mmap
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable

_STAGE = "/stage"
_PORT = 7
_CHUNK_BYTES = 1 << 16
_BLOCK_BYTES = 1 << 18
_FILE_BYTES = 16 << 20
_WARM_UP_SECONDS = 0.5  # until streams have found their rate, and the first credit of a quota is spent


def memory() -> None:
    """Touch memory until the kernel kills us; tell the bytes that were resident, again and again."""
    held = []
    while True:
        held.append(_touched(_BLOCK_BYTES))
        _tell(_resident_bytes())


def hold(size_bytes: str) -> None:
    """Touch so much memory and keep it; tell how much of it is still resident once the other has ended."""
    before = _resident_bytes()
    kept = _touched(int(size_bytes))
    _wait_for("done")
    _tell(_resident_bytes() - before)
    kept.close()


def cpu(seconds: str) -> None:
    """Spin in as many processes as there are CPUs; tell the CPUs they had together."""
    begins = time.monotonic() + _WARM_UP_SECONDS
    ends = begins + float(seconds)
    pipe_in, pipe_out = os.pipe()
    for _ in range(os.cpu_count() or 1):
        if os.fork() == 0:
            _spin_until(begins)
            used = time.process_time()
            _spin_until(ends)
            os.write(pipe_out, f"{time.process_time() - used}\n".encode())
            os._exit(0)
    os.close(pipe_out)
    with open(pipe_in) as results:
        _tell(sum(map(float, results)) / float(seconds))


def pids(seconds: str) -> None:
    """Fork until it is refused and keep them for a while; tell how many there were, ourselves among them."""
    children = []
    while True:
        try:
            child = os.fork()
        except OSError:
            break
        if child == 0:
            signal.pause()
        children.append(child)
    _tell(len(children) + 1)
    time.sleep(float(seconds))
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def disk() -> None:
    """Write until there is no space; tell the bytes that went in."""
    block = os.urandom(_BLOCK_BYTES)  # a file system that compresses must not get away with less
    written_bytes = 0
    fd = os.open("/fill", os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        while True:
            written_bytes += os.write(fd, block)
            if written_bytes % (8 * _BLOCK_BYTES) == 0:
                os.fsync(fd)  # blocks may be allocated as late as here
    except OSError:
        _tell(written_bytes)


def io_write(seconds: str) -> None:
    """Write past the page cache; tell the bytes per second."""
    fd, block = _direct_file()
    _tell_rate(lambda at: os.pwritev(fd, [block], at % _FILE_BYTES), float(seconds))


def io_read(seconds: str) -> None:
    """Read past the page cache; tell the bytes per second."""
    fd, block = _direct_file()
    _tell_rate(lambda at: os.preadv(fd, [block], at % _FILE_BYTES), float(seconds))


def net_in(address: str, seconds: str) -> None:
    """Receive from `serve`; tell the bits per second of payload."""
    connection = _connected(address, b"i")
    chunk = bytearray(_CHUNK_BYTES)
    _tell_rate(lambda at: 8 * connection.recv_into(chunk), float(seconds))


def net_out(address: str, seconds: str) -> None:
    """Send to `serve`; tell the bits per second of payload that arrived there."""
    connection = _connected(address, b"o")
    chunk = bytes(_CHUNK_BYTES)
    until = time.monotonic() + float(seconds) + _WARM_UP_SECONDS
    while time.monotonic() < until:
        connection.sendall(chunk)
    connection.shutdown(socket.SHUT_WR)
    _tell(float(connection.recv(64)))


def serve() -> None:
    """Be the far end of `net_in` and `net_out` until the others have ended."""
    listener = socket.create_server(("", _PORT))
    threading.Thread(target=_accept, args=(listener,), daemon=True).start()
    _wait_for("over")


def _accept(listener: socket.socket) -> None:
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=_serve_one, args=(connection,), daemon=True).start()


def _serve_one(connection: socket.socket) -> None:
    chunk = bytearray(_CHUNK_BYTES)
    try:
        if connection.recv(1) == b"i":
            while True:
                connection.sendall(chunk)
        began = ended = time.monotonic()
        warm = began + _WARM_UP_SECONDS
        received_bytes = 0
        while count := connection.recv_into(chunk):
            ended = time.monotonic()
            if ended < warm:
                began = ended
            else:
                received_bytes += count
        connection.sendall(str(received_bytes * 8 / (ended - began)).encode())
    except OSError:
        pass  # it has seen enough
    finally:
        connection.close()


def _connected(address: str, direction: bytes) -> socket.socket:
    deadline = time.monotonic() + 10
    while True:
        try:
            connection = socket.create_connection((address, _PORT), timeout=30)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)  # it is about to listen
        else:
            connection.sendall(direction)
            return connection


def _direct_file() -> tuple[int, mmap.mmap]:
    """Return a file whose blocks are allocated, opened past the page cache, and a block to write or to read into."""
    with open("/file", "wb") as file:
        file.write(bytes(_FILE_BYTES))
        os.fsync(file.fileno())
    return os.open("/file", os.O_RDWR | os.O_DIRECT), mmap.mmap(-1, _BLOCK_BYTES)  # O_DIRECT wants a page's alignment


def _tell_rate(act: Callable[[int], int], seconds: float) -> None:
    """Call act(so far) -> more for a while, and tell what came per second after the warm-up."""
    warm = time.monotonic() + _WARM_UP_SECONDS
    total = 0
    while time.monotonic() < warm:
        total += act(total)
    began, before = time.monotonic(), total
    while (now := time.monotonic()) < began + seconds:
        total += act(total)
    _tell((total - before) / (now - began))


def _touched(size_bytes: int) -> mmap.mmap:
    block = mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for at in range(0, size_bytes, mmap.PAGESIZE):
        block[at] = 1
    return block


def _resident_bytes() -> int:
    with open("/proc/self/status") as file:
        return 1024 * next(int(line.split()[1]) for line in file if line.startswith("RssAnon"))


def _spin_until(monotonic_seconds: float) -> None:
    while time.monotonic() < monotonic_seconds:
        pass


def _wait_for(flag: str) -> None:
    deadline = time.monotonic() + 120  # nobody is there any more to set it
    while not os.path.exists(f"{_STAGE}/{flag}"):
        if time.monotonic() > deadline:
            sys.exit(f"{_STAGE}/{flag} did not appear")
        time.sleep(0.005)


def _tell(value: float) -> None:
    os.write(1, f"{value}\n".encode())


_VERBS: dict[str, Callable[..., None]] = {
    verb.__name__: verb for verb in (memory, hold, cpu, pids, disk, io_write, io_read, net_in, net_out, serve)
}

if __name__ == "__main__":
    os.write(1, b"ready\n")
    _wait_for("go")
    _VERBS[sys.argv[1]](*sys.argv[2:])
