"""One connection to the supervisor, which is started when it is not there.

A Connection carries requests one after the other (api/messages.py). Who wants several at once, as `events` beside
`stop`, opens several; `Pool` keeps the idle ones. The supervisor started here is fully detached: own session, not our
child, its messages in run_dir/supervisor.log; it tells that it listens through a pipe (`--ready-fd`).
"""

import contextlib
import fcntl
import os
import select
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from pycontainer.api.messages import receive_frame, send_frame
from pycontainer.errors import InvalidInput, NotPermitted, SupervisorUnavailable, from_wire
from pycontainer.paths import HostPaths
from pycontainer.trace import span

if TYPE_CHECKING:
    from pycontainer.client.tracefile import Trace

T = TypeVar("T")

READY_TIMEOUT_SECONDS = 60
_ATTEMPTS = 5  # while one supervisor after the other is told to end at that very moment
MAX_SOCKET_PATH_BYTES = 107  # sockaddr_un.sun_path, without its final NUL
_LOG_LINES_SHOWN = 5
_UNTRACED = ("events", "trace")  # it has no reply that is waited for; it is how a trace is asked for

# Run by our child: its own child is neither a session leader nor ours to reap, as a daemon should be.
_DETACH = "import os, sys\nif os.fork(): os._exit(0)\nos.execv(sys.argv[1], sys.argv[1:])"
_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
_PASSED_ON = (
    "PYCONTAINER_LXCFS",
    "PYCONTAINER_FAILPOINT",
    "PYCONTAINER_RECONCILE_SECONDS",
    "PYCONTAINER_IDLE_SECONDS",
    "PYCONTAINER_LOG_FORMAT",
)


class ConnectionLost(SupervisorUnavailable):
    """The supervisor went away in the middle of a request; what was asked may or may not have been done."""


class NotRead(ConnectionLost):
    """The supervisor went away before it had read the whole request: nothing was done, it may be sent again.

    The kernel tells it: whose socket is closed with unread data in it, or is never accepted, resets the connection; one
    that has read everything leaves an end of file. net/unix/af_unix.c, unix_release_sock().
    """


class Connection:
    """A socket to the supervisor; `is_idle` tells that no request is under way on it."""

    def __init__(self, paths: HostPaths, *, start: bool = True, trace: "Trace | None" = None) -> None:
        with span("connect", trace.recorder if trace is not None else None):
            self._sock = connect(paths, start=start)
        self.is_idle = True
        self._trace, self._sent_ns = trace, 0

    def fileno(self) -> int:
        """Return the socket, for poll(2): readable when a reply has come."""
        return self._sock.fileno()

    def close(self) -> None:
        """Close the connection; a request that waits or streams is cancelled by that."""
        self._sock.close()

    def is_stale(self) -> bool:
        """Tell whether the other end has closed this idle connection."""
        poller = select.poll()
        poller.register(self._sock, select.POLLIN)
        return bool(poller.poll(0))  # nobody speaks to an idle client: what can be read is the end of file

    def send(self, verb: str, args: dict[str, Any], fds: Sequence[int] = ()) -> None:
        """Send one request; the caller keeps its descriptors."""
        self.is_idle = False
        self._verb = verb
        message: dict[str, Any] = {"verb": verb, "args": args}
        if self._trace is not None and verb not in _UNTRACED:
            message["trace"], self._sent_ns = True, time.monotonic_ns()
        try:
            send_frame(self._sock, message, list(fds))
        except (BrokenPipeError, ConnectionResetError) as error:
            with contextlib.suppress(ConnectionLost):
                close_all(self.receive()[2])  # we may have been turned away, with a reason: that is raised
            raise _lost(verb, NotRead) from error

    def receive(self) -> tuple[bool, Any, list[int]]:
        """Return (is_result, payload, descriptors) of the next frame; an error frame is raised as what it describes.

        The descriptors are the caller's. Raises ConnectionLost when the supervisor went away, NotRead if it cannot have
        begun.
        """
        try:
            received = receive_frame(self._sock)
        except ConnectionResetError as error:
            raise _lost(self._verb, NotRead) from error
        except ConnectionError as error:
            raise _lost(self._verb) from error
        if received is None:
            raise _lost(self._verb)
        frame, fds = received
        if not isinstance(frame, dict):
            raise ConnectionLost(f"the supervisor answered '{self._verb}' with something else than a message")
        if "event" in frame:
            return False, frame["event"], fds
        self.is_idle = True
        if self._trace is not None and self._sent_ns:
            self._trace.recorder.add(f"request {self._verb}", self._sent_ns, time.monotonic_ns())
            self._trace.take(frame.get("trace"))
            self._sent_ns = 0
        if "error" in frame:
            close_all(fds)
            raise from_wire(frame["error"])
        return True, frame.get("result"), fds

    def request(
        self,
        verb: str,
        args: dict[str, Any],
        fds: Sequence[int] = (),
        *,
        on_event: Callable[[Any], None] | None = None,
    ) -> Any:
        """Send one request and return its result; events on the way go to `on_event`."""
        self.send(verb, args, fds)
        while True:
            is_result, payload, received = self.receive()
            close_all(received)
            if is_result:
                return payload
            if on_event is not None:
                on_event(payload)

    def stream(self, verb: str, args: dict[str, Any]) -> Iterator[Any]:
        """Send one request and yield its events until the result comes."""
        self.send(verb, args)
        return self.events()

    def events(self) -> Iterator[Any]:
        """Yield the events of the request that is under way until its result comes."""
        while True:
            is_result, payload, received = self.receive()
            close_all(received)
            if is_result:
                return
            yield payload


class Pool:
    """The connections of one client: an idle one is used again, a lost one replaced; safe to share between threads."""

    def __init__(self, paths: HostPaths, trace: "Trace | None" = None) -> None:
        """`trace` gets to know where the time of all requests goes; whose it is writes it."""
        self.paths, self._trace = paths, trace
        self._idle: list[Connection] = []
        self._closed = False

    def take(self, *, start: bool = True) -> Connection:
        """Return a connection with nothing under way; `give_back` it. `start` as of `connect`."""
        while self._idle:
            try:
                connection = self._idle.pop()
            except IndexError:  # another thread was quicker
                break
            if not connection.is_stale():
                return connection
            connection.close()
        return Connection(self.paths, start=start, trace=self._trace)

    def give_back(self, connection: Connection) -> None:
        """Keep `connection` for the next request, or close it if its request is still under way."""
        if connection.is_idle and not self._closed:
            self._idle.append(connection)
        else:
            connection.close()

    def request(
        self,
        verb: str,
        args: dict[str, Any],
        fds: Sequence[int] = (),
        *,
        on_event: Callable[[Any], None] | None = None,
        start: bool = True,
    ) -> Any:
        """Send one request over a free connection and return its result; events on the way go to `on_event`.

        A supervisor that ends at that moment is not asked again: the next one is.
        """
        return self.asked(lambda: self._request(verb, args, fds, on_event, start=start))

    def begin(
        self,
        verb: str,
        args: dict[str, Any],
        fds: Sequence[int] = (),
        wait: Callable[[Connection], None] = lambda connection: None,
    ) -> tuple[Connection, Any]:
        """Send one request as `request` does; return its connection, to be given back, and the first event of it.

        `wait` may wait until that can be read; an exception of it takes the request back, as far as the verb can.
        """
        return self.asked(lambda: self._begin(verb, args, fds, wait))

    def asked(self, ask: Callable[[], T]) -> T:
        """Return what `ask` does, which takes a connection and sends a request; again with each supervisor that has not
        read it, so that whatever `ask` had done beside has to bear that."""
        for _ in range(_ATTEMPTS - 1):
            with contextlib.suppress(NotRead):
                return ask()
            self._close_idle()  # they go to the same supervisor
        return ask()

    def _begin(
        self, verb: str, args: dict[str, Any], fds: Sequence[int], wait: Callable[[Connection], None]
    ) -> tuple[Connection, Any]:
        connection = self.take()
        try:
            connection.send(verb, args, fds)
            wait(connection)
            _, event, received = connection.receive()
            close_all(received)
            return connection, event
        except BaseException:
            self.give_back(connection)
            raise

    def _request(
        self,
        verb: str,
        args: dict[str, Any],
        fds: Sequence[int],
        on_event: Callable[[Any], None] | None,
        *,
        start: bool,
    ) -> Any:
        connection = self.take(start=start)
        try:
            return connection.request(verb, args, fds, on_event=on_event)
        finally:
            self.give_back(connection)

    def span(self, name: str) -> span:
        """Return a context whose time is recorded, if all this is traced."""
        return span(name, self._trace.recorder if self._trace is not None else None)

    def close(self) -> None:
        """Close the idle connections; those in use are closed as they come back."""
        if self._trace is not None and not self._closed:
            self._trace.ask(self)
        self._closed = True
        self._close_idle()

    def _close_idle(self) -> None:
        with contextlib.suppress(IndexError):  # another thread takes them, too
            while True:
                self._idle.pop().close()


def close_all(fds: Sequence[int]) -> None:
    """Close every descriptor of `fds`."""
    for fd in fds:
        os.close(fd)


def connect(paths: HostPaths, *, start: bool = True) -> socket.socket:
    """Return a socket to the supervisor of this world; start one if none answers and `start` is true.

    Raises NotPermitted for who is not root, SupervisorUnavailable with the end of its log if it does not come up.
    """
    sock = _try_connect(paths.supervisor_socket)
    if sock is not None:
        return sock
    if not start:
        raise SupervisorUnavailable(
            f"the supervisor is not running: nothing listens on '{paths.supervisor_socket}'",
            hint="any command that needs it starts it, for example 'pycontainer ps'",
        )
    if os.geteuid() != 0:
        raise _may_not_start(paths)
    try:
        _make_directory(paths.run_dir, 0o750)
    except (FileExistsError, NotADirectoryError) as error:
        raise InvalidInput(
            f"cannot make '{paths.run_dir}': '{paths.root or paths.run_dir}' is not a directory", field="root"
        ) from error
    lock_fd = os.open(f"{paths.run_dir}/start.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock_fd, fcntl.LOCK_EX)  # of several clients one starts it, the others find it there
        if (sock := _try_connect(paths.supervisor_socket)) is not None:
            return sock
        for _ in range(_ATTEMPTS):
            _start_supervisor(paths)
            if (sock := _try_connect(paths.supervisor_socket)) is not None:
                return sock  # else it was told to end as soon as it was there
    finally:
        os.close(lock_fd)
    raise _did_not_start(paths, "it said it was ready, but does not answer")


def _make_directory(path: str, mode: int) -> None:
    """Make `path` with `mode`, and what is missing above it with 0755, whatever the caller's umask: nobody else may write."""
    if os.path.isdir(path):
        return
    parent = os.path.dirname(path)
    if parent != path:
        _make_directory(parent, 0o755)
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        if not os.path.isdir(path):
            raise
    else:
        os.chmod(path, mode)


def _try_connect(path: str) -> socket.socket | None:
    """Connect, or return None if nobody listens at `path`."""
    if len(os.fsencode(path)) > MAX_SOCKET_PATH_BYTES:
        raise InvalidInput(
            f"the control socket's path '{path}' is longer than {MAX_SOCKET_PATH_BYTES} bytes",
            hint="choose a shorter --root",
            field="root",
        )
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.connect(path)
    except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
        sock.close()
        return None
    except PermissionError as error:
        sock.close()
        raise _not_root(os.path.dirname(path)) from error
    except BaseException:
        sock.close()
        raise
    return sock


def _start_supervisor(paths: HostPaths) -> None:
    """Spawn the supervisor and return when it listens."""
    import subprocess  # 5 ms that only the command that starts the supervisor pays

    command = [sys.executable, "-I", "-m", "pycontainer.supervisor.main"]
    if paths.root:
        command += ["--root", paths.root]
    ready_read_fd, ready_write_fd = os.pipe()
    try:
        log_fd = os.open(paths.supervisor_log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            subprocess.run(
                [sys.executable, "-I", "-S", "-c", _DETACH, *command, "--ready-fd", str(ready_write_fd)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log_fd,
                pass_fds=(ready_write_fd,),
                cwd="/",
                env=_ENVIRONMENT | {name: os.environ[name] for name in _PASSED_ON if name in os.environ},
                start_new_session=True,
                check=True,
            )
        finally:
            os.close(log_fd)
            os.close(ready_write_fd)
        poller = select.poll()
        poller.register(ready_read_fd, select.POLLIN)
        if not poller.poll(READY_TIMEOUT_SECONDS * 1000):
            raise _did_not_start(paths, f"it was not ready after {READY_TIMEOUT_SECONDS} seconds")
        if os.read(ready_read_fd, 1) != b"1":
            raise _did_not_start(paths, "it ended before it was ready")
    finally:
        os.close(ready_read_fd)


def _did_not_start(paths: HostPaths, why: str) -> SupervisorUnavailable:
    try:
        with open(paths.supervisor_log, errors="replace") as log:
            lines = [line.strip() for line in log if line.strip()][-_LOG_LINES_SHOWN:]
    except OSError:
        lines = []
    said = f"; it said: {' | '.join(lines)}" if lines else ""
    return SupervisorUnavailable(
        f"cannot start the supervisor: {why}{said}", hint=f"the whole story is in '{paths.supervisor_log}'"
    )


def _lost(verb: str, kind: type[ConnectionLost] = ConnectionLost) -> ConnectionLost:
    return kind(
        f"the connection to the supervisor was lost during '{verb}'",
        hint="look with 'pycontainer ps -a' how far it came, then try again; containers go on without the supervisor",
    )


def _may_not_start(paths: HostPaths) -> NotPermitted:
    """Return why somebody who is not root gets no answer: nobody listens."""
    if os.access(paths.run_dir, os.X_OK):  # opened to the operators' group, and to those of tenants
        return NotPermitted(
            "the supervisor is not running, and only root can start it", hint="sudo pycontainer service start"
        )
    return _not_root(paths.run_dir)


def _not_root(run_dir: str) -> NotPermitted:
    import grp  # nothing but this message needs it

    others = ""
    if gid := _group_of(run_dir):
        try:
            others = f", or as a member of group '{grp.getgrgid(gid).gr_name}'"
        except KeyError:
            others = f", or as a member of group {gid}"
    return NotPermitted(f"pycontainer must run as root{others}", hint="try the same command with sudo")


def _group_of(run_dir: str) -> int:
    """Return the group that may drive this world; 0 for none, or where that cannot be seen."""
    try:
        return os.stat(run_dir).st_gid
    except OSError:
        return 0
