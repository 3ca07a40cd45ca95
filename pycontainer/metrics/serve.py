"""The metrics process: where it listens, and how it ends.

    pycontainer metrics serve --listen 127.0.0.1:9323

It may run for years beside a supervisor that comes and goes. It needs what any client needs, and nothing beyond: of the
kernel it reads what everybody may read.
"""

import contextlib
import grp
import ipaddress
import os
import re
import signal
import socket
import stat
import sys
from collections.abc import Iterator, Sequence

from pycontainer.errors import InvalidInput, NotPermitted, PycontainerError
from pycontainer.metrics.collector import Collector
from pycontainer.metrics.server import Server
from pycontainer.metrics.source import Supervisor
from pycontainer.paths import HostPaths
from pycontainer.units import shown

DEFAULT_LISTEN = "127.0.0.1:9323"
_BACKLOG = 32
_ADDRESS = re.compile(r"(?:\[(?P<ip6>[0-9A-Fa-f:.]+)\]|(?P<ip>[0-9.]+)):(?P<port>[0-9]{1,5})")


def serve(paths: HostPaths, listen: Sequence[str], group: str = "") -> None:
    """Serve until SIGTERM or SIGINT. `group` may use the unix sockets. Raises InvalidInput, NotPermitted before it begins."""
    supervisor = Supervisor(paths)
    collector = Collector(paths, supervisor.ask, say=_say)
    with contextlib.ExitStack() as undo:
        listeners = [undo.enter_context(_listening(address, group)) for address in listen]
        try:
            supervisor.ask()
        except NotPermitted:
            raise
        except PycontainerError as error:
            _say(f"{error.message}; it is asked again with each request")
        undo.callback(supervisor.close)
        server = Server(collector, listeners)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, server.stop)
        for listener in listeners:
            _say(f"listening on {_shown(listener)}")
        server.serve()


def show(paths: HostPaths, *, openmetrics: bool = True) -> str:
    """Return one page. Raises SupervisorUnavailable and the like where a server would tell of it in the page."""
    supervisor = Supervisor(paths)
    try:
        answer = supervisor.ask()
        return Collector(paths, lambda: answer).page().text(openmetrics=openmetrics).decode()
    finally:
        supervisor.close()


def parse_address(text: str) -> tuple[str, int] | str:
    """Return (ip, port), or the path of a unix socket: "127.0.0.1:9323", "[::1]:9323", "unix:/run/metrics.sock"."""
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if not path.startswith("/") or "\0" in path:
            raise InvalidInput(f"{shown(text)} names no absolute path", field="listen", hint="unix:/run/metrics.sock")
        return path
    try:
        if (found := _ADDRESS.fullmatch(text)) is None:
            raise ValueError("neither an address with a port nor unix:PATH")
        ip, port = ipaddress.ip_address(found["ip6"] or found["ip"]), int(found["port"])
        if port > 65535 or (ip.version == 6) != bool(found["ip6"]):
            raise ValueError("no port" if port > 65535 else "an IPv6 address stands in brackets")
    except ValueError as error:
        raise InvalidInput(
            f"cannot listen on {shown(text)}: {error}", field="listen", hint=f"such as {DEFAULT_LISTEN}, or [::1]:9323"
        ) from None
    return str(ip), port


@contextlib.contextmanager
def _listening(text: str, group: str) -> Iterator[socket.socket]:
    address = parse_address(text)
    if isinstance(address, str):
        with _unix_listener(address, group) as listener:
            yield listener
        return
    ip, port = address
    if not ipaddress.ip_address(ip).is_loopback:
        _say(
            f"whoever reaches {text} reads the names and the use of all tenants; "
            "there is neither a password nor encryption"
        )
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        with _told(text):
            listener.bind((ip, port))
            listener.listen(_BACKLOG)
        yield listener


@contextlib.contextmanager
def _unix_listener(path: str, group: str) -> Iterator[socket.socket]:
    """Listen at `path`, for root and `group`; what a process that is no more has left there goes first."""
    gid = _gid(group) if group else -1
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener, _told(path):
        _clear(path)
        before = os.umask(0o177)
        try:
            listener.bind(path)
        finally:
            os.umask(before)
        made = os.lstat(path)
        try:
            if gid >= 0:
                os.chown(path, -1, gid)
                os.chmod(path, 0o660)
            listener.listen(_BACKLOG)
            yield listener
        finally:
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(made, os.lstat(path)):
                    os.unlink(path)


def _clear(path: str) -> None:
    """Remove a socket at which nobody listens any more. Raises OSError if there is anything else."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise FileExistsError(17, "there is a file that is no socket", path)
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
    raise OSError(98, "somebody listens there", path)


@contextlib.contextmanager
def _told(text: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InvalidInput(f"cannot listen on {shown(text)}: {error.strerror or error}", field="listen") from error


def _say(text: str) -> None:
    print(f"pycontainer metrics: {text}", file=sys.stderr)


def _gid(group: str) -> int:
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise InvalidInput(f"there is no group {shown(group)}", field="group") from None


def _shown(listener: socket.socket) -> str:
    name = listener.getsockname()
    if isinstance(name, str):
        return f"unix:{name}"
    return f"http://[{name[0]}]:{name[1]}" if listener.family == socket.AF_INET6 else f"http://{name[0]}:{name[1]}"
